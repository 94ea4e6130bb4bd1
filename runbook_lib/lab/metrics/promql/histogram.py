"""Classic histograms: quantile and fraction from cumulative buckets."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from runbook_lib.lab.metrics import labels as label_sets
from runbook_lib.lab.metrics.labels import Labels
from runbook_lib.lab.metrics.promql import floats
from runbook_lib.lab.metrics.promql.series import Series, Values, Vector

Bucket = tuple[float, float]
"""Upper bound and cumulative count."""

# Relative differences between neighbouring counts up to this size are rounding, not observations.
_SMALL_DELTA = 1e-12
_SMALLEST_NORMAL = 2.2250738585072014e-308


def from_buckets(vector: Vector, steps: int, measure: Callable[[list[Bucket], int], float]) -> Vector:
    """Group bucket series into histograms and measure each one at every step.

    Args:
        vector: series with an ``le`` label; a series whose ``le`` is no number is left out.
        steps: number of steps.
        measure: takes the buckets of one histogram, by ascending bound, and the step.

    Returns:
        One series for each histogram, without ``le``; its name is to be dropped.
    """
    groups: dict[Labels, list[tuple[float, Values]]] = {}
    for series in vector:
        bound = _bound(label_sets.get(series.labels, "le"))
        if bound is not None:
            groups.setdefault(label_sets.drop(series.labels, ("le",)), []).append((bound, series.values))
    out: Vector = []
    for labels, members in groups.items():
        members.sort(key=lambda member: member[0])
        values: Values = []
        for step in range(steps):
            buckets = [(bound, count) for bound, counts in members if (count := counts[step]) is not None]
            values.append(measure(buckets, step) if buckets else None)
        out.append(Series(labels, values, drop_name=True))
    return out


def _bound(le: str) -> float | None:
    try:
        bound = floats.parse_float(le)
    except ValueError:
        return None
    return None if math.isnan(bound) else bound


def _usable(buckets: Sequence[Bucket]) -> list[Bucket]:
    """Buckets with each bound once, or none when the one for +Inf is missing."""
    if not buckets or buckets[-1][0] != floats.INF:
        return []
    joined: list[Bucket] = []
    for bound, count in buckets:
        if joined and joined[-1][0] == bound:
            joined[-1] = (bound, joined[-1][1] + count)
        else:
            joined.append((bound, count))
    return joined


def _rising(buckets: Sequence[Bucket]) -> list[Bucket]:
    """The same buckets with counts that never fall."""
    rising = [buckets[0]]
    for bound, count in buckets[1:]:
        before = rising[-1][1]
        rounding = _close(before, count)
        rising.append((bound, before if rounding or count < before else count))
    return rising


def _close(left: float, right: float) -> bool:
    if left == right or (math.isnan(left) and math.isnan(right)):
        return True
    size, difference = abs(left) + abs(right), abs(left - right)
    if left == 0 or right == 0 or size < _SMALLEST_NORMAL:
        return difference < _SMALL_DELTA * _SMALLEST_NORMAL
    return difference / size < _SMALL_DELTA


def bucket_quantile(share: float, buckets: Sequence[Bucket]) -> float:
    """The quantile of a classic histogram, linear inside a bucket.

    Args:
        share: 0 to 1; below gives -Inf, above +Inf.
        buckets: by ascending bound.

    Returns:
        NaN without observations, without a +Inf bucket, or with fewer than two buckets. A quantile in the highest
        bucket is the highest finite bound.
    """
    if math.isnan(share):
        return floats.NAN
    if share < 0 or share > 1:
        return math.copysign(floats.INF, share)
    usable = _usable(buckets)
    if len(usable) < 2:
        return floats.NAN
    rising = _rising(usable)
    observations = rising[-1][1]
    if observations == 0:
        return floats.NAN
    rank = share * observations
    index = next((i for i, (_, count) in enumerate(rising[:-1]) if count >= rank), len(rising) - 1)
    if index == len(rising) - 1:
        return rising[-2][0]
    bound, count = rising[index]
    if index == 0:
        return bound if bound <= 0 else bound * floats.divide(rank, count)
    lower_bound, lower_count = rising[index - 1]
    inside = floats.divide(rank - lower_count, count - lower_count)
    return lower_bound + (bound - lower_bound) * inside


def bucket_fraction(lower: float, upper: float, buckets: Sequence[Bucket]) -> float:
    """The share of observations between two values, linear inside a bucket; NaN where it cannot be told."""
    usable = _usable(buckets)
    if not usable or usable[-1][1] == 0 or math.isnan(usable[-1][1]) or math.isnan(lower) or math.isnan(upper):
        return floats.NAN
    if lower >= upper:
        return 0.0
    count = usable[-1][1]
    return (_rank(upper, usable) - _rank(lower, usable)) / count


def _rank(value: float, buckets: Sequence[Bucket]) -> float:
    """How many observations lie at or below a value."""
    below = 0.0
    lower_bound = 0.0 if buckets[0][0] > 0 else -floats.INF
    for bound, count in buckets:
        if lower_bound >= value:
            return min(below, buckets[-1][1])
        if bound > value:
            if lower_bound == -floats.INF:
                return min(count, buckets[-1][1])
            inside = (value - lower_bound) / (bound - lower_bound) if math.isfinite(bound) else 0.0
            return min(below + (count - below) * inside, buckets[-1][1])
        below, lower_bound = count, bound
    return buckets[-1][1]
