"""Every command of the README is run, in the order of the page."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path

import pytest

from tests.browser.lab_page import serving
from tests.conftest import COMMAND, ROOT, Practice

README = (ROOT / "README.md").read_text(encoding="utf-8")
BIN = Path(sys.executable).parent

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def commands(heading: str) -> list[list[str]]:
    """The commands in the console blocks of one section, as words."""
    section = README.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    blocks = re.findall(r"```console\n(.*?)```", section, re.DOTALL)
    return [shlex.split(line) for block in blocks for line in block.splitlines() if line.strip()]


def run(practice: Practice, words: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run one command in a folder, with the lab's catalogue and archive."""
    return subprocess.run(
        [str(BIN / words[0]), *words[1:]],
        cwd=folder,
        env=practice.environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def plain(words: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run one command in a folder, knowing of no lab."""
    return subprocess.run(
        [str(BIN / words[0]), *words[1:]], cwd=folder, capture_output=True, text=True, timeout=300, check=False
    )


@pytest.fixture
def fault(practice: Practice) -> Iterator[None]:
    """A session that holds locks and does nothing, until users feel it."""
    practice.command("lab", "fault", "idle_in_transaction")
    practice.wait(above=0.2)
    yield
    assert 0 == practice.command("lab", "heal").returncode


@pytest.mark.parametrize("words", commands("Two commands"), ids=" ".join)
def test_make_targets_exist(words: list[str]) -> None:
    """A make command of the page names a target that make knows how to build."""
    assert "make" == words[0]
    done = subprocess.run(["make", "-n", *words[1:]], cwd=ROOT, capture_output=True, text=True, check=False)
    assert 0 == done.returncode, done.stderr


def test_own_service(tmp_path: Path) -> None:
    """The first five minutes work on a machine where nothing answers: unknown, with a fix for each line."""
    init, enter, *rest = commands("Your own service in five minutes")
    assert (["runbook", "init"], ["cd", init[-1]]) == (init[:2], enter)
    assert 0 == plain(init, tmp_path).returncode
    for command in rest:
        done = plain(command, tmp_path / enter[1])
        assert 5 == done.returncode, done.stderr
        assert "Traceback" not in done.stderr


def test_from_a_terminal(practice: Practice, fault: None) -> None:
    """The main job with the commands of the page: the cause, one plan, applied once when approved, verified, sealed."""
    digest = file = ""
    for words in commands("From a terminal"):
        filled = [{"DIGEST": digest, "FILE": file}.get(word, word) for word in words]
        done = run(practice, filled, practice.folder)
        assert done.returncode == (3 if words[:2] == ["runbook", "run"] and "--apply" not in words else 0), done.stderr
        if found := re.search(r"--plan (sha256:[0-9a-f]{64})", done.stdout):
            digest = found.group(1)
        if found := re.search(r"--approval (\S+)", done.stdout):
            file = found.group(1)
    told = json.loads(run(practice, ["runbook", "records", "show", "last", "--json"], practice.folder).stdout)
    assert "db.idle_in_transaction" == told["findings"][0]["cause"]
    assert ["end_backend"] == [plan["kind"] for plan in told["plans"]]
    assert ["applied"] == [outcome["outcome"] for outcome in told["outcomes"]]
    assert ("held", 0) == (told["verification"]["status"], told["exit_code"])
    assert {"events.jsonl", "manifest.json", "seal.json", "notebook.ipynb", "report.html", "summary.md"} <= {
        path.name for path in Path(told["record"]).iterdir()
    }


def test_in_ci(practice: Practice, tmp_path: Path) -> None:
    """Preflight passes, and plain papermill with our engine leaves the filled notebook and a record."""
    assert practice.wait(below=0.2, seconds=240)
    preflight, papermill = commands("In CI")
    assert json.loads(run(practice, preflight, practice.folder).stdout)["verdict"] == "healthy"
    before = len(list((practice.folder / "outputs").glob("*/*/*/*")))
    papermill[papermill.index("notebooks/high_latency.ipynb")] = str(ROOT / "notebooks/high_latency.ipynb")
    done = run(practice, papermill, tmp_path)
    assert 0 == done.returncode, done.stderr
    assert (tmp_path / "out.ipynb").is_file()
    assert before + 1 == len(list((practice.folder / "outputs").glob("*/*/*/*")))


def test_in_jupyterlab(practice: Practice) -> None:
    """JupyterLab answers with the notebook; the rest of the section is worked through by the tests with a browser."""
    pytest.importorskip("jupyterlab")
    up, fault, (_, _, *words) = commands("In JupyterLab")
    assert 0 == run(practice, up, practice.folder).returncode
    try:
        assert 0 == run(practice, fault, practice.folder).returncode
        with serving(COMMAND, practice.environment, practice.folder / "home", *words) as server:
            with urllib.request.urlopen(server.address, timeout=30) as answer:
                assert HTTPStatus.OK == answer.status
            assert "high_latency" in server.address
    finally:
        assert 0 == run(practice, ["runbook", "lab", "heal"], practice.folder).returncode


def test_lab(practice: Practice) -> None:
    """The lab's own commands break and heal it; the last one, which stops it, is only looked up."""
    up, fault, look, heal, down = commands("The lab")
    assert 0 == run(practice, up, practice.folder).returncode
    try:
        assert 0 == run(practice, fault, practice.folder).returncode
        practice.wait(above=0.2)
        told = run(practice, look, practice.folder)
        assert 3 == told.returncode, told.stderr
        assert "db.lock_contention" in told.stdout
    finally:
        assert 0 == run(practice, heal, practice.folder).returncode
    assert 0 == run(practice, [*down, "--help"], practice.folder).returncode
