"""The process beside a worker that forks runs, when it does not do what it was asked."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from runbook_lib.fleet import prefork
from runbook_lib.headless import forking

pytestmark = pytest.mark.skipif(not forking.AVAILABLE, reason="forks of a prepared process are for Linux only")


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> Iterator[prefork.Prefork]:
    """A forking process that is halted: it takes what it is asked and never answers."""
    monkeypatch.setattr(prefork, "_START_SECONDS", 0.3)
    made = prefork.Prefork([])
    process: subprocess.Popen[bytes] = made._process
    os.kill(process.pid, signal.SIGSTOP)
    yield made
    made._socket.close()
    process.kill()
    process.wait()


def test_a_run_that_may_have_begun_is_not_begun_again(silent: prefork.Prefork, tmp_path: Path) -> None:
    """Asked and not answered, nobody can tell whether it runs: that is an error, and no second process does it."""
    with pytest.raises(TimeoutError):
        silent.start({"notebook": str(tmp_path / "none.ipynb")}, tmp_path / "log")
    assert not (tmp_path / "log").exists()
