"""Children of the lab are recorded and stopped, and strangers are left alone."""

from __future__ import annotations

import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from runbook_lib.errors import LabError
from runbook_lib.lab.process import Process, accepts_connections, free_port, start_time_ticks

SLEEPER = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(60)"]


def start(tmp_path: Path, argv: list[str] | None = None, **options: object) -> Process:
    return Process.start("sleeper", argv or SLEEPER, log_path=tmp_path / "sleeper.log", **options)  # type: ignore[arg-type]


def test_stop_ends_the_child(tmp_path: Path) -> None:
    """A stopped child is gone and its signal is its exit code."""
    child = start(tmp_path)

    code = child.stop()

    assert -signal.SIGTERM == code
    assert not child.record.alive


def test_record_stops_the_child_of_a_dead_supervisor(tmp_path: Path) -> None:
    """Whoever holds the record can stop the process without its handle."""
    child = start(tmp_path)

    stopped = child.record.stop()

    assert stopped
    assert child.exit_code == -signal.SIGTERM


def test_record_never_signals_a_later_owner_of_the_pid(tmp_path: Path) -> None:
    """A pid with another start time belongs to somebody else and is not signalled."""
    child = start(tmp_path)
    stale = replace(child.record, start_time_ticks=child.record.start_time_ticks - 1)

    assert not stale.stop()
    assert child.alive
    child.stop()


def test_record_forces_a_child_that_ignores_its_stop_signal(tmp_path: Path) -> None:
    """SIGKILL follows when the stop signal had no effect."""
    script = "import signal,time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
    child = start(tmp_path, [sys.executable, "-c", script])
    child.wait_until(lambda: "up" in child.log_tail(), 10)

    assert child.record.stop(timeout_seconds=0.3)
    assert -signal.SIGKILL == child.exit_code


def test_stop_takes_the_whole_group(tmp_path: Path) -> None:
    """A grandchild in the same group ends with the child."""
    script = "import subprocess,sys; p=subprocess.Popen(['sleep','60']); print(p.pid, flush=True); p.wait()"
    child = start(tmp_path, [sys.executable, "-c", script])
    child.wait_until(lambda: child.log_tail().isdigit(), 10)
    grandchild = int(child.log_tail())

    child.stop()

    deadline = time.monotonic() + 5
    while start_time_ticks(grandchild) is not None and time.monotonic() < deadline:
        time.sleep(0.02)
    assert start_time_ticks(grandchild) is None


def test_child_dies_with_its_parent(tmp_path: Path) -> None:
    """The kernel kills a child whose parent was killed."""
    script = (
        "import sys,time; from pathlib import Path; from runbook_lib.lab.process import Process\n"
        "p = Process.start('x', ['sleep', '60'], log_path=Path(sys.argv[1]), die_with_parent=True)\n"
        "print(p.pid, flush=True); time.sleep(60)"
    )
    parent = start(tmp_path, [sys.executable, "-c", script, str(tmp_path / "x.log")])
    parent.wait_until(lambda: parent.log_tail().isdigit(), 10)
    child = int(parent.log_tail())
    os.kill(parent.pid, signal.SIGKILL)

    deadline = time.monotonic() + 5
    while start_time_ticks(child) is not None and time.monotonic() < deadline:
        time.sleep(0.02)
    parent.stop()
    assert start_time_ticks(child) is None


def test_wait_until_tells_why_a_child_ended(tmp_path: Path) -> None:
    """The error holds the exit code and the end of the log."""
    child = start(tmp_path, [sys.executable, "-c", "import sys; sys.exit('no disk')"])

    with pytest.raises(LabError, match=r"ended with 1: no disk"):
        child.wait_until(lambda: False, 10)


def test_missing_program_is_a_lab_error(tmp_path: Path) -> None:
    """A program that does not exist is named."""
    with pytest.raises(LabError, match="cannot start sleeper"):
        start(tmp_path, ["/no/such/program"])


def test_log_is_private(tmp_path: Path) -> None:
    """Nobody else may read a component's log."""
    child = start(tmp_path)
    child.stop()

    assert 0o600 == (tmp_path / "sleeper.log").stat().st_mode & 0o777


def test_free_port_is_free() -> None:
    """Nothing listens on the port that is handed out."""
    assert not accepts_connections(free_port())
