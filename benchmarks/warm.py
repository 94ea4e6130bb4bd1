"""How soon the first finding stands: a cold papermill, our cold run, and a run of the process that waits.

The notebook imports what a runbook imports, makes evidence and judges it; the moment at which its finding stands is
noted by the cell itself, on the clock that all processes of a machine share. All sides must find the same.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.table import Row, in_turns
from runbook_lib.record.verify import verify

BIN = Path(sys.executable).parent
_SETUP = """import httpx
import kubernetes.client
import pandas as pd
import plotly.graph_objects as go
from runbook_lib import analysis, charts
from runbook_lib.model import Evidence, Objective, Series, Window
from runbook_lib.model.times import from_epoch, utc_now"""
_EVIDENCE = """window = Window(from_epoch(1_767_225_600), from_epoch(1_767_229_200))
start = window.start.timestamp()
line = Series.of((start + 15 * step, 0.05 if step < 160 else 0.4) for step in range(240))
latency = Evidence("prometheus", "latency_seconds", "Request latency", "s", "q", {}, window, utc_now(), (line,))
objective = Objective("latency", "latency", 0.95, 0.2, 30)"""
_FINDING = """import os, time
from pathlib import Path
finding = analysis.objective_breached(latency, objective)
Path(os.environ["FINDING_AT"]).write_text(repr(time.monotonic()))
print(finding.title)"""


def main(rounds: int = 3) -> list[Row]:
    """Rows of the first finding."""
    with tempfile.TemporaryDirectory() as place, tempfile.TemporaryDirectory(dir="/tmp") as runtime:
        folder = Path(place)
        path = _notebook(folder / "one.ipynb")
        run = [str(BIN / "runbook"), "run", str(path), "--out", str(folder / "archive")]
        away = {"RUNBOOK_CATALOG": "", "XDG_RUNTIME_DIR": str(folder / "nothing")}
        # A path of a socket has at most 107 bytes.
        near = {"RUNBOOK_CATALOG": "", "XDG_RUNTIME_DIR": runtime}
        _command(["warm"], near)
        try:
            peers, cold, warm = (
                min(found)
                for found in in_turns(
                    rounds,
                    lambda: _first([str(BIN / "papermill"), str(path), str(folder / "filled.ipynb")], folder, away),
                    lambda: _first(run, folder, away),
                    lambda: _first(run, folder, near),
                )
            )
        finally:
            _command(["warm", "--stop"], near)
        checked = _same(folder)
    peer = f"{peers:.2f} (papermill, cold)"
    return [
        Row("first finding, warm: wall seconds", f"{warm:.2f}", peer, peers / warm, 10, checked),
        Row("first finding, cold: wall seconds", f"{cold:.2f}", peer, peers / cold, 1),
    ]


def _command(words: list[str], variables: dict[str, str]) -> None:
    subprocess.run([str(BIN / "runbook"), *words], env={**os.environ, **variables}, check=True, capture_output=True)


def _first(command: list[str], folder: Path, variables: dict[str, str]) -> float:
    """Seconds from the start of the command to its finding."""
    note = folder / "finding-at"
    note.unlink(missing_ok=True)
    began = time.monotonic()
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, **variables, "FINDING_AT": str(note)}, capture_output=True, check=False
    )
    if done.returncode not in {0, 3}:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}: {done.stderr.decode()[-2000:]}")
    return float(note.read_text()) - began


def _notebook(path: Path) -> Path:
    def cell(name: str, source: str, *tags: str) -> dict[str, Any]:
        common = {"cell_type": "code", "execution_count": None, "outputs": [], "metadata": {"tags": list(tags)}}
        return {**common, "id": name, "source": source}

    cells = [cell("parameters", "number: int = 0  # which\n", "parameters"), cell("setup", _SETUP)]
    cells += [cell("evidence", _EVIDENCE), cell("finding", _FINDING)]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    body = {"nbformat": 4, "nbformat_minor": 5, "metadata": {"kernelspec": kernel}, "cells": cells}
    path.write_text(json.dumps(body), encoding="utf-8")
    return path


def _same(folder: Path) -> str:
    """Verify every record, and hold what its run printed against papermill's notebook."""
    records = [one.parent for one in (folder / "archive").glob("*/*/*/*/seal.json")]
    printed = {_printed(folder / "filled.ipynb"), *(_printed(record / "notebook.ipynb") for record in records)}
    if len(printed) != 1 or not all(verify(record).good for record in records):
        raise SystemExit(f"the runs found something else, or a record does not verify: {printed}")
    return f"{len(records)} records verified, same finding"


def _printed(path: Path) -> str:
    (output,) = json.loads(path.read_text(encoding="utf-8"))["cells"][-1]["outputs"]
    return "".join(output["text"])
