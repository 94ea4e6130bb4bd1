"""From samples to what is drawn: unbroken runs, few enough points, and where a limit is crossed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise

from runbook_lib.model import Series

#: An unbroken stretch of ``(epoch seconds, value)``, times rising, values finite.
Run = tuple[tuple[float, float], ...]
#: ``(start, end)`` in epoch seconds.
Interval = tuple[float, float]

# A source misses a sample now and then; three steps without one are a hole that a person must see.
_STEPS_UNTIL_HOLE = 3


def runs(series: Series, start: float = -math.inf, end: float = math.inf) -> tuple[Run, ...]:
    """The unbroken stretches of a series: it breaks at values that are not finite and where samples are missing.

    Args:
        series: the samples.
        start: epoch seconds before which samples are left out.
        end: epoch seconds after which samples are left out.
    """
    limit = _longest_step(series.times)
    found: list[list[tuple[float, float]]] = []
    whole = False
    for time, value in zip(series.times, series.values, strict=True):
        if not math.isfinite(value) or not start <= time <= end:
            whole = False
            continue
        if not whole or time - found[-1][-1][0] > limit:
            found.append([])
        found[-1].append((time, value))
        whole = True
    return tuple(tuple(run) for run in found)


def _longest_step(times: Sequence[float]) -> float:
    steps = sorted(later - earlier for earlier, later in pairwise(times))
    return _STEPS_UNTIL_HOLE * steps[len(steps) // 2] if len(steps) >= 3 else math.inf


def thin(run: Run, start: float, end: float, columns: int, *, corners: int = 4) -> Run:
    """About ``corners * columns`` points of a run that look the same: those that a line needs in each column.

    Args:
        run: points to thin.
        start: epoch seconds at the left edge of the picture.
        end: epoch seconds at its right edge.
        columns: columns of pixels between the edges; every extreme of every column is kept.
        corners: 4 keeps first, lowest, highest and last of each column, which draws the same pixels; 2 the extremes
            and both ends of the run, half as much to store.
    """
    if len(run) <= corners * columns or end <= start:
        return run
    scale = columns / (end - start)
    kept: list[tuple[float, float]] = []
    column: list[tuple[float, float]] = []
    number = None
    for point in run:
        here = int((point[0] - start) * scale)
        if here != number and column:
            kept.extend(_corners(column, corners))
            column = []
        number = here
        column.append(point)
    kept.extend(_corners(column, corners))
    first, last = run[:1] if kept[0] != run[0] else (), run[-1:] if kept[-1] != run[-1] else ()
    return (*first, *kept, *last)


def _corners(column: list[tuple[float, float]], corners: int) -> list[tuple[float, float]]:
    low = min(range(len(column)), key=lambda i: column[i][1])
    high = max(range(len(column)), key=lambda i: column[i][1])
    edges = {0, len(column) - 1} if corners == 4 else set[int]()
    return [column[i] for i in sorted({low, high} | edges)]


def above(run: Run, limit: float) -> list[Interval]:
    """Where a run lies above ``limit``; crossings between two samples are interpolated."""
    found: list[Interval] = []
    began = run[0][0] if run and run[0][1] > limit else None
    for (t0, v0), (t1, v1) in pairwise(run):
        if (v0 > limit) == (v1 > limit):
            continue
        crossing = t0 + (t1 - t0) * (limit - v0) / (v1 - v0)
        if began is None:
            began = crossing
        else:
            found.append((began, crossing))
            began = None
    if began is not None:
        found.append((began, run[-1][0]))
    return found


def union(intervals: Iterable[Interval]) -> list[Interval]:
    """The intervals merged where they touch, in order."""
    merged: list[Interval] = []
    for start, end in sorted(intervals):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def holes(all_runs: Iterable[Run], start: float, end: float) -> list[Interval]:
    """Where none of the runs has a sample between ``start`` and ``end``, when it is wide enough to be seen."""
    least = (end - start) / 50
    edges = [start]
    for first, last in union((run[0][0], run[-1][0]) for run in all_runs):
        edges += [first, last]
    edges.append(end)
    pairs = zip(edges[::2], edges[1::2], strict=True)
    return [(left, right) for left, right in pairs if right - left > least]
