"""A fleet on real kernels: every target has a truthful record, whatever happens to its neighbours."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from runbook_lib.actions.lock import file_lock
from runbook_lib.headless import forking
from runbook_lib.record.record import Record
from runbook_lib.record.verify import verify

COMMAND = Path(sys.executable).with_name("runbook")
PARAMETERS = 'what: str = "good"  # how the run goes\nnumber: int = 0  # tells targets apart\n'
CELL = """
import os, signal, time
from pathlib import Path
commands = Path("/proc/self/cmdline")
Path(what + str(number)).write_text(commands.read_text() if commands.exists() else "")
if what == "raises":
    raise ValueError("as asked")
if what == "killed":
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(60)
if what == "waits" or (what == "waits once" and not Path("waited").exists()):
    Path("waited").touch()
    time.sleep(120)
print(what, number)
"""


def notebook(folder: Path) -> Path:
    """A runbook whose parameter says how it goes."""

    def cell(name: str, source: str, *tags: str) -> dict[str, Any]:
        common = {"cell_type": "code", "execution_count": None, "outputs": [], "metadata": {"tags": list(tags)}}
        return {**common, "id": name, "source": source}

    kernel = {"name": "python3", "display_name": "python3", "language": "python"}
    cells = [cell("parameters", PARAMETERS, "parameters"), cell("one", CELL), cell("two", "number")]
    body = {"nbformat": 4, "nbformat_minor": 5, "metadata": {"kernelspec": kernel}, "cells": cells}
    path = folder / "many.ipynb"
    path.write_text(json.dumps(body), encoding="utf-8")
    return path


def begin(
    folder: Path, *targets: str, words: tuple[str, ...] = (), archive: str = "", more: Mapping[str, str] | None = None
) -> subprocess.Popen[str]:
    """Start a fleet with one target for each of the given ways to go."""
    lines = [f"{what},{number}" for number, what in enumerate(targets)]
    (folder / "targets.csv").write_text("\n".join(["what,number", *lines, ""]), encoding="utf-8")
    command = [str(COMMAND), "fleet", str(notebook(folder)), "--targets", "targets.csv", "--json", *words]
    environment = {key: value for key, value in os.environ.items() if key != "RUNBOOK_CATALOG"}
    return subprocess.Popen(
        [*command, "--out", archive or str(folder / "archive")],
        cwd=folder,
        env={**environment, **(more or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finished(process: subprocess.Popen[str]) -> dict[str, Any]:
    """What a fleet printed at its end."""
    out, err = process.communicate(timeout=170)
    assert out, err
    told: dict[str, Any] = json.loads(out)
    assert told["exit_code"] == process.returncode, err
    return told


def by_number(told: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The results in the order of the targets."""
    return sorted(told["results"], key=lambda one: re.sub(r".*number=(\d+).*", r"\1", one["target"]))


def wait_for(what: Callable[[], object], seconds: float = 150) -> None:
    """Wait until something is true."""
    limit = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < limit
        time.sleep(0.02)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A fleet of four: two good runs, one that raises, one whose runner is killed in its middle."""
    folder = tmp_path_factory.mktemp("mixed")
    return folder, finished(begin(folder, "good", "raises", "killed", "good", words=("--at-once", "2")))


def test_every_target_has_its_own_verified_record(mixed: tuple[Path, dict[str, Any]]) -> None:
    """Also the one whose runner was killed: its record was put in order and says interrupted."""
    _, told = mixed
    assert ["succeeded", "failed", "interrupted", "succeeded"] == [one["status"] for one in by_number(told)]
    assert [True] * 4 == [verify(one["record"]).good for one in told["results"]]
    assert 4 == len({one["run_id"] for one in told["results"]})


def test_the_worst_run_decides_the_exit_code(mixed: tuple[Path, dict[str, Any]]) -> None:
    """Failed runs make the fleet fail; the good ones keep their own code."""
    _, told = mixed
    assert 1 == told["exit_code"]
    assert [0, 1, 1, 0] == [one["exit_code"] for one in by_number(told)]
    assert "SIGKILL" in by_number(told)[2]["reason"]


def test_each_record_holds_the_parameters_of_its_target(mixed: tuple[Path, dict[str, Any]]) -> None:
    """No run sees another's parameters."""
    _, told = mixed
    numbers = [Record.read(Path(one["record"])).run["parameters"]["number"] for one in by_number(told)]
    assert [0, 1, 2, 3] == numbers


def test_the_page_begins_with_the_worst_and_links_to_records(mixed: tuple[Path, dict[str, Any]]) -> None:
    """Every link leads to a page that is there, and nothing on the page can run or load anything."""
    _, told = mixed
    page = Path(told["page"])
    text = page.read_text(encoding="utf-8")
    links = re.findall(r'href="([^"]+)"', text)
    assert 4 == len(links)
    assert [True] * 4 == [(page.parent / link).is_file() for link in links]
    rows = re.findall(r'<th scope="row">([^<]+)', text)
    assert {"number=1", "number=2"} == {row.rpartition(", ")[2] for row in rows[:2]}
    assert "default-src 'none'" in text
    assert "<script" not in text


def test_results_are_on_disk_one_line_each(mixed: tuple[Path, dict[str, Any]]) -> None:
    """What was known when a fleet died can be read from the file of results."""
    _, told = mixed
    lines = (Path(told["page"]).parent / "results.jsonl").read_text(encoding="utf-8").splitlines()
    assert {one["run_id"] for one in told["results"]} == {json.loads(line)["run_id"] for line in lines}


def test_ctrl_c_ends_the_runs_truthfully_and_starts_no_more(tmp_path: Path) -> None:
    """The run under way is sealed as interrupted, the others say that they were never started."""
    process = begin(tmp_path, "waits", "good", "good", words=("--at-once", "1"))
    wait_for((tmp_path / "waits0").exists)
    process.send_signal(signal.SIGINT)
    told = finished(process)
    assert 130 == told["exit_code"]
    assert ["interrupted", "not_started", "not_started"] == [one["status"] for one in by_number(told)]
    first = by_number(told)[0]
    assert verify(first["record"]).good
    assert "interrupted" == str(Record.read(Path(first["record"])).status)
    assert not (tmp_path / "good1").exists()


def test_a_fleet_stops_after_so_many_failed_runs(tmp_path: Path) -> None:
    """What was not started says why."""
    told = finished(begin(tmp_path, "raises", "good", "good", words=("--at-once", "1", "--stop-after", "1")))
    assert ["failed", "not_started", "not_started"] == [one["status"] for one in by_number(told)]
    assert "not started: 1 runs had failed before" == by_number(told)[1]["reason"]
    assert 1 == told["exit_code"]


def test_a_target_that_another_fleet_works_on_is_left_alone(tmp_path: Path) -> None:
    """The lock is of runbook and target; it is told as refused, without a record."""
    release = file_lock(tmp_path / "archive" / "ledger" / "fleet", "many-what=good, number=0")
    try:
        told = finished(begin(tmp_path, "good", words=("--engine", "spawn")))
    finally:
        release()
    (result,) = told["results"]
    assert (4, "") == (result["exit_code"], result["record"])
    assert "another fleet" in result["reason"]


def test_without_fork_the_same_comes_out(tmp_path: Path) -> None:
    """Processes that are started anew give the same records."""
    told = finished(begin(tmp_path, "good", "raises", words=("--engine", "spawn")))
    assert ["succeeded", "failed"] == [one["status"] for one in by_number(told)]
    assert [True, True] == [verify(one["record"]).good for one in told["results"]]


@pytest.mark.skipif(not forking.AVAILABLE, reason="forks of a prepared process are for Linux only")
def test_the_kernels_of_a_fleet_are_forked(mixed: tuple[Path, dict[str, Any]]) -> None:
    """A forked kernel still has the fleet's command line."""
    folder, _ = mixed
    assert [True, True] == ["--targets" in (folder / name).read_text() for name in ("good0", "good3")]
