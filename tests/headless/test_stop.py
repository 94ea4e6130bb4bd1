"""A runbook that ends itself early, with a runner and without."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from runbook_lib.headless.runner import execute
from runbook_lib.record.status import Status
from runbook_lib.record.verify import verify

from .conftest import ROOT, notebook, record_of, statuses

CATALOG = """
[services.api]
description = "x"
owner = "x"
workload = { selector = { service = "api" } }
objectives = { latency = { kind = "latency", target = 0.95, threshold_seconds = 0.2 } }
[environments.shop]
description = "nothing to read from"
"""
START = 'from runbook_lib import Run\nrun = Run.start("tiny", service="api", environment="shop", minutes=15)\n'
STOP = 'run.stop("the shop is closed today")\n'
NEVER = 'import os; open(os.environ["SCRATCH"] + "/never", "w").close()'


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a catalogue, which is the current one."""
    (tmp_path / "runbook.toml").write_text(CATALOG)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SCRATCH", str(tmp_path))
    return tmp_path


def test_a_runbook_that_stops_itself_says_why(folder: Path) -> None:
    """No further cell runs, and record and exit code tell a decision, not a failure."""
    parameters = 'service: str = "api"\nenvironment: str = "shop"\n'
    path = notebook(folder / "tiny.ipynb", START, STOP, NEVER, parameters=parameters)
    result = execute(path, archive=str(folder / "archive"), watch_parent=False)
    assert (Status.STOPPED_EARLY, 3, "the shop is closed today") == (result.status, result.exit_code, result.reason)
    record = record_of(folder / "archive")
    assert "not_run" == statuses(record)["three"]
    assert not (folder / "never").exists()
    assert () == verify(record.path).problems
    assert "the shop is closed today" in (record.path / "summary.md").read_text()


def test_without_a_runner_the_record_is_sealed_too(folder: Path) -> None:
    """A kernel of its own seals the record with the same status and reason before the cell ends."""
    done = subprocess.run(
        [sys.executable, "-c", START + STOP + NEVER],
        env={**os.environ, "PYTHONPATH": str(ROOT), "RUNBOOK_ARCHIVE": str(folder / "archive")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (1, "the shop is closed today") == (done.returncode, done.stderr.strip())
    record = record_of(folder / "archive")
    assert (True, Status.STOPPED_EARLY) == (record.sealed, record.status)
    assert "the shop is closed today" == record.reason
    assert not (folder / "never").exists()
