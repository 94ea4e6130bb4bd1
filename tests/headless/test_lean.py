"""What a run imports before its first cell, in the runner and in the kernel: nothing that it does not use."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from runbook_lib.record.folder import RecordFolder, new_run_id
from runbook_lib.record.genesis import genesis

from .conftest import ROOT, notebook

HEAVY = (
    *("pandas", "numpy", "plotly", "kubernetes", "httpx", "psycopg", "redis", "rich", "simdjson", "debugpy"),
    *("nbformat", "nbclient", "papermill", "IPython", "ipykernel", "zmq", "jinja2", "markdown_it", "rfc3987_syntax"),
)
RUNNER = """
import json, sys
from pathlib import Path
from runbook_lib.headless.runner import execute
seen = []
def told(cell, status):
    if not seen:
        seen.extend(name for name in {heavy!r} if sys.modules.get(name))
execute(Path(sys.argv[1]), archive=sys.argv[2], progress=told)
print(json.dumps(seen))
"""
KERNEL = f"import sys, json, os\nprint(json.dumps([name for name in {HEAVY!r} if sys.modules.get(name)]))"
VERIFY = """
import sys
from runbook_lib.cli import main
sys.argv = ["runbook", "records", "verify", "--archive", sys.argv[1]]
try:
    main()
finally:
    sys.stderr.write("HEAVY " + " ".join(name for name in {heavy!r} if sys.modules.get(name)))
"""


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> tuple[set[str], set[str]]:
    """The heavy modules of the runner when the first cell begins, and of the kernel in that cell."""
    folder = tmp_path_factory.mktemp("lean")
    path = notebook(folder / "tiny.ipynb", KERNEL)
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RUNBOOK_")}
    done = subprocess.run(
        [sys.executable, "-c", RUNNER.format(heavy=HEAVY), str(path), str(folder / "archive")],
        cwd=folder,
        env={**environment, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
    assert 0 == done.returncode, done.stderr
    (filled,) = (folder / "archive").glob("*/*/*/*/notebook.ipynb")
    (output,) = json.loads(filled.read_text())["cells"][-1]["outputs"]
    return set(json.loads(done.stdout)), set(json.loads("".join(output["text"])))


def test_the_runner_imports_its_executor_and_the_pages(seen: tuple[set[str], set[str]]) -> None:
    """No library of data, charts or systems; the page's template is compiled while the kernel boots."""
    assert seen[0] <= {"nbformat", "nbclient", "papermill", "zmq", "jinja2"}


def test_the_kernel_imports_ipython_alone(seen: tuple[set[str], set[str]]) -> None:
    """No debugger either; what the cells ask for comes with them."""
    assert seen[1] <= {"IPython", "ipykernel", "zmq"}


def test_verifying_records_imports_none_of_them(tmp_path: Path) -> None:
    """Verifying is reading files."""
    folder = RecordFolder.create(tmp_path, new_run_id("tiny"), genesis=genesis(runbook="tiny", archive=tmp_path))
    folder.seal("succeeded", "healthy")
    done = subprocess.run(
        [sys.executable, "-c", VERIFY.format(heavy=HEAVY), str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
    assert 0 == done.returncode, done.stderr
    assert set() == set(done.stderr.rpartition("HEAVY ")[2].split())
