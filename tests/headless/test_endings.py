"""Runs that are hurt from outside: what was printed is kept, nothing goes on, and no record says it went well."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from runbook_lib.record.record import Record
from runbook_lib.record.status import Status

from .conftest import ROOT, Runner, gone, notebook, record_of, statuses, wait_for

Start = Callable[..., Runner]
# Prints a line, starts a child in the kernel's group, says its own and the child's process id, and stays.
BUSY = (
    "import os, subprocess, time\n"
    "print('before', flush=True)\n"
    "child = subprocess.Popen(['sleep', '300'])\n"
    "open(os.environ['SCRATCH'] + '/child', 'w').write(str(child.pid))\n"
    "open(os.environ['SCRATCH'] + '/kernel', 'w').write(str(os.getpid()))\n"
    "time.sleep(300)"
)
NEVER = "open(os.environ['SCRATCH'] + '/never', 'w').write('1')"
# Native code that never gives Python's lock back.
NATIVE = (
    "import ctypes, os\n"
    "open(os.environ['SCRATCH'] + '/kernel', 'w').write(str(os.getpid()))\n"
    "ctypes.PyDLL(None).sleep(60)"
)


def printed(record: Record) -> str:
    """All text of standard output in the journal."""
    return "".join(event.data.get("text", "") for event in record.all("cell.output"))


def wait_printed(runner: Runner) -> None:
    """Wait until the journal has the line that the first cell printed."""
    wait_for(lambda: "before" in printed(record_of(runner.archive)), 10)


@pytest.mark.parametrize(
    ("number", "code"),
    [
        pytest.param(signal.SIGTERM, 143, id="SIGTERM"),
        pytest.param(signal.SIGINT, 130, id="SIGINT"),
        pytest.param(signal.SIGHUP, 143, id="SIGHUP"),
    ],
)
def test_a_signal_ends_the_run_orderly(start: Start, number: signal.Signals, code: int) -> None:
    """The cell is interrupted, the record sealed as interrupted, and nothing is left alive."""
    runner = start(BUSY, NEVER)
    child, kernel = runner.reached("child"), runner.reached("kernel")
    seconds = runner.end(number)
    assert code == runner.process.returncode
    record = record_of(runner.archive)
    assert record.sealed
    assert (Status.INTERRUPTED, code) == (record.status, record.exit_code)
    assert {"one": "interrupted", "two": "not_run"} == statuses(record)
    assert "before\n" in printed(record)
    assert gone(kernel)
    assert gone(child)
    assert not (runner.scratch / "never").exists()
    # Two seconds are promised on a machine with time to spare; this one is shared.
    assert seconds < 10


def test_a_kernel_in_native_code_is_ended_too(start: Start) -> None:
    """A kernel that cannot hear an interrupt is ended by force."""
    runner = start(NATIVE)
    kernel = runner.reached("kernel")
    runner.end(signal.SIGTERM)
    assert 143 == runner.process.returncode
    assert gone(kernel)
    assert Status.INTERRUPTED is record_of(runner.archive).status


@pytest.mark.parametrize("cell", [pytest.param(BUSY, id="in Python"), pytest.param(NATIVE, id="in native code")])
def test_a_killed_runner_leaves_no_process_and_no_success(start: Start, cell: str) -> None:
    """After SIGKILL of the runner the journal has what was printed, and kernel and child are gone in two seconds."""
    runner = start(cell, NEVER)
    kernel = runner.reached("kernel")
    if cell is BUSY:
        wait_printed(runner)
    variables = Path(f"/proc/{kernel}/environ").read_bytes().decode().split("\0")
    (sockets,) = [Path(one.partition("=")[2]).parent for one in variables if one.startswith("IPYTHONDIR=")]
    assert sockets.is_dir()
    runner.end(signal.SIGKILL)
    pids = [kernel] + ([runner.reached("child")] if cell is BUSY else [])
    wait_for(lambda: all(gone(pid) for pid in pids), 10)
    wait_for(lambda: not sockets.exists(), 10)
    record = record_of(runner.archive)
    assert not record.sealed
    assert Status.RUNNING is record.status
    assert "running" == statuses(record)["one"]
    assert not (runner.scratch / "never").exists()


def test_a_stopped_kernel_does_not_hang_the_run(start: Start) -> None:
    """A kernel under SIGSTOP answers no heartbeat and is given up."""
    runner = start(BUSY, NEVER, arguments="limits=Limits(silence_seconds=3)")
    kernel = runner.reached("kernel")
    os.kill(kernel, signal.SIGSTOP)
    runner.process.wait(timeout=60)
    assert 138 == runner.process.returncode
    record = record_of(runner.archive)
    assert (Status.KERNEL_DIED, "died") == (record.status, statuses(record)["one"])
    assert "stopped" in record.reason
    assert gone(kernel)


def test_a_second_interrupt_does_not_wait(start: Start) -> None:
    """Pressing Ctrl-C again ends a cell that ignores the first at once."""
    cell = (
        "import os, time\nopen(os.environ['SCRATCH'] + '/kernel', 'w').write(str(os.getpid()))\n"
        "while True:\n    try:\n        time.sleep(60)\n    except KeyboardInterrupt:\n"
        "        open(os.environ['SCRATCH'] + '/ignored', 'w').write('1')"
    )
    runner = start(cell)
    runner.reached("kernel")
    runner.process.send_signal(signal.SIGINT)
    runner.reached("ignored")
    runner.end(signal.SIGINT)
    assert 130 == runner.process.returncode
    assert Status.INTERRUPTED is record_of(runner.archive).status


def test_a_signal_before_the_first_cell_runs_none(start: Start) -> None:
    """A run that is stopped while its kernel boots says so, and no cell counts as run."""
    runner = start(NEVER)
    wait_for(lambda: list(runner.archive.glob("*/*/*/*/events.jsonl")))
    runner.end(signal.SIGTERM)
    record = record_of(runner.archive)
    assert 143 == runner.process.returncode
    assert Status.INTERRUPTED is record.status
    assert {"not_run"} == set(statuses(record).values()) or {} == statuses(record)
    assert not (runner.scratch / "never").exists()


def test_the_death_of_the_parent_ends_the_run(start: Start) -> None:
    """A runner whose shell was killed does not go on alone."""
    shell = shutil.which("sh")
    assert shell is not None
    runner = start(BUSY, NEVER, prefix=[shell, "-c", '"$@"; exit $?', "sh"])
    kernel = runner.reached("kernel")
    runner.process.kill()
    runner.process.wait()
    record = wait_for(lambda: (found := record_of(runner.archive)).sealed and found, 20)
    assert (Status.INTERRUPTED, 143) == (record.status, record.exit_code)
    assert "the process that started the run is gone" == record.reason
    assert gone(kernel)


def test_a_run_under_nohup_outlives_its_shell(start: Start) -> None:
    """Who ignores hang-ups wants the run to go on alone."""
    nohup = shutil.which("nohup")
    if nohup is None:
        pytest.skip("nohup is not installed")
    cell = "import os, time; open(os.environ['SCRATCH'] + '/kernel', 'w').write(str(os.getpid())); time.sleep(4)"
    runner = start(cell, prefix=["sh", "-c", '"$@"; exit $?', "sh", nohup])
    runner.reached("kernel")
    runner.process.kill()
    runner.process.wait()
    record = wait_for(lambda: (found := record_of(runner.archive)).sealed and found, 30)
    assert Status.SUCCEEDED is record.status


def test_the_first_process_of_a_container_obeys_signals(start: Start) -> None:
    """As PID 1, where the system ignores SIGTERM by default, the run still ends orderly."""
    unshare = shutil.which("unshare")
    if unshare is None or os.geteuid() != 0:
        pytest.skip("a process namespace needs unshare and root")
    runner = start(BUSY, prefix=[unshare, "--pid", "--fork", "--mount-proc"])
    runner.reached("kernel")
    (inner,) = map(int, Path(f"/proc/{runner.process.pid}/task/{runner.process.pid}/children").read_text().split())
    os.kill(inner, signal.SIGTERM)
    runner.process.wait(timeout=30)
    assert 143 == runner.process.returncode
    assert Status.INTERRUPTED is record_of(runner.archive).status


def test_papermill_itself_ends_truthfully(tmp_path: Path) -> None:
    """Papermill's own command with this engine gives the signal's code, a sealed record and a truthful notebook."""
    notebook(tmp_path / "tiny.ipynb", BUSY, NEVER)
    archive = tmp_path / "archive"
    environment = {**os.environ, "SCRATCH": str(tmp_path), "RUNBOOK_ARCHIVE": str(archive)}
    argv = [sys.executable, "-m", "papermill", "--engine", "runbook", "tiny.ipynb", "out.ipynb", "--no-progress-bar"]
    process = subprocess.Popen(argv, cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL)
    try:
        runner = Runner(process, archive, tmp_path)
        kernel = runner.reached("kernel")
        runner.end(signal.SIGTERM)
    finally:
        process.kill()
    assert 143 == process.returncode
    assert gone(kernel)
    record = record_of(archive)
    assert (True, Status.INTERRUPTED) == (record.sealed, record.status)
    cells = json.loads((tmp_path / "out.ipynb").read_text())["cells"]
    assert ["interrupted", "not_run"] == [one["metadata"]["papermill"]["status"] for one in cells[-2:]]


def test_runs_at_the_same_time_do_not_touch_each_other(tmp_path: Path) -> None:
    """Four runs of one notebook in one archive leave four records."""
    path = notebook(tmp_path / "tiny.ipynb", "import os\nprint(os.getpid())")
    code = (
        "import sys; from pathlib import Path; from runbook_lib.headless.runner import execute; "
        f"sys.exit(execute(Path({str(path)!r}), archive={str(tmp_path / 'archive')!r}).exit_code)"
    )
    started = [subprocess.Popen([sys.executable, "-c", code], cwd=ROOT) for _ in range(4)]
    assert [0] * 4 == [process.wait(timeout=150) for process in started]
    records = [Record.read(one.parent) for one in (tmp_path / "archive").glob("*/*/*/*/events.jsonl")]
    assert 4 == len({printed(record) for record in records})
    assert {Status.SUCCEEDED} == {record.status for record in records}
    assert all(record.sealed for record in records)
