"""What a start costs beside its peers: the help screen beside importing typer, a run beside plain papermill.

Both sides of a ratio run in turns in the same minute; the least of several rounds counts. A run is measured on a
service whose systems do not answer, so that it is the machinery that is compared, not the systems.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks.table import ROOT, Cost, Row, cost, in_turns
from runbook_lib.cli.init import TEMPLATE

BIN = Path(sys.executable).parent
NOTEBOOK = ROOT / "notebooks/high_latency.ipynb"


def main(rounds: int = 3) -> list[Row]:
    """Rows of the start."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "runbook.toml").write_text(TEMPLATE, encoding="utf-8")
        found = {"RUNBOOK_CATALOG": f"{folder}/runbook.toml", "RUNBOOK_ARCHIVE": f"{folder}/archive"}
        typer, ours = in_turns(
            rounds,
            lambda: cost([sys.executable, "-c", "import typer"], folder),
            lambda: cost([str(BIN / "runbook"), "--help"], folder),
        )
        run = [str(BIN / "runbook"), "run", str(NOTEBOOK), "-e", "production"]
        peers, runs = in_turns(rounds, _papermill(folder, found), lambda: cost(run, folder, found, good=(0, 3, 5)))
    return [
        _row("help screen: processor seconds", ours, typer, "import typer", 1 / 1.5, lambda one: one.cpu_seconds),
        _row("one run: processor seconds", runs, peers, "papermill", 1, lambda one: one.cpu_seconds),
        _row("one run: wall seconds", runs, peers, "papermill", 1, lambda one: one.wall_seconds),
    ]  # fmt: skip


def _papermill(folder: Path, found: dict[str, str]) -> Callable[[], Cost]:
    filled = folder / "out.ipynb"
    command = [str(BIN / "papermill"), str(NOTEBOOK), str(filled), "-p", "environment", "production"]

    def once() -> Cost:
        filled.unlink(missing_ok=True)
        return cost(command, folder, found)

    return once


def _row(
    what: str, ours: list[Cost], peers: list[Cost], name: str, goal: float, figure: Callable[[Cost], float]
) -> Row:
    mine, theirs = min(map(figure, ours)), min(map(figure, peers))
    return Row(what, f"{mine:.2f}", f"{theirs:.2f} ({name})", theirs / mine, round(goal, 2))
