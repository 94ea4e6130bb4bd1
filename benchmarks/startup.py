"""What a start costs beside its peers: the help screen beside importing typer, a run beside plain papermill.

Both sides of a ratio run in turns in the same minute; the least of several rounds counts. A run is measured on a
service whose systems do not answer, so that it is the machinery that is compared, not the systems.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from runbook_lib.cli.init import TEMPLATE

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
NOTEBOOK = ROOT / "notebooks/high_latency.ipynb"


def main(rounds: int = 5) -> list[tuple[str, str, str, float, str]]:
    """Rows of what, ours, peer, ratio and goal."""
    help_screen = [str(BIN / "runbook"), "--help"]
    typer = [sys.executable, "-c", "import typer"]
    ours, peer = _least(rounds, help_screen, typer)
    rows = [("help screen: processor seconds", f"{ours:.2f}", f"{peer:.2f} (import typer)", ours / peer, "below 1.5")]
    with tempfile.TemporaryDirectory() as place:
        (Path(place) / "runbook.toml").write_text(TEMPLATE, encoding="utf-8")
        run = [str(BIN / "runbook"), "run", str(NOTEBOOK), "-e", "production", "--out", f"{place}/archive"]
        filled = f"{place}/out.ipynb"
        papermill = [str(BIN / "papermill"), str(NOTEBOOK), filled, "-p", "environment", "production"]
        environment = {"RUNBOOK_CATALOG": f"{place}/runbook.toml", "RUNBOOK_ARCHIVE": f"{place}/archive"}
        ours, peer = _least(max(2, rounds // 2), run, papermill, environment, filled)
    rows.append(("one run: processor seconds", f"{ours:.2f}", f"{peer:.2f} (papermill)", ours / peer, "at most 1"))
    return rows


def _least(
    rounds: int, ours: list[str], peer: list[str], environment: dict[str, str] | None = None, left: str = ""
) -> tuple[float, float]:
    """Least processor time of each command over the rounds, in turns."""
    costs: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for command, cost in zip((ours, peer), costs, strict=True):
            Path(left).unlink(missing_ok=True) if left else None
            cost.append(_processor_seconds(command, environment or {}))
    return min(costs[0]), min(costs[1])


def _processor_seconds(command: list[str], environment: dict[str, str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, env={**os.environ, **environment}, capture_output=True, check=False, timeout=600)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    started = time.monotonic()
    for what, ours, peer, ratio, goal in main():
        print(f"{what:34} {ours:>8}  {peer:24} ratio {ratio:.2f} (goal {goal})")
    print(f"measured in {time.monotonic() - started:.0f} s")
