"""What records cost and what they hold: overhead beside plain papermill, verifying, changes, real kills.

``python -m benchmarks.records`` prints one line for each figure; ``--kills 1000`` takes hours.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from runbook_lib.errors import RecordError
from runbook_lib.record.folder import RecordFolder, new_run_id
from runbook_lib.record.genesis import genesis
from runbook_lib.record.record import Record
from runbook_lib.record.recover import recover
from runbook_lib.record.verify import verify

BIN = Path(sys.executable).parent
#: Output may be lost that was printed so shortly before the runner was killed (failures-held, A3), seconds.
LOSS_SECONDS = 0.25
_GOOD = {"succeeded", "attention"}


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
            print(kills(folder, asked.kills))


def overhead(folder: Path, rounds: int) -> str:
    """Wall time and memory of a run of three empty cells beside papermill, in turns; the least of all rounds counts."""
    path = _notebook(folder / "empty.ipynb", ["1", "2", "3"])
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


def kills(folder: Path, number: int) -> str:
    """Kill real runners at random moments and hold each recovered record against what really happened."""
    rng, found, false, lost = random.Random(2), Counter[str](), 0, 0
    path = _notebook(folder / "killed.ipynb", [_CELL.format(n=n) for n in range(3)])
    for each in range(number):
        truth = folder / f"truth-{each}"
        archive = folder / f"kills-{each}"
        process = subprocess.Popen(
            [str(BIN / "runbook"), "run", str(path), "--out", str(archive)],
            cwd=folder,
            env={**os.environ, "TRUTH": str(truth)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        _wait_for(lambda: list(archive.glob("*/*/*/*/events.jsonl")) or process.poll() is not None, 60)  # noqa: B023
        time.sleep(rng.uniform(0, 6))
        killed_at = time.time()
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=60)
        record = _recovered(archive)
        happened = truth.read_text().splitlines() if truth.exists() else []
        found[str(record.status)] += 1
        false += _claims_too_much(record, happened)
        lost += _lost(record, happened, killed_at)
    told = ", ".join(f"{status} {count}" for status, count in sorted(found.items()))
    return f"{number} kills: {false} records claim too much (goal 0), {lost} lines lost (goal 0); {told}"


_CELL = """import os, time
def tell(text):
    with open(os.environ["TRUTH"], "a") as file:
        file.write(f"{{time.time()}} {{text}}\\n")
tell("begin {n}")
for i in range(15):
    print(f"line {n}-{{i}}", flush=True)
    tell(f"line {n}-{{i}}")
    time.sleep(0.1)
tell("end {n}")"""


def _claims_too_much(record: Record, happened: list[str]) -> bool:
    ended = {line.split()[2] for line in happened if " end " in line}
    cells = {cell.name: cell.status for cell in record.cells}
    claimed = {str(n) for n in range(3) if cells.get(f"cell{n}") == "ok"}
    return bool(claimed - ended) or (str(record.status) in _GOOD and len(ended) < 3)


def _lost(record: Record, happened: list[str], killed_at: float) -> int:
    text = "".join(str(event.data.get("text", "")) for event in record.all("cell.output"))
    due = [line.split(" ", 1) for line in happened if " line " in line]
    return sum(f"{said}\n" not in text for at, said in due if float(at) < killed_at - LOSS_SECONDS)


def _recovered(archive: Path) -> Record:
    (folder,) = archive.glob("*/*/*/*")
    limit = time.monotonic() + 30
    while True:
        try:
            return Record.read(recover(folder).path)
        except RecordError:
            # The kernel holds the record until it is gone.
            if time.monotonic() > limit:
                raise
            time.sleep(0.1)


def _record(archive: Path, events: int) -> Path:
    folder = RecordFolder.create(archive, new_run_id("tiny"), genesis=genesis(runbook="tiny", archive=archive))
    for number in range(events):
        folder.journal.append("cell.output", {"type": "stream", "text": f"line {number}\n"}, cell="one")
    return folder.seal("succeeded", "healthy")


def _notebook(path: Path, cells: list[str]) -> Path:
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
