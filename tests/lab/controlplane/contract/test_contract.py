"""The emulator answers as the real API server does: to recorded answers, and to a running server where there is one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.controlplane.contract import conversation
from tests.lab.controlplane.servers import REAL, ApiServer, found_programs, start_emulator, start_real

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
    if found_programs() is None:
        pytest.skip(f"no real control plane, or {REAL} does not say real")
    server = start_real(tmp_path_factory.mktemp("real"), controllers=False)
    yield server
    server.stop()


#: Answers are recorded without their namespace.
NO_NAMESPACE = "\0"


def recorded(name: str) -> Any:
    """Answers of the real server to one case, as they were recorded."""
    group, _, case = name.partition("/")
    return conversation.normalised(json.loads((ANSWERS / f"{group}.json").read_text())[case], NO_NAMESPACE)


def alike(expected: list[Any], got: list[Any]) -> int:
    """How many answers are the same."""
    return sum(one == other for one, other in zip(expected, got, strict=False))


@pytest.mark.parametrize(("name", "case"), CASES, ids=[name for name, _ in CASES])
def test_answers_as_recorded(
    emulator: ApiServer, name: str, case: dict[str, Any], record_property: Callable[[str, object], None]
) -> None:
    """The emulator gives the answers that the real API server gave when they were recorded."""
    number = [one for one, _ in CASES].index(name)
    expected, got = recorded(name), conversation.run(emulator, case, f"case-{number}")
    record_property("answers compared", len(expected))
    record_property("answers alike", alike(expected, got))
    assert expected == got


@pytest.mark.parametrize(("name", "case"), CASES, ids=[name for name, _ in CASES])
def test_recorded_answers_are_the_real_ones(
    real: ApiServer, name: str, case: dict[str, Any], record_property: Callable[[str, object], None]
) -> None:
    """The real API server still gives the recorded answers, so the recording can be trusted."""
    number = [one for one, _ in CASES].index(name)
    expected, got = recorded(name), conversation.run(real, case, f"case-{number}")
    record_property("recorded answers still real", alike(expected, got))
    assert expected == got


def test_every_recorded_answer_belongs_to_a_case() -> None:
    """No recorded answer is left from a case that is gone."""
    names = {f"{path.stem}/{case}" for path in ANSWERS.glob("*.json") for case in json.loads(path.read_text())}
    assert {name for name, _ in CASES} == names


def test_the_suite_asks_at_least_two_hundred_questions() -> None:
    """The contract is broad enough to mean something."""
    assert sum(len(case["steps"]) for _, case in CASES) >= 200
