"""Series as plain ``(epoch seconds, value)`` points: combined over labels, recent, fresh; gaps stay gaps."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence

from runbook_lib.analysis.thresholds import THRESHOLDS
from runbook_lib.model import Evidence, Series

Points = list[tuple[float, float]]


def combined(series: Iterable[Series], how: Callable[[list[float]], float] = sum) -> Points:
    """One line out of many: ``how`` over the finite values that share a time, in order of time."""
    by_time: dict[float, list[float]] = {}
    for one in series:
        for t, v in one.points():
            by_time.setdefault(t, []).append(v)
    # Sorted values: a float sum must not depend on the order in which a source lists its series.
    return [(t, how(sorted(by_time[t]))) for t in sorted(by_time)]


def worst(series: Iterable[Series]) -> Points:
    """The largest value at each time."""
    return combined(series, max)


def by_label(evidence: Evidence, label: str) -> Mapping[str, Points]:
    """The line of each value of ``label``, summed where several series carry it, in order of the value."""
    groups: dict[str, list[Series]] = {}
    for one in evidence.series:
        groups.setdefault(one.labels.get(label, ""), []).append(one)
    return {name: combined(groups[name]) for name in sorted(groups)}


def end_epoch(evidence: Evidence) -> float:
    """The moment that "now" means for the evidence: the end of its window, else when it was read, epoch seconds."""
    return (evidence.window.end if evidence.window else evidence.read_at).timestamp()


def step_seconds(points: Sequence[tuple[float, float]]) -> float:
    """The usual distance of two samples, seconds; 0 when there are fewer than two."""
    distances = [b[0] - a[0] for a, b in itertools.pairwise(points)]
    return statistics.median(distances) if distances else 0.0


def is_fresh(points: Sequence[tuple[float, float]], now: float) -> bool:
    """Whether the newest sample still speaks about ``now`` (epoch seconds)."""
    allowed = max(THRESHOLDS["fresh_seconds"].value, 3 * step_seconds(points))
    return bool(points) and now - points[-1][0] <= allowed


def present(lines: Mapping[str, Points], now: float) -> dict[str, Points]:
    """The lines that go on until ``now``: one that ends two steps before the newest sample of all belongs to a pod
    that is gone, and says nothing about those that serve.

    Args:
        lines: name to points.
        now: epoch seconds.
    """
    newest = max((points[-1][0] for points in lines.values() if points), default=now)
    step = max((step_seconds(points) for points in lines.values()), default=0.0)
    alive = {name: points for name, points in lines.items() if points and newest - points[-1][0] <= 1.5 * step}
    return {name: points for name, points in alive.items() if is_fresh(points, now)}


def recent_level(points: Sequence[tuple[float, float]], samples: int = 3) -> float | None:
    """The median of the newest samples: one outlier does not move it; None without samples."""
    newest = [v for _, v in points[-samples:]]
    return statistics.median(newest) if newest else None


def settled(values: Sequence[float], width: int = 3) -> list[float]:
    """Running median, so that a single spike is no level of its own; shape as given."""
    half = width // 2
    return [statistics.median(values[max(0, i - half) : i + half + 1]) for i in range(len(values))]


def integral(points: Sequence[tuple[float, float]], start: float, end: float) -> float:
    """How many events a rate (1/s) saw with ``start <= time <= end`` (epoch seconds); a hole counts nothing."""
    step = step_seconds(points)
    return sum(v * step for t, v in points if start <= t <= end)
