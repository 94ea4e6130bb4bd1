"""What ten times as much costs: samples, cells, targets of a fleet, services of a catalogue; at most eleven times.

Archived records are measured by the line ``archive``.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.table import Row, cost, processor_seconds
from runbook_lib import catalog
from runbook_lib.cli.init import TEMPLATE
from runbook_lib.clients import _matrix

BIN = Path(sys.executable).parent


def main() -> list[Row]:
    """Rows of growth."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        # The least of each is the cost of a start, which does not grow.
        cells = [_cells(folder, number) for number in (10, 60, 510)]
        targets = [_targets(folder, number) for number in (2, 4, 22)]
        services = [_services(folder, number) for number in (200, 2000)]
    samples = [_columns(_answer(points)) for points in (1000, 10_000)]
    return [
        _row("10x samples to columns: processor seconds", *samples),
        _row("10x services of a catalogue: processor seconds", *services),
        _row("10x cells of 20 kB output: processor seconds", cells[1] - cells[0], cells[2] - cells[0]),
        _row("10x targets of a fleet: processor seconds", targets[1] - targets[0], targets[2] - targets[0]),
    ]


def _row(what: str, few: float, many: float) -> Row:
    return Row(what, f"{many:.3g}", f"{few:.3g} (a tenth, times 11)", 11 * few / many, 1)


def _columns(body: bytes) -> float:
    return min(processor_seconds(lambda: _matrix.read(body)) for _ in range(5))


def _answer(points: int) -> bytes:
    pairs = ",".join(f'[{1_700_000_000 + 15 * i},"{(i * 0.618033988749895) % 1!r}"]' for i in range(points))
    series = ",".join(f'{{"metric":{{"pod":"{n}"}},"values":[{pairs}]}}' for n in range(20))
    return f'{{"status":"success","data":{{"resultType":"matrix","result":[{series}]}}}}'.encode()


def _services(folder: Path, number: int) -> float:
    first, _, rest = TEMPLATE.partition("[environments.")
    services = (first.replace("services.api", f"services.api-{n}") for n in range(number))
    path = folder / "runbook.toml"
    path.write_text("\n".join([*services, f"[environments.{rest}"]), encoding="utf-8")
    known = catalog.load(path)
    if len(known.services) != number:
        raise SystemExit(f"{path}: {len(known.services)} services were read, not {number}")
    return min(processor_seconds(lambda: catalog.load(path)) for _ in range(3))


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
