"""Kill real runs at random moments and hold each recovered record against what really happened.

``python -m benchmarks.kills NUMBER`` kills runner, kernel or both of so many runs, several at once, and prints one JSON
object with what it found. The runs are forked from one process, so that sixty of them are a matter of seconds.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runbook_lib.errors import RecordError
from runbook_lib.headless import forking
from runbook_lib.record.record import Record
from runbook_lib.record.recover import is_alive, recover
from runbook_lib.record.verify import verify

#: Output may be lost that was printed so shortly before the kill (failures-held, A3), nanoseconds.
LOSS_NS = 250_000_000
#: Runs at the same time; more of them only wait for each other's processors.
AT_ONCE = 4
_WATCHED_SECONDS = 0.3
_GOOD = {"succeeded", "attention"}
_CELLS = 3
_ACTIONS = ("action.intent", "action.outcome")
_FIRST = """import os, time
from pathlib import Path
from runbook_lib.record.folder import RecordFolder
truth = os.open(os.environ["TRUTH"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
def tell(text):
    os.write(truth, f"{time.monotonic_ns()} {text}\\n".encode())
record = RecordFolder.open(Path(os.environ["RUNBOOK_RECORD"]))
tell(f"kernel {os.getpid()}")
"""
_CELL = """tell("begin {n}")
for i in range(10):
    print(f"line {n}-{{i}}", flush=True)
    tell(f"line {n}-{{i}}")
    if i % 4 == 1:
        act = {{"plan": f"{n}-{{i}}", "key": f"{n}-{{i}}", "kind": "none", "target": "none"}}
        record.journal.append("action.intent", act)
        tell(f"intent {n}-{{i}}")
        record.journal.append("action.outcome", {{**act, "outcome": "applied", "reason": ""}})
        tell(f"outcome {n}-{{i}}")
    time.sleep(0.03)
tell("end {n}")"""


@dataclass
class Found:
    """What the kills came to.

    Args:
        kills: how many runs were killed before they ended by themselves.
        false: records that say more than what happened.
        lost_lines: lines older than the bound that are not in the journal.
        lost_actions: events of actions that are not in the journal.
        bad: runs whose record was not sealed, does not verify or left a process, with the reason.
        statuses: status of the recovered record to how many have it.
        oldest_lost_ms: age of the oldest line that was lost, at the kill, milliseconds; starvation is not taken off.
        starved_ms: longest time that processes of a run waited for a processor in its last moments, milliseconds.
    """

    kills: int = 0
    false: int = 0
    lost_lines: int = 0
    lost_actions: int = 0
    bad: list[str] = field(default_factory=list)
    statuses: Counter[str] = field(default_factory=Counter)
    oldest_lost_ms: float = 0.0
    starved_ms: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


class _Run:
    """One run, from its fork to the judgement of its record; ``step`` is called until it says that it is done."""

    def __init__(self, folder: Path, notebook: Path, rng: random.Random, found: Found) -> None:
        self.folder, self.found = folder, found
        self.target = rng.choice(("runner", "kernel", "both"))
        # Runs take about one and a half seconds; some of the moments are before the first cell, some behind the last.
        self.delay_seconds = rng.uniform(0, 1.2 if self.target == "runner" else 0.9)
        folder.mkdir()
        self.truth = folder / "truth"
        environment = {**os.environ, "TRUTH": str(self.truth)}
        self.runner = forking.fork(
            lambda: _execute(notebook, folder), environment=environment, cwd=folder, log=folder / "log"
        )
        self._steps = self._life()

    def step(self) -> bool:
        """Do what can be done without waiting; whether all is done."""
        return next(self._steps, None) is None

    def _life(self) -> Iterator[bool]:
        yield from _until(lambda: self._kernel() or self.target == "runner" or self.runner.poll() is not None)
        yield from _pause(max(self.delay_seconds - _WATCHED_SECONDS, 0))
        pids = [pid for pid in ({"runner": self.runner.pid, "kernel": self._kernel()}.values()) if pid]
        before = _starved_ns(pids)
        yield from _pause(min(self.delay_seconds, _WATCHED_SECONDS))
        kernel = self._kernel()
        targets = {"runner": [self.runner.pid], "kernel": [kernel], "both": [self.runner.pid, kernel]}[self.target]
        killed = self.runner.poll() is None
        # Stopped first: a process that waits for a processor has not yet been told for how long.
        stopped_ns = time.monotonic_ns()
        _signal(targets, signal.SIGSTOP)
        yield from _until(lambda: all(state(pid) in "TtZX" for pid in targets), 5)
        starved_ns = max(_starved_ns(pids) - before, 0)
        _signal(targets, signal.SIGKILL)
        yield from _until(lambda: self.runner.poll() is not None, 60)
        yield from _until(lambda: not kernel or state(kernel) in "ZX", 10)
        if kernel and state(kernel) not in "ZX":
            self.found.bad.append(f"{self.folder.name}: the kernel is still alive")
        # A kernel that had not come to its first cell told nobody its number; it holds the record while it lives.
        yield from _until(lambda: not any(is_alive(path) for path in self._records() if path.suffix == ".partial"), 15)
        self._judge(killed, stopped_ns, starved_ns)

    def _judge(self, killed: bool, killed_ns: int, starved_ns: int) -> None:
        found, happened = self.found, _truth(self.truth)
        folders = self._records()
        if not folders:
            # Killed before the first byte: nothing was claimed, and nothing can have happened.
            found.false += bool(happened)
            found.statuses["no record"] += 1
            return
        try:
            record = Record.read(recover(folders[0]).path)
            found.bad += [f"{self.folder.name}: {problem}" for problem in verify(record.path).problems]
        except RecordError as error:
            found.bad.append(f"{self.folder.name}: {error}")
            return
        found.kills += killed
        found.statuses[str(record.status)] += 1
        found.false += _claims_too_much(record, happened)
        acted = {(event.kind, event.data["plan"]) for kind in _ACTIONS for event in record.all(kind)}
        wanted = {(f"action.{what}", name) for _, what, name in happened if what in {"intent", "outcome"}}
        found.lost_actions += len(wanted - acted)
        text = "".join(str(event.data.get("text", "")) for event in record.all("cell.output"))
        lost = [killed_ns - at for at, what, name in happened if what == "line" and f"line {name}\n" not in text]
        found.lost_lines += sum(age > LOSS_NS + starved_ns for age in lost)
        found.oldest_lost_ms = max([found.oldest_lost_ms, *(round(age / 1e6, 1) for age in lost)])
        found.starved_ms = max(found.starved_ms, round(starved_ns / 1e6, 1))

    def _records(self) -> list[Path]:
        return [journal.parent for journal in (self.folder / "archive").glob("*/*/*/*/events.jsonl")]

    def _kernel(self) -> int:
        return next((int(name) for _, what, name in _truth(self.truth) if what == "kernel"), 0)


def kill(number: int, seed: int = 2) -> Found:
    """Kill so many runs.

    Args:
        number: how many.
        seed: of the moments and targets.
    """
    assert forking.prepare()
    # In memory where that is possible: the promise is about kills, not about a slow disk.
    memory = Path("/dev/shm")
    place = memory if os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 2**28 else None
    found, rng, started = Found(), random.Random(seed), 0
    with tempfile.TemporaryDirectory(dir=place) as scratch:
        notebook = _notebook(Path(scratch) / "tiny.ipynb")
        alive: list[_Run] = []
        while started < number or alive:
            if started < number and len(alive) < AT_ONCE:
                alive.append(_Run(Path(scratch) / f"run-{started}", notebook, rng, found))
                started += 1
            alive = [run for run in alive if not run.step()]
            time.sleep(0.005)
    return found


def _execute(notebook: Path, folder: Path) -> int:
    from runbook_lib.headless.runner import execute

    return execute(notebook, archive=str(folder / "archive")).exit_code


def _claims_too_much(record: Record, happened: list[tuple[int, str, str]]) -> bool:
    ended = {name for _, what, name in happened if what == "end"}
    cells = {cell.name: cell.status for cell in record.cells}
    claimed = {str(n) for n in range(_CELLS) if cells.get(f"cell{n}") == "ok"}
    return bool(claimed - ended) or (str(record.status) in _GOOD and len(ended) < _CELLS)


def _truth(path: Path) -> list[tuple[int, str, str]]:
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return []
    return [(int(at), what, name) for at, what, name in (line.split() for line in lines)]


def _starved_ns(pids: list[int]) -> int:
    """How long all threads of these processes together waited for a processor since they began, nanoseconds."""
    total = 0
    for pid in pids:
        for path in Path(f"/proc/{pid}/task").glob("*/schedstat"):
            with suppress(OSError, ValueError, IndexError):
                total += int(path.read_text().split()[1])
    return total


def state(pid: int) -> str:
    """How the system says that a process is, in one letter; X when there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0].decode()
    except OSError:
        return "X"


def _signal(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        if pid:
            with suppress(ProcessLookupError):
                os.kill(pid, number)


def _pause(seconds: float) -> Iterator[bool]:
    limit = time.monotonic() + seconds
    return _until(lambda: time.monotonic() >= limit)


def _until(what: Callable[[], object], seconds: float = 60) -> Iterator[bool]:
    limit = time.monotonic() + seconds
    while not what() and time.monotonic() < limit:
        yield True


def _notebook(path: Path) -> Path:
    from benchmarks.records import notebook

    return notebook(path, [(_FIRST if n == 0 else "") + _CELL.format(n=n) for n in range(_CELLS)])


def main() -> None:
    """Kill as many runs as the command line says and print what was found."""
    sys.stdout.write(json.dumps(kill(int(sys.argv[1]) if len(sys.argv) > 1 else 60).to_json()) + "\n")


if __name__ == "__main__":
    main()
