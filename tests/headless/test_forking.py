"""Runs in forked processes: each as separate as one that was started on its own, on real kernels."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from runbook_lib.headless import forking
from runbook_lib.record.record import Record
from runbook_lib.record.verify import verify

from .conftest import ROOT, notebook

pytestmark = pytest.mark.skipif(not forking.AVAILABLE, reason="forks of a prepared process are for Linux only")

# What a run sees of its process, after it has changed what a neighbour could see, and with a neighbour alive.
LOOK = """
import json, os, random, socket, sys, threading, time
import numpy
from pathlib import Path
import runbook_lib.model.times as shared
def target(fd):
    # Another thread may close a file between the listing and the look.
    try:
        return os.readlink(fd)
    except FileNotFoundError:
        return ""
own = os.environ["OWN"]
scratch = Path(os.environ["SCRATCH"])
seen = {
    "environment": [os.environ.get("PARENT_ONLY"), own],
    "random": random.random(),
    "numpy": numpy.random.random(),
    "memory": getattr(shared, "MARK", None),
    "session": os.getsid(0) == os.getpid(),
    "targets": [target(fd) for fd in Path("/proc/self/fd").iterdir()],
    "threads": threading.main_thread() is threading.current_thread(),
    "folder": os.getcwd(),
    "path": sys.path[:2],
    "main": sys.modules["__main__"].__name__,
}
shared.MARK = own
os.environ["LEFT"] = own
os.chdir(scratch)
(scratch / own).write_text(json.dumps(seen))
limit = time.monotonic() + 60
while not all((scratch / name).exists() for name in ("a", "b", "dying")) and time.monotonic() < limit:
    time.sleep(0.02)
"""
DIE = """
import os, signal
from pathlib import Path
(Path(os.environ["SCRATCH"]) / "dying").write_text("now")
os.kill(os.getpid(), signal.SIGKILL)
"""
DRIVER = """
import json, os, random, socket, sys, tempfile
from pathlib import Path
import runbook_lib.model.times as shared
from runbook_lib.headless import forking
from runbook_lib.headless.runner import execute

scratch = Path(os.environ["SCRATCH"])
assert forking.prepare(["numpy"])
import numpy
os.environ["PARENT_ONLY"] = "yes"
random.seed(1); numpy.random.seed(1)
shared.MARK = "parent"
held = open(scratch / "held.txt", "w")
temporary = tempfile.TemporaryDirectory()
listening = socket.create_server(("127.0.0.1", 0))
children = {}
for name in ("a", "b", "dying"):
    environment = {key: value for key, value in os.environ.items() if key != "PARENT_ONLY"} | {"OWN": name}
    path = scratch / ("die.ipynb" if name == "dying" else "look.ipynb")
    run = lambda: execute(path, archive=str(scratch / f"of-{name}")).exit_code
    children[name] = forking.fork(run, environment=environment, cwd=scratch, log=scratch / f"{name}.log")
codes = {name: child.wait(120) for name, child in children.items()}
told = {"codes": codes, "mark": shared.MARK, "left": os.environ.get("LEFT"), "folder": os.getcwd(),
        "temporary": Path(temporary.name).is_dir(), "socket": os.readlink(f"/proc/self/fd/{listening.fileno()}")}
import threading
started = threading.Event(); done = threading.Event()
other = threading.Thread(target=lambda: (started.set(), done.wait()))
other.start(); started.wait()
told["ready_with_a_thread"] = forking.ready()
done.set(); other.join()
print(json.dumps(told))
"""


@dataclass(frozen=True)
class Forks:
    """What two runs saw and what their parent found afterwards; a third run killed itself."""

    folder: Path
    parent: Mapping[str, Any]
    a: Mapping[str, Any]
    b: Mapping[str, Any]

    def record(self, name: str) -> Record:
        """The record of one of the runs."""
        (journal,) = (self.folder / f"of-{name}").glob("*/*/*/*/events.jsonl")
        return Record.read(journal.parent)


@pytest.fixture(scope="module")
def forks(tmp_path_factory: pytest.TempPathFactory) -> Forks:
    """Three runs at once, forked from a process with open files, a socket, a seed and changed memory."""
    folder = tmp_path_factory.mktemp("forks")
    notebook(folder / "look.ipynb", LOOK, "print('the end')")
    notebook(folder / "die.ipynb", DIE, "print('never')")
    done = subprocess.run(
        [sys.executable, "-c", DRIVER],
        cwd=folder,
        env={**os.environ, "SCRATCH": str(folder), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
    logs = "\n".join(path.read_text() for path in folder.glob("*.log"))
    journals = "\n".join(path.read_text()[-4000:] for path in folder.glob("of-*/*/*/*/*/events.jsonl"))
    assert 0 == done.returncode, done.stderr + logs
    assert all((folder / name).exists() for name in ("a", "b")), done.stdout + logs + journals
    seen = [json.loads((folder / name).read_text()) for name in ("a", "b")]
    return Forks(folder, json.loads(done.stdout), *seen)


def test_each_run_has_a_sealed_record_of_its_own(forks: Forks) -> None:
    """Both runs succeeded and their records verify."""
    assert {"a": 0, "b": 0, "dying": 138} == forks.parent["codes"]
    assert [True, True] == [verify(forks.record(name).path).good for name in ("a", "b")]
    assert forks.record("a").run_id != forks.record("b").run_id


def test_environments_are_separate(forks: Forks) -> None:
    """A run sees the variables it was given, and what it sets reaches nobody."""
    assert [[None, "a"], [None, "b"]] == [forks.a["environment"], forks.b["environment"]]
    assert forks.parent["left"] is None


def test_random_numbers_differ(forks: Forks) -> None:
    """Neither Python's nor numpy's generator continues the parent's, nor a neighbour's."""
    import random

    import numpy as np

    random.seed(1)
    of_parent = random.random()
    assert 3 == len({of_parent, forks.a["random"], forks.b["random"]})
    assert 3 == len({float(np.random.RandomState(1).random_sample()), forks.a["numpy"], forks.b["numpy"]})


def test_memory_is_separate(forks: Forks) -> None:
    """What one run changes in a module is seen neither by the other nor by the parent."""
    assert ["parent", "parent", "parent"] == [forks.a["memory"], forks.b["memory"], forks.parent["mark"]]


def test_open_files_and_sockets_of_the_parent_are_not_reachable(forks: Forks) -> None:
    """No descriptor of a run leads to the parent's file, to the runner's journal or to the parent's socket."""
    targets = [*forks.a["targets"], *forks.b["targets"]]
    assert [] == [one for one in targets if one.endswith(("held.txt", "events.jsonl", forks.parent["socket"]))]


def test_a_kernel_is_its_own_session_in_its_own_folder(forks: Forks) -> None:
    """Signals reach one run only, and a change of folder stays in it."""
    assert [True, True] == [forks.a["session"], forks.b["session"]]
    assert [str(forks.folder)] * 3 == [forks.a["folder"], forks.b["folder"], forks.parent["folder"]]
    assert "__main__" == forks.a["main"]


def test_the_crash_of_one_run_leaves_the_others_alone(forks: Forks) -> None:
    """The killed kernel's record says so; the two beside it ran to their end."""
    assert "kernel_died" == str(forks.record("dying").status)
    assert ["succeeded", "succeeded"] == [str(forks.record(name).status) for name in ("a", "b")]


def test_exit_functions_of_the_parent_are_not_run_in_a_child(forks: Forks) -> None:
    """A temporary folder of the parent outlives its children."""
    assert forks.parent["temporary"]


def test_a_process_with_a_second_thread_does_not_fork(forks: Forks) -> None:
    """A fork would copy the locks that the other thread holds."""
    assert not forks.parent["ready_with_a_thread"]


def test_a_process_that_was_not_prepared_does_not_fork(tmp_path: Path) -> None:
    """It says what to do first."""
    with pytest.raises(RuntimeError, match="prepare"):
        forking.fork(lambda: 0, environment={}, cwd=None, log=tmp_path / "log")


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        pytest.param("import pandas as pd", ["pandas"], id="import"),
        pytest.param("from plotly import graph_objects", ["plotly", "plotly.graph_objects"], id="from"),
        pytest.param("import my_module, httpx", ["httpx"], id="only what is known to be quiet"),
        pytest.param("%matplotlib inline", [], id="a magic"),
        pytest.param("from . import pandas", [], id="relative"),
    ],
)
def test_what_a_notebook_imports_is_imported_beforehand(source: str, expected: list[str]) -> None:
    """Only modules that start nothing when they are imported."""
    assert expected == forking.imports_of([source])
