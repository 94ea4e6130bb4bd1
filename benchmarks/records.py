"""What records cost and what they hold: overhead beside plain papermill, verifying, changes, kills, floods, endings.

``python -m benchmarks.records`` prints one line for each figure; ``--kills 1000`` takes minutes.
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
from collections.abc import Callable
from pathlib import Path

from benchmarks.kills import kill, state
from benchmarks.table import Row
from runbook_lib.record.folder import RecordFolder, new_run_id
from runbook_lib.record.genesis import genesis
from runbook_lib.record.record import Record
from runbook_lib.record.verify import verify
from runbook_lib.secrets import Redactor

BIN = Path(sys.executable).parent


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    asked_for = {"rounds": 5, "events": 100_000, "mutations": 10_000, "kills": 60, "lines": 10**6, "ends": 20}
    for name, number in asked_for.items():
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
        if asked.lines:
            print(flood(folder, asked.lines))
            print(written(folder))
            print(redaction(asked.lines))
        if asked.ends:
            print(ends(folder, asked.ends))


def rows() -> list[Row]:
    """What a record costs, as lines of the table."""
    with tempfile.TemporaryDirectory() as place:
        (ours, peer), _ = _beside_papermill(Path(place), 3)
        times, size = _bytes_written(Path(place))
    return [
        Row("run of 3 empty cells: wall seconds", f"{ours:.2f}", f"{peer + 0.15:.2f} (papermill, and 150 ms)",
            (peer + 0.15) / ours, 1),
        Row("200 cells of 50 kB: bytes written", f"{times:.2f}x", f"3x (limit) of {size / 1e6:.1f} MB", 3 / times, 1),
    ]  # fmt: skip


def overhead(folder: Path, rounds: int) -> str:
    """Wall time and memory of a run of three empty cells beside papermill."""
    seconds, memory = _beside_papermill(folder, rounds)
    return (
        f"run of 3 empty cells: {seconds[0]:.2f} s, papermill {seconds[1]:.2f} s ({seconds[0] - seconds[1]:+.2f} s, "
        f"goal +0.15); runner's memory {memory[0]:.0f} MB, papermill {memory[1]:.0f} MB (goal +30)"
    )


def _beside_papermill(folder: Path, rounds: int) -> tuple[list[float], list[float]]:
    """Wall seconds and MB of both, ours first, in turns; the least of all rounds counts."""
    path = notebook(folder / "empty.ipynb", ["1", "2", "3"])
    ours, peer = [], []
    for number in range(rounds):
        ours.append(_cost([str(BIN / "runbook"), "run", str(path), "--out", str(folder / "cost")], folder))
        peer.append(_cost([str(BIN / "papermill"), str(path), str(folder / f"{number}.ipynb")], folder))
    seconds, memory = ([min(one[part] for one in costs) for costs in (ours, peer)] for part in (0, 1))
    return seconds, memory


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


def flood(folder: Path, lines: int) -> str:
    """A run that prints so many lines, and redraws a progress bar a tenth as often, each time with a flush."""
    redraw = "import sys\nfor i in range({0}):\n    sys.stdout.write(f'\\r{{i}}')\n    sys.stdout.flush()\nprint()"
    told = []
    for name, cell in (("lines", f"for i in range({lines}): print(i)"), ("redrawn", redraw.format(lines // 10))):
        path, archive = notebook(folder / f"{name}.ipynb", [cell]), folder / f"flood-{name}"
        seconds, memory = _cost([str(BIN / "runbook"), "run", str(path), "--out", str(archive)], folder)
        (record,) = [Record.read(one.parent) for one in archive.glob("*/*/*/*/events.jsonl")]
        size = sum(one.stat().st_size for one in record.path.rglob("*") if one.is_file()) / 1e6
        told.append(
            f"{name}: {record.status}, runner {memory:.0f} MB (goal 250), record {size:.1f} MB, {seconds:.0f} s"
        )
    return f"{lines} lines and {lines // 10} carriage returns: " + "; ".join(told)


def written(folder: Path) -> str:
    """All bytes that the runner writes for 200 cells of 50 kB output each, beside the size of the record."""
    times, size = _bytes_written(folder)
    return f"200 cells of 50 kB: {times:.2f} times the record's {size / 1e6:.1f} MB written (goal 3)"


def _bytes_written(folder: Path) -> tuple[float, int]:
    """How many times its record's size the runner writes, and that size."""
    path = notebook(folder / "long.ipynb", ["print('x' * 50_000)"] * 200)
    argv = [str(BIN / "runbook"), "run", str(path), "--out", str(folder / "written")]
    process = subprocess.Popen(argv, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    fields = dict(line.split(": ") for line in Path(f"/proc/{process.pid}/io").read_text().splitlines())
    process.wait()
    size = sum(one.stat().st_size for one in (folder / "written").rglob("*") if one.is_file())
    return int(fields["wchar"]) / size, size


def redaction(lines: int) -> str:
    """Time to redact log lines that are full of words that name secrets, without holding one."""
    kinds = (
        "2026-11-24T21:40:{0:02d}Z api[{1}] INFO token refreshed for user {0} in {1} ms",
        "GET /api/v1/users/{0}?page={1} 200 {0}ms key={1} trace",
        "auth: login ok user={0} session {1} password check passed",
        "secret sync {0} of {1} done, access key rotated",
    )
    text = "\n".join(kinds[n % len(kinds)].format(n % 60, n % 997) for n in range(lines // 50))
    began = time.process_time()
    assert Redactor().text(text) == text
    return f"redacting logs full of keywords: {(time.process_time() - began) * 1e9 / len(text):.0f} ms/MB"


def ends(folder: Path, number: int) -> str:
    """Time from SIGTERM to the end of the run, in a cell that sleeps, with its record sealed."""
    path, took, orphans = notebook(folder / "asleep.ipynb", [_ASLEEP]), list[float](), 0
    for each in range(number):
        archive, marker = folder / f"ends-{each}", folder / f"asleep-{each}"
        argv = [str(BIN / "runbook"), "run", str(path), "--out", str(archive)]
        environment = {**os.environ, "MARKER": str(marker)}
        process = subprocess.Popen(
            argv, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        _wait_for(lambda: marker.exists() and marker.read_text(), 60)  # noqa: B023
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        took.append(time.monotonic() - began)
        (record,) = [Record.read(one.parent) for one in archive.glob("*/*/*/*/events.jsonl")]
        assert (record.sealed, record.status, process.returncode) == (True, "interrupted", 143)
        pids = [int(pid) for pid in marker.read_text().split()]
        _wait_for(lambda: all(state(pid) in "ZX" for pid in pids), 2)  # noqa: B023
        orphans += sum(state(pid) not in "ZX" for pid in pids)
    longest = f"SIGTERM to the sealed end: {max(took):.2f} s at most of {number} (goal 2)"
    return f"{longest}, {orphans} processes left 2 s later (goal 0)"


_ASLEEP = """import os, subprocess, time
child = subprocess.Popen(["sleep", "300"])
with open(os.environ["MARKER"] + ".new", "w") as file:
    file.write(f"{os.getpid()} {child.pid}")
os.rename(os.environ["MARKER"] + ".new", os.environ["MARKER"])
time.sleep(300)"""


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
