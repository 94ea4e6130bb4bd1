"""What a run of 115,000 points leaves on disk: our record beside JupyterLab's default notebook and nbconvert's page.

As many points are shown twice: as a plotly figure by papermill's notebook with JupyterLab's default renderers, and as
evidence with our chart by a notebook of ours. The values differ: the peer's are random, ours smooth; those pack better.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.fleet import notebook as peer_notebook
from benchmarks.table import Row, cost
from runbook_lib.record.verify import verify

BIN = Path(sys.executable).parent
_OURS = """import math
from array import array
from runbook_lib import charts
from runbook_lib.model import Evidence, Series, Window
from runbook_lib.model.times import utc_now
from runbook_lib.record.folder import RecordFolder
import os
from pathlib import Path
window = Window.last(19_167 * 0.25)
start, rates = window.start.timestamp(), [(2 + (17 * n) % 11) / 60 for n in range(6)]
def series(n):
    times = array("d", (start + 15 * i for i in range(19_167)))
    values = array("d", (round(60 * rates[n] * (1.5 + math.sin(i / 500 + n))) / 60 for i in range(19_167)))
    return Series({"panel": f"p{n}"}, times, values)
evidence = Evidence("prometheus", "rates", "Rates", "requests/s", "rate(x[1m])", {}, window, utc_now(),
                    tuple(series(n) for n in range(6)))
record = RecordFolder.open(Path(os.environ["RUNBOOK_RECORD"]))
record.keep(evidence)
record.release()"""
_CHART = "charts.timeline(evidence)"


def main() -> list[Row]:
    """Rows of sizes."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        lab = peer_notebook(folder / "many.ipynb")
        filled = folder / "filled.ipynb"
        cost([str(BIN / "papermill"), str(lab), str(filled)], folder, {"PLOTLY_RENDERER": "plotly_mimetype+notebook"})
        subprocess.run([str(BIN / "jupyter"), "nbconvert", "--to", "html", "--log-level", "ERROR", str(filled)],
                       cwd=folder, check=True, capture_output=True)  # fmt: skip
        theirs, their_page = filled.stat().st_size, filled.with_suffix(".html").stat().st_size
        ours, page, checked = _ours(folder)
    return [
        Row("record of 115,000 points: kB", f"{ours / 1e3:.0f}", f"{theirs / 1e3:.0f} (JupyterLab's default notebook)",
            theirs / ours, 50, checked),
        Row("its page, chart visible offline: kB", f"{page / 1e3:.0f}", f"{their_page / 1e3:.0f} (nbconvert)",
            their_page / page, 10),
    ]  # fmt: skip


def _ours(folder: Path) -> tuple[int, int, str]:
    def cell(name: str, source: str, *tags: str) -> dict[str, Any]:
        common = {"cell_type": "code", "execution_count": None, "outputs": [], "metadata": {"tags": list(tags)}}
        return {**common, "id": name, "source": source}

    cells = [
        cell("parameters", "number: int = 0  # which\n", "parameters"),
        cell("evidence", _OURS),
        cell("chart", _CHART),
    ]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    path = folder / "ours.ipynb"
    body = {"nbformat": 4, "nbformat_minor": 5, "metadata": {"kernelspec": kernel}, "cells": cells}
    path.write_text(json.dumps(body), encoding="utf-8")
    cost([str(BIN / "runbook"), "run", str(path), "--out", str(folder / "archive")], folder, {"RUNBOOK_CATALOG": ""},
         good=(0, 3, 5))  # fmt: skip
    (record,) = (one.parent for one in (folder / "archive").glob("*/*/*/*/events.jsonl"))
    if not verify(record).good:
        raise SystemExit(f"{record} does not verify")
    page = (record / "report.html").read_text(encoding="utf-8")
    shown = page.count("data:image/")
    if not shown:
        raise SystemExit("the page shows no chart")
    total = sum(file.stat().st_size for file in record.rglob("*") if file.is_file())
    return total, len(os.fsencode(page)), f"record verified, {shown} chart on the page"
