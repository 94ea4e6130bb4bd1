"""One runbook on twelve targets: the ``papermill`` command in a loop beside ``runbook fleet`` with sealed records.

Both run the same notebook: it imports pandas, plotly, httpx and kubernetes and shows a figure of six panels with
115,000 points. Our records are verified and must hold what papermill's notebooks hold.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.table import Cost, Row, cost, in_turns
from runbook_lib.record.verify import verify

BIN = Path(sys.executable).parent
TARGETS = 12
PARAMETERS = "number: int = 0  # tells targets apart\n"
SETUP = """import httpx
import kubernetes.client
import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots"""
EVIDENCE = """rng = np.random.default_rng(number)
index = pd.date_range("2026-01-01", periods=19_167, freq="15s")
names = ["p95", "requests", "errors", "sessions", "cpu", "memory"]
frame = pd.DataFrame({name: rng.gamma(2.0, 0.05, len(index)) for name in names}, index=index)
frame.describe().round(3)"""
FIGURE = """figure = make_subplots(rows=3, cols=2, subplot_titles=names)
figure.add_traces(
    [go.Scatter(x=frame.index, y=frame[name], name=name) for name in names], [1, 1, 2, 2, 3, 3], [1, 2, 1, 2, 1, 2]
)
figure"""
FINDING = """worst = frame["p95"].resample("1h").quantile(0.95).max()
print(f"target {number}: worst hour {worst:.6f}")"""


def notebook(path: Path) -> Path:
    """The runbook that both sides run."""

    def cell(name: str, source: str, *tags: str) -> dict[str, Any]:
        common = {"cell_type": "code", "execution_count": None, "outputs": [], "metadata": {"tags": list(tags)}}
        return {**common, "id": name, "source": source}

    cells = [cell("parameters", PARAMETERS, "parameters"), cell("setup", SETUP), cell("evidence", EVIDENCE)]
    cells += [cell("figure", FIGURE), cell("finding", FINDING)]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    body = {"nbformat": 4, "nbformat_minor": 5, "metadata": {"kernelspec": kernel}, "cells": cells}
    path.write_text(json.dumps(body), encoding="utf-8")
    return path


def main(rounds: int = 1) -> list[Row]:
    """Rows of the fleet."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        path = notebook(folder / "many.ipynb")
        lines = "\n".join(str(number) for number in range(TARGETS))
        (folder / "targets.csv").write_text(f"number\n{lines}\n", encoding="utf-8")
        peers, ours = in_turns(rounds, lambda: _papermill(path, folder), lambda: _fleet(path, folder))
        checked = _same(folder)
    return [
        _row("fleet of 12: wall seconds", [one.wall_seconds for one in ours], [one.wall_seconds for one in peers], 10),
        _row("fleet of 12: processor seconds", [o.cpu_seconds for o in ours], [p.cpu_seconds for p in peers], 10),
        _row("fleet of 12: MB of the largest process", [o.memory_mb for o in ours], [p.memory_mb for p in peers], 1,
             note=checked),
    ]  # fmt: skip


def _row(what: str, ours: list[float], peers: list[float], goal: float, note: str = "") -> Row:
    mine, theirs = min(ours), min(peers)
    return Row(what, f"{mine:.1f}", f"{theirs:.1f} (papermill, one after another)", theirs / mine, goal, note)


def _papermill(path: Path, folder: Path) -> Cost:
    total = Cost(0, 0, 0)
    for number in range(TARGETS):
        filled = folder / f"papermill-{number}.ipynb"
        filled.unlink(missing_ok=True)
        total += cost([str(BIN / "papermill"), str(path), str(filled), "-p", "number", str(number)], folder)
    return total


def _fleet(path: Path, folder: Path) -> Cost:
    archive = folder / f"archive-{len(list(folder.glob('archive-*')))}"
    words = ["--targets", "targets.csv", "--out", str(archive), "--at-once", str(os.cpu_count() or 2)]
    return cost([str(BIN / "runbook"), "fleet", str(path), *words], folder, {"RUNBOOK_CATALOG": ""})


def _same(folder: Path) -> str:
    """Verify every record of the first fleet, and compare what its runs printed with papermill's."""
    ours, theirs = [], [_printed(folder / f"papermill-{number}.ipynb") for number in range(TARGETS)]
    for page in (folder / "archive-0").glob("fleets/*/fleet.json"):
        for result in json.loads(page.read_text(encoding="utf-8"))["results"]:
            if not verify(result["record"]).good:
                raise SystemExit(f"{result['record']} does not verify")
            ours.append(_printed(Path(result["record"]) / "notebook.ipynb"))
    if sorted(ours) != sorted(theirs):
        raise SystemExit(f"the runs printed something else: {ours} {theirs}")
    return f"{len(ours)} records verified, same findings"


def _printed(path: Path) -> str:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    outputs = next(cell["outputs"] for cell in cells if cell["id"] == "finding" or "worst =" in "".join(cell["source"]))
    return "".join("".join(output["text"]) for output in outputs)
