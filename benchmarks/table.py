"""Rows of the table, and how both sides of a ratio are measured: in turns, in the same minutes, the least counts."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TypeVar

T = TypeVar("T")
ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Args:
        what: what is compared, with its unit.
        ours: our figure in words.
        peer: the peer's figure in words, with its name.
        ratio: how many times less ours is; above 1 is better.
        goal: the least ratio that is wanted; 0 where there is no goal.
        note: what else was checked in the same run.
    """

    what: str
    ours: str
    peer: str
    ratio: float
    goal: float
    note: str = ""

    @property
    def met(self) -> str:
        """Whether the goal is reached."""
        return "-" if not self.goal else "yes" if self.ratio >= self.goal else "NO"


@dataclass(frozen=True)
class Cost:
    """What a command cost.

    Args:
        wall_seconds: from its start to its end.
        cpu_seconds: of it and of everything that it waited for.
        memory_mb: greatest resident memory of any one process.
    """

    wall_seconds: float
    cpu_seconds: float
    memory_mb: float

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.wall_seconds + other.wall_seconds,
            self.cpu_seconds + other.cpu_seconds,
            max(self.memory_mb, other.memory_mb),
        )


def cost(
    command: Sequence[str], folder: Path, environment: Mapping[str, str] | None = None, *, good: Sequence[int] = (0,)
) -> Cost:
    """Run a command; anything but an expected exit code ends the benchmark, for a failed run is cheap."""
    began = time.monotonic()
    with (folder / "command.log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=folder, env={**os.environ, **(environment or {})}, stdout=log, stderr=log
        )
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in good:
        words = (folder / "command.log").read_text(errors="replace")[-2000:]
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}:\n{words}")
    return Cost(time.monotonic() - began, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def in_turns(rounds: int, *sides: Callable[[], T]) -> list[list[T]]:
    """Results of each side over the rounds, the sides in turns."""
    found: list[list[T]] = [[] for _ in sides]
    for _ in range(rounds):
        for results, side in zip(found, sides, strict=True):
            results.append(side())
    return found


def processor_seconds(what: Callable[[], object]) -> float:
    """Processor time of a call in this process."""
    began = time.process_time()
    what()
    return time.process_time() - began


def middle(values: Sequence[float]) -> float:
    """The median."""
    return median(values)
