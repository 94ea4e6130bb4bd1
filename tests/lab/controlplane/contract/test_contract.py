"""The emulator answers as the real API server does: to recorded answers, and to a running server where there is one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.controlplane.contract import conversation
from tests.lab.controlplane.servers import REAL, ApiServer, real_binary, start_emulator, start_real

ANSWERS = Path(__file__).parent / "answers"
CASES = conversation.load()


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """The emulator without controllers, so that nothing but the case's own requests changes objects."""
    server = start_emulator(tmp_path_factory.mktemp("emulator"), "--no-controllers")
    yield server
    server.stop()


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """A real API server without controllers."""
    if not real_binary():
        pytest.skip(f"no real API server: {REAL} names no control-plane binary")
    server = start_real(real_binary(), tmp_path_factory.mktemp("real"), controllers=False)
    yield server
    server.stop()


def recorded(name: str) -> Any:
    """Answers of the real server to one case, as they were recorded."""
    group, _, case = name.partition("/")
    return json.loads((ANSWERS / f"{group}.json").read_text())[case]


@pytest.mark.parametrize(("name", "case"), CASES, ids=[name for name, _ in CASES])
def test_answers_as_recorded(emulator: ApiServer, name: str, case: dict[str, Any]) -> None:
    """The emulator gives the answers that the real API server gave when they were recorded."""
    number = [one for one, _ in CASES].index(name)
    assert recorded(name) == conversation.run(emulator, case, f"case-{number}")


@pytest.mark.parametrize(("name", "case"), CASES, ids=[name for name, _ in CASES])
def test_recorded_answers_are_the_real_ones(real: ApiServer, name: str, case: dict[str, Any]) -> None:
    """The real API server still gives the recorded answers, so the recording can be trusted."""
    number = [one for one, _ in CASES].index(name)
    assert recorded(name) == conversation.run(real, case, f"case-{number}")


def test_every_recorded_answer_belongs_to_a_case() -> None:
    """No recorded answer is left from a case that is gone."""
    names = {f"{path.stem}/{case}" for path in ANSWERS.glob("*.json") for case in json.loads(path.read_text())}
    assert {name for name, _ in CASES} == names


def test_the_suite_asks_at_least_two_hundred_questions() -> None:
    """The contract is broad enough to mean something."""
    assert sum(len(case["steps"]) for _, case in CASES) >= 200
