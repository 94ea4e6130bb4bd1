"""The process that waits: runs begin at once in it, and nothing depends on it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from runbook_lib.headless import forking, warm
from runbook_lib.record.verify import verify

from .conftest import notebook, record_of, wait_for

pytestmark = pytest.mark.skipif(not forking.AVAILABLE, reason="forks of a prepared process are for Linux only")
COMMAND = str(Path(sys.executable).with_name("runbook"))
LOOK = """
import os
print(os.environ.get("MINE"), os.getcwd(), open("/proc/self/cmdline").read().replace("\\0", " "))
"""


@pytest.fixture(scope="module")
def runtime() -> Iterator[Path]:
    """A short private place for the socket; a socket's path is at most 107 bytes long."""
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def waiting(runtime: Path) -> Iterator[Path]:
    """A waiting process of its own."""
    told = subprocess.run(
        [COMMAND, "warm"], env=environment(runtime), capture_output=True, text=True, timeout=170, check=False
    )
    assert 0 == told.returncode, told.stderr
    assert "waiting as process" in told.stdout
    yield runtime
    subprocess.run([COMMAND, "warm", "--stop"], env=environment(runtime), timeout=60, check=True, capture_output=True)


def environment(runtime: Path, **more: str) -> dict[str, str]:
    """The variables of a command that finds only this waiting process."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RUNBOOK_")}
    return {**kept, "XDG_RUNTIME_DIR": str(runtime), **more}


def run(runtime: Path, path: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a notebook as a person does, in its folder."""
    return subprocess.run(
        [COMMAND, "run", str(path), "--out", "archive"],
        cwd=path.parent,
        env=environment(runtime, **more),
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )


def test_a_run_in_the_waiting_process_is_as_any_other(waiting: Path, tmp_path: Path) -> None:
    """The command's folder, variables, output and exit code; a sealed record; a kernel that was forked."""
    done = run(waiting, notebook(tmp_path / "tiny.ipynb", LOOK), MINE="yes")
    assert 0 == done.returncode, done.stderr
    assert "record: " in done.stdout
    record = record_of(tmp_path / "archive")
    assert verify(record.path).good
    printed = "".join(str(event.data.get("text", "")) for event in record.all("cell.output"))
    assert f"yes {tmp_path} " in printed
    assert "runbook_lib.cli.warm" in printed


def test_wrong_use_is_told_as_ever(waiting: Path, tmp_path: Path) -> None:
    """The error and its exit code come through."""
    done = run(waiting, tmp_path / "none.ipynb")
    assert 2 == done.returncode
    assert "unknown runbook" in done.stderr


def test_ctrl_c_reaches_the_run(waiting: Path, tmp_path: Path) -> None:
    """The record says interrupted, and so does the exit code."""
    path = notebook(
        tmp_path / "tiny.ipynb", "from pathlib import Path; import time\nPath('here').touch()\ntime.sleep(120)"
    )
    process = subprocess.Popen(
        [COMMAND, "run", str(path), "--out", "archive"],
        cwd=tmp_path,
        env=environment(waiting),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_for((tmp_path / "here").exists, 60)
    process.send_signal(signal.SIGINT)
    assert 130 == process.wait(timeout=60)
    assert "interrupted" == str(record_of(tmp_path / "archive").status)


def test_without_a_waiting_process_the_run_starts_as_always(tmp_path: Path, runtime: Path) -> None:
    """Nothing is there; nothing is missed."""
    done = run(tmp_path, notebook(tmp_path / "tiny.ipynb", LOOK))
    assert 0 == done.returncode, done.stderr
    printed = "".join(str(one.data.get("text", "")) for one in record_of(tmp_path / "archive").all("cell.output"))
    assert "_kernel.py" in printed


def test_a_folder_that_others_may_enter_is_not_trusted(runtime: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody else could have put the socket there."""
    with tempfile.TemporaryDirectory(dir="/tmp") as place:
        monkeypatch.setenv("XDG_RUNTIME_DIR", place)
        warm.address().parent.mkdir(mode=0o755)
        warm.address().touch()
        assert warm.connect() is None
