"""Helper programs end when they should, and leave nothing behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from runbook_lib.clients import _process as process
from runbook_lib.errors import ActionRejectedError


def gone(pid: int) -> bool:
    """Whether a process has ended, within two seconds; one that waits to be reaped has."""
    end = time.monotonic() + 2
    while time.monotonic() < end:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return True
        if state == "Z":
            return True
        time.sleep(0.02)
    return False


def test_output_errors_and_code():
    """What a program reads and writes arrives as it is."""
    done = process.run(["sh", "-c", "cat; echo bad >&2; exit 3"], text="hé\n", deadline_seconds=5)
    assert (3, "hé\n", "bad\n", False) == (done.code, done.output, done.errors, done.timed_out)


def test_arguments_are_not_read_by_a_shell():
    """An argument arrives as it is, whatever it holds."""
    nasty = "$(touch /tmp/x); `id` \"'|&\n*"
    done = process.run([sys.executable, "-c", "import sys; sys.stdout.write(sys.argv[1])", nasty], deadline_seconds=5)
    assert nasty == done.output


def test_program_that_does_not_exist_is_a_rejection():
    """Where nothing was started nothing was changed."""
    with pytest.raises(ActionRejectedError, match="cannot be started"):
        process.run(["/no/such/program"], deadline_seconds=5)


def test_deadline_asks_first():
    """At the deadline the program gets SIGTERM and time to tidy up."""
    script = "trap 'echo tidied; exit 0' TERM; echo started; while :; do sleep 0.05; done"
    done = process.run(["sh", "-c", script], deadline_seconds=0.4)
    assert ("started\ntidied\n", True) == (done.output, done.timed_out)


def test_deadline_forces_after_the_grace():
    """A program that ignores SIGTERM is killed after the grace."""
    started = time.monotonic()
    done = process.run(
        ["sh", "-c", "trap '' TERM; while :; do sleep 0.05; done"], deadline_seconds=0.2, grace_seconds=0.3
    )
    assert (-signal.SIGKILL, True) == (done.code, done.timed_out)
    assert time.monotonic() - started < 3


def test_background_child_is_ended():
    """What a program leaves behind in its group is gone with it."""
    done = process.run(["sh", "-c", "sleep 30 >/dev/null 2>&1 & echo $!"], deadline_seconds=5)
    assert gone(int(done.output))


def test_flood_is_read_and_bounded(monkeypatch):
    """A program that writes without end neither blocks nor fills the memory."""
    monkeypatch.setattr(process, "OUTPUT_BYTES", 1000)
    done = process.run(["head", "-c", "50000000", "/dev/zero"], deadline_seconds=20)
    assert (0, 1000) == (done.code, len(done.output))


def test_program_dies_with_a_killed_parent(tmp_path):
    """A killed runner takes the program with it: the kernel sends SIGTERM."""
    pid_file = tmp_path / "pid"
    program = ["sh", "-c", f"echo $$ > {pid_file}; exec sleep 30"]
    code = f"from runbook_lib.clients._process import run; run({program}, deadline_seconds=30)"
    parent = subprocess.Popen([sys.executable, "-c", code])
    end = time.monotonic() + 10
    while not pid_file.exists() or not pid_file.read_text().strip():
        assert time.monotonic() < end
        time.sleep(0.02)
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    assert gone(int(pid_file.read_text()))


def test_nothing_is_left_to_reap():
    """Every program that ended is reaped."""
    process.run(["sh", "-c", "sleep 0.01 & true"], deadline_seconds=5)
    zombies = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
            if int(parent) == os.getpid() and state == "Z":
                zombies.append(folder.name)
    assert [] == zombies
