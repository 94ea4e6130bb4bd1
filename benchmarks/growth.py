"""What ten times as much costs: samples of an answer, cells of a notebook, targets of a fleet; at most eleven times."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.table import Row, cost, processor_seconds
from runbook_lib.clients import _matrix

BIN = Path(sys.executable).parent


def main() -> list[Row]:
    """Rows of growth."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        cells = [_cells(folder, number) for number in (1, 10, 100)]
        targets = [_targets(folder, number) for number in (1, 2, 20)]
    few, many = (_columns(_answer(points)) for points in (1000, 10_000))
    # The first figure of each is the cost of a start, which does not grow.
    return [
        _row("10x samples to columns: processor seconds", few, many),
        _row("10x cells of 20 kB output: processor seconds", cells[1] - cells[0], cells[2] - cells[0], 99 / 9),
        _row("10x targets of a fleet: processor seconds", targets[1] - targets[0], targets[2] - targets[0], 19),
    ]


def _row(what: str, few: float, many: float, times: float = 10) -> Row:
    allowed = 1.1 * times * few
    return Row(what, f"{many:.2f}", f"{few:.2f} (a part; 1.1 x {times:.0f} times it)", allowed / max(many, 1e-9), 1)


def _columns(body: bytes) -> float:
    return min(processor_seconds(lambda: _matrix.read(body)) for _ in range(5))


def _answer(points: int) -> bytes:
    pairs = ",".join(f'[{1_700_000_000 + 15 * i},"{(i * 0.618033988749895) % 1!r}"]' for i in range(points))
    series = ",".join(f'{{"metric":{{"pod":"{n}"}},"values":[{pairs}]}}' for n in range(20))
    return f'{{"status":"success","data":{{"resultType":"matrix","result":[{series}]}}}}'.encode()


def _notebook(path: Path, number: int) -> Path:
    def cell(name: str, source: str, *tags: str) -> dict[str, Any]:
        common = {"cell_type": "code", "execution_count": None, "outputs": [], "metadata": {"tags": list(tags)}}
        return {**common, "id": name, "source": source}

    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    cells = [cell("parameters", "number: int = 0  # which\n", "parameters")]
    cells += [cell(f"cell-{n}", f"print('line of output {n}\\n' * 1000)") for n in range(number)]
    body = {"nbformat": 4, "nbformat_minor": 5, "metadata": {"kernelspec": kernel}, "cells": cells}
    path.write_text(json.dumps(body), encoding="utf-8")
    return path


def _cells(folder: Path, number: int) -> float:
    path = _notebook(folder / f"cells-{number}.ipynb", number)
    command = [str(BIN / "runbook"), "run", str(path), "--out", str(folder / "cells")]
    return min(cost(command, folder, {"RUNBOOK_CATALOG": ""}).cpu_seconds for _ in range(2))


def _targets(folder: Path, number: int) -> float:
    path = _notebook(folder / "targets.ipynb", 1)
    lines = "\n".join(str(n) for n in range(number))
    (folder / "targets.csv").write_text(f"number\n{lines}\n", encoding="utf-8")
    command = [str(BIN / "runbook"), "fleet", str(path), "--targets", "targets.csv", "--out", str(folder / "fleet")]
    return min(cost(command, folder, {"RUNBOOK_CATALOG": ""}).cpu_seconds for _ in range(2))
