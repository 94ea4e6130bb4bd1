"""What records cost and what they hold: overhead beside plain papermill, verifying, changes, real kills.

``python -m benchmarks.records`` prints one line for each figure; ``--kills 1000`` takes minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.kills import kill
from runbook_lib.record.folder import RecordFolder, new_run_id
from runbook_lib.record.genesis import genesis
from runbook_lib.record.verify import verify

BIN = Path(sys.executable).parent


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, number in (("rounds", 5), ("events", 100_000), ("mutations", 10_000), ("kills", 60)):
        parser.add_argument(f"--{name}", type=int, default=number, help="how many; 0 leaves it out")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        if asked.rounds:
            print(overhead(folder, asked.rounds))
        if asked.events:
            print(verifying(folder, asked.events))
        if asked.mutations:
            print(mutations(folder, asked.mutations))
        if asked.kills:
            print(kills(asked.kills))


def overhead(folder: Path, rounds: int) -> str:
    """Wall time and memory of a run of three empty cells beside papermill, in turns; the least of all rounds counts."""
    path = notebook(folder / "empty.ipynb", ["1", "2", "3"])
    ours, peer = [], []
    for number in range(rounds):
        ours.append(_cost([str(BIN / "runbook"), "run", str(path), "--out", str(folder / "cost")], folder))
        peer.append(_cost([str(BIN / "papermill"), str(path), str(folder / f"{number}.ipynb")], folder))
    seconds = [min(one[0] for one in costs) for costs in (ours, peer)]
    memory = [min(one[1] for one in costs) for costs in (ours, peer)]
    return (
        f"run of 3 empty cells: {seconds[0]:.2f} s, papermill {seconds[1]:.2f} s ({seconds[0] - seconds[1]:+.2f} s, "
        f"goal +0.15); runner's memory {memory[0]:.0f} MB, papermill {memory[1]:.0f} MB (goal +30)"
    )


def verifying(folder: Path, events: int) -> str:
    """Time to verify one long record."""
    record = _record(folder / "long", events)
    best = float("inf")
    for _ in range(3):
        began = time.process_time()
        assert verify(record).good
        best = min(best, time.process_time() - began)
    return f"verify {events} events: {best:.2f} s of processor time (goal 1 s for 100,000)"


def mutations(folder: Path, number: int) -> str:
    """How many random changes of a record are seen."""
    record, rng, missed, done = _record(folder / "changed", 40), random.Random(1), 0, 0
    files = sorted(path for path in record.rglob("*") if path.is_file())
    while done < number:
        path = rng.choice(files)
        before = path.read_bytes()
        at, length = rng.randrange(len(before)), rng.randint(0, 40)
        after = before[:at] + rng.randbytes(rng.randint(0, 4)) + before[at + length :]
        if after == before:
            continue
        path.write_bytes(after)
        missed += verify(record).good
        path.write_bytes(before)
        done += 1
    return f"{number} random changes: {number - missed} seen, {missed} missed (goal 0)"


def kills(number: int) -> str:
    """Kill real runs at random moments and hold each recovered record against what really happened."""
    found = kill(number)
    told = ", ".join(f"{status} {count}" for status, count in sorted(found.statuses.items()))
    return (
        f"{found.kills} of {number} runs killed: {found.false} records claim too much (goal 0), {found.lost_lines} "
        f"lines older than 250 ms lost (goal 0; oldest line lost {found.oldest_lost_ms:.0f} ms, longest wait for a "
        f"processor {found.starved_ms:.0f} ms), {found.lost_actions} events of actions lost (goal 0), "
        f"{len(found.bad)} not in order (goal 0); {told}"
    )


def _record(archive: Path, events: int) -> Path:
    folder = RecordFolder.create(archive, new_run_id("tiny"), genesis=genesis(runbook="tiny", archive=archive))
    for number in range(events):
        folder.journal.append("cell.output", {"type": "stream", "text": f"line {number}\n"}, cell="one")
    return folder.seal("succeeded", "healthy")


def notebook(path: Path, cells: list[str]) -> Path:
    def cell(name: str, source: str, *tags: str) -> dict[str, object]:
        common = {"cell_type": "code", "execution_count": None, "outputs": [], "metadata": {"tags": list(tags)}}
        return {**common, "id": name, "source": source}

    body = {
        "nbformat": 4,
        "nbformat_minor": 5,
        "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
        "cells": [
            cell("parameters", "count: int = 3  # how many", "parameters"),
            *(cell(f"cell{n}", source) for n, source in enumerate(cells)),
        ],
    }
    path.write_text(json.dumps(body), encoding="utf-8")
    return path


def _cost(command: list[str], folder: Path) -> tuple[float, float]:
    """Wall time in seconds and the greatest resident memory of the command itself in MB."""
    began = time.monotonic()
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return time.monotonic() - began, usage.ru_maxrss / 1024


def _wait_for(what: Callable[[], object], seconds: float) -> None:
    limit = time.monotonic() + seconds
    while time.monotonic() < limit and not what():
        time.sleep(0.02)


if __name__ == "__main__":
    main()
