"""The first look at a catalogue that somebody has just written."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from runbook_lib.cli.doctor import merged
from runbook_lib.model import Check, CheckStatus

COMMAND = Path(sys.executable).with_name("runbook")


def closed_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
    return port


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[int, list[str]]:
    """Exit code and lines of ``runbook doctor`` behind ``runbook init``, where nothing that it names runs."""
    folder = tmp_path_factory.mktemp("init")
    subprocess.run([COMMAND, "init", str(folder)], check=True, capture_output=True, timeout=60)
    catalogue = folder / "runbook.toml"
    text = catalogue.read_text(encoding="utf-8")
    text = text.replace(":9090", f":{closed_port()}").replace(":8080", f":{closed_port()}")
    catalogue.write_text(text.replace("~/.kube/config", str(folder / "kubeconfig")), encoding="utf-8")
    done = subprocess.run([COMMAND, "doctor"], cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    return done.returncode, done.stdout.splitlines()


def test_what_cannot_be_read_is_unknown_and_exit_5(told: tuple[int, list[str]]) -> None:
    """Nothing that does not answer passes, and the last line says what the exit code means."""
    code, lines = told
    assert (5, "exit 5: gaps leave the verdict unknown") == (code, lines[-1])
    assert [] == [line for line in lines if line.startswith("✓")]


def test_address_that_does_not_answer_is_named(told: tuple[int, list[str]]) -> None:
    """Each system's line names the key of the catalogue and the address that stands there."""
    (line,) = [one for one in told[1] if "systems: prometheus" in one]
    assert "environments.production.prometheus in runbook.toml names it (http://127.0.0.1:" in line


def test_system_that_is_not_configured_is_skipped(told: tuple[int, list[str]]) -> None:
    """A service without a database is not held up by one."""
    assert [True] == [one.startswith("· SKIPPED") for one in told[1] if "permissions: postgres" in one]


def test_same_result_is_told_once() -> None:
    """Checks that fail for one reason make one line with their names; those that pass keep a line each."""
    checks = [
        Check("metrics", "up", CheckStatus.PASSED, "now 1"),
        Check("metrics", "down", CheckStatus.PASSED, "now 1"),
        Check("metrics", "a", CheckStatus.UNKNOWN, "refused", fix="start it"),
        Check("metrics", "b", CheckStatus.UNKNOWN, "refused", fix="start it"),
        Check("metrics", "c", CheckStatus.UNKNOWN, "late", fix="start it"),
    ]
    assert ["up", "down", "a, b", "c"] == [check.name for check in merged(checks)]
