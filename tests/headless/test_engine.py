"""Papermill with this engine: its command line, its output file, and its exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from nbclient.exceptions import DeadKernelError
from papermill.exceptions import PapermillExecutionError
from papermill.execute import execute_notebook

from runbook_lib.errors import ParameterError, RunbookError, UnknownNameError, UsageError
from runbook_lib.headless.document import Document, content, replace
from runbook_lib.record.status import Status

from .conftest import ROOT, notebook, record_of, statuses


def papermill(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Papermill's command with this engine, in ``folder``."""
    argv = [sys.executable, "-m", "papermill", "--engine", "runbook", "--no-progress-bar", *arguments]
    variables = {**os.environ, "RUNBOOK_ARCHIVE": str(folder / "archive"), "PYTHONPATH": str(ROOT)}
    return subprocess.run(argv, cwd=folder, env=variables, capture_output=True, text=True, timeout=120, check=False)


def test_papermill_leaves_a_full_record(tmp_path: Path) -> None:
    """The command of any papermill user leaves a sealed record and the notebook they asked for."""
    notebook(tmp_path / "tiny.ipynb", "print(release, count)", "1 + 1")
    done = papermill(tmp_path, "tiny.ipynb", "out.ipynb", "-r", "release", "1.10", "-p", "count", "7")
    assert 0 == done.returncode, done.stderr
    record = record_of(tmp_path / "archive")
    assert (True, Status.SUCCEEDED) == (record.sealed, record.status)
    assert {"release": "1.10", "count": 7} == record.run["parameters"]
    out = json.loads((tmp_path / "out.ipynb").read_text())
    assert "1.10 7\n" in ["".join(one.get("text", "")) for cell in out["cells"] for one in cell["outputs"]]
    assert str(record.path) == out["metadata"]["papermill"]["record"]


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Papermill's function with this engine, on a notebook of the given cells."""
    monkeypatch.setenv("RUNBOOK_ARCHIVE", str(tmp_path / "archive"))

    def run(*cells: str, kernel: str = "python3", **parameters: Any) -> Any:
        path = notebook(tmp_path / "tiny.ipynb", *cells, kernel=kernel)
        return execute_notebook(
            path, tmp_path / "out.ipynb", parameters=parameters, engine_name="runbook", progress_bar=False
        )

    return run


@pytest.mark.parametrize(
    ("parameters", "error"),
    [
        pytest.param({"reelase": "x"}, UnknownNameError, id="unknown name"),
        pytest.param({"release": 1.1}, ParameterError, id="text turned into a number"),
        pytest.param({"count": "many"}, ParameterError, id="wrong type"),
        pytest.param({"release": "postgresql://app:hunter2hunter2@db/app"}, ParameterError, id="a secret"),
        pytest.param({"kernel": "julia"}, UnknownNameError, id="kernel not installed"),
    ],
)
def test_papermill_is_refused_what_the_runner_refuses(
    tmp_path: Path, call: Callable[..., Any], parameters: dict[str, Any], error: type[UsageError]
) -> None:
    """Wrong parameters start no kernel and no record, whatever papermill itself would accept."""
    with pytest.raises(error):
        call("1", **parameters)
    assert not (tmp_path / "archive").exists()
    assert not (tmp_path / "out.ipynb").exists()


@pytest.mark.parametrize(
    ("source", "error", "status"),
    [
        pytest.param("1 / 0", PapermillExecutionError, Status.FAILED, id="a cell raises"),
        pytest.param("import sys; sys.exit(0)", RunbookError, Status.FAILED, id="a cell exits"),
        pytest.param("import os; os._exit(0)", DeadKernelError, Status.KERNEL_DIED, id="the kernel dies"),
    ],
)
def test_papermill_ends_as_the_run_did(
    tmp_path: Path, call: Callable[..., Any], source: str, error: type[Exception], status: Status
) -> None:
    """What papermill's own engine calls completed is not run, in the record and in its own file."""
    with pytest.raises(error):
        call(source, "2")
    record = record_of(tmp_path / "archive")
    assert (True, status) == (record.sealed, record.status)
    assert "not_run" == statuses(record)["two"]
    cells = json.loads((tmp_path / "out.ipynb").read_text())["cells"]
    assert "not_run" == cells[-1]["metadata"]["papermill"]["status"]


def test_a_save_is_whole_or_not_at_all(tmp_path: Path) -> None:
    """A reader never sees a part of a file, however often it looks."""
    path = tmp_path / "out.ipynb"
    replace(path, b"[]")
    done = threading.Event()
    torn: list[str] = []

    def read() -> None:
        while not done.is_set():
            try:
                json.loads(path.read_bytes())
            except ValueError as error:
                torn.append(str(error))

    reader = threading.Thread(target=read)
    reader.start()
    for size in range(200):
        replace(path, json.dumps(["x" * 1000] * size).encode())
    done.set()
    reader.join()
    assert [] == torn
    assert ["out.ipynb"] == [one.name for one in tmp_path.iterdir()]


def test_a_full_disk_keeps_the_last_good_file(tmp_path: Path) -> None:
    """A save that does not fit leaves the one before untouched, and nothing beside it."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "x", str(tmp_path)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False).returncode:
        pytest.skip("a small file system needs root and mount")
    try:
        path = tmp_path / "out.ipynb"
        replace(path, b"[1]")
        with pytest.raises(OSError, match="No space left"):
            replace(path, b"x" * 2**21)
        assert b"[1]" == path.read_bytes()
        assert ["out.ipynb"] == [one.name for one in tmp_path.iterdir()]
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_saves_cost_at_most_three_times_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many cells there are, all saves together stay within three times the final file."""
    clock = iter(float(i * 10) for i in range(10_000))
    monkeypatch.setattr("runbook_lib.headless.document.time.monotonic", lambda: next(clock))
    cells: list[str] = []
    written: list[int] = []
    saver = Document({"cells": cells}, lambda data: written.append(len(data)))
    for _ in range(200):
        cells.append("x" * 50_000)
        saver.grown(len(cells) * 50_000)
    saver.save()
    final = len(content({"cells": cells}))
    assert final == written[-1]
    assert len(written) > 3
    assert sum(written) <= 3 * final
