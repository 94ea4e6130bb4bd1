"""What a run of 115,000 points leaves on disk: our record beside JupyterLab's default notebook and nbconvert's page.

Both notebooks make the same 19,167 rates of six panels, as Prometheus answers them: counts of requests over a minute,
so that a value has 17 digits and few distinct ones. The peer shows them as a plotly figure with JupyterLab's default
renderers; ours keeps every point as evidence and shows a chart. The values that both hold are compared.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import tempfile
from array import array
from pathlib import Path
from typing import Any

from benchmarks.table import Row, cost
from runbook_lib.charts.figure import MIME
from runbook_lib.record import evidence_file
from runbook_lib.record.verify import verify

BIN = Path(sys.executable).parent
_VALUES = """import numpy as np
count = 19_167
names = ["p95", "requests", "errors", "sessions", "cpu", "memory"]
times = 1_767_225_600 + 15 * np.arange(count)
draw = np.random.default_rng(7)
levels = [300 * (1.5 + np.sin(np.arange(count) / 500 + number)) for number in range(6)]
rates = [draw.poisson(level) / 60 for level in levels]"""
_PEER = """import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots
index = pd.to_datetime(times, unit="s")
figure = make_subplots(rows=3, cols=2, subplot_titles=names)
lines = [go.Scatter(x=index, y=rate, name=name) for name, rate in zip(names, rates)]
figure.add_traces(lines, [1, 1, 2, 2, 3, 3], [1, 2, 1, 2, 1, 2])
figure"""
_OURS = """import os
from array import array
from pathlib import Path
from runbook_lib import charts
from runbook_lib.model import Evidence, Series, Window
from runbook_lib.model.times import from_epoch, utc_now
from runbook_lib.record.folder import RecordFolder
window = Window(from_epoch(float(times[0])), from_epoch(float(times[-1] + 1)))
def series(name, rate):
    return Series({"panel": name}, array("d", times.astype(float).tobytes()), array("d", rate.tobytes()))
evidence = Evidence("prometheus", "rates", "Rates", "1/s", "rate(x[1m])", {}, window, utc_now(),
                    tuple(map(series, names, rates)))
record = RecordFolder.open(Path(os.environ["RUNBOOK_RECORD"]))
record.keep(evidence)
record.release()
charts.timeline(evidence)"""


def main() -> list[Row]:
    """Rows of sizes."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        lab, filled = _notebook(folder / "peer.ipynb", _PEER), folder / "filled.ipynb"
        cost([str(BIN / "papermill"), str(lab), str(filled)], folder, {"PLOTLY_RENDERER": "plotly_mimetype+notebook"})
        subprocess.run([str(BIN / "jupyter"), "nbconvert", "--to", "html", "--log-level", "ERROR", str(filled)],
                       cwd=folder, check=True, capture_output=True)  # fmt: skip
        theirs, their_page = filled.stat().st_size, filled.with_suffix(".html").stat().st_size
        ours, page, checked = _ours(folder, filled)
    return [
        Row("record of 115,000 points: kB", f"{ours / 1e3:.0f}", f"{theirs / 1e3:.0f} (JupyterLab's default notebook)",
            theirs / ours, 50, checked),
        Row("its page, chart visible offline: kB", f"{page / 1e3:.0f}", f"{their_page / 1e3:.0f} (nbconvert)",
            their_page / page, 10),
    ]  # fmt: skip


def _notebook(path: Path, source: str) -> Path:
    def cell(name: str, source: str, *tags: str) -> dict[str, Any]:
        common = {"cell_type": "code", "execution_count": None, "outputs": [], "metadata": {"tags": list(tags)}}
        return {**common, "id": name, "source": source}

    cells = [
        cell("parameters", "number: int = 0  # which\n", "parameters"),
        cell("values", _VALUES),
        cell("shown", source),
    ]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    body = {"nbformat": 4, "nbformat_minor": 5, "metadata": {"kernelspec": kernel}, "cells": cells}
    path.write_text(json.dumps(body), encoding="utf-8")
    return path


def _ours(folder: Path, filled: Path) -> tuple[int, int, str]:
    path = _notebook(folder / "ours.ipynb", _OURS)
    cost([str(BIN / "runbook"), "run", str(path), "--out", str(folder / "archive")], folder, {"RUNBOOK_CATALOG": ""},
         good=(0, 3, 5))  # fmt: skip
    (record,) = (one.parent for one in (folder / "archive").glob("*/*/*/*/events.jsonl"))
    if not verify(record).good:
        raise SystemExit(f"{record} does not verify")
    if _held(record) != _shown(filled):
        raise SystemExit("the two sides do not hold the same values")
    page = (record / "report.html").read_text(encoding="utf-8")
    shown = page.count("data:image/")
    if not shown:
        raise SystemExit("the page shows no chart")
    total = sum(file.stat().st_size for file in record.rglob("*") if file.is_file())
    return total, len(os.fsencode(page)), f"record verified, same values, {shown} chart on the page"


def _held(record: Path) -> list[list[float]]:
    (evidence,) = (record / "evidence").iterdir()
    series = json.loads(evidence_file.read(evidence))["data"]["series"]
    return [one["values"] for one in sorted(series, key=lambda one: str(one["labels"]["panel"]))]


def _shown(filled: Path) -> list[list[float]]:
    cells = json.loads(filled.read_text(encoding="utf-8"))["cells"]
    (figure,) = (output["data"][MIME] for output in cells[-1]["outputs"] if MIME in output.get("data", {}))
    traces = sorted(figure["data"], key=lambda one: str(one["name"]))
    return [_numbers(one["y"]) for one in traces]


def _numbers(values: Any) -> list[float]:
    """Values of a trace; since version 6 plotly writes arrays as base64."""
    if isinstance(values, dict):
        return list(array("d", base64.b64decode(values["bdata"])))
    return list(values)
