"""When did a level change: change-point detection that survives noise, spikes and missing samples.

Binary segmentation with a CUSUM statistic on robust values: the split of a segment that separates two means best
is kept when the separation is large against the segment's own noise *and* large as a ratio. Latencies and rates
vary in proportion to their size, so the work is done on logarithms.

Reference: E. S. Page, "Continuous inspection schemes", Biometrika 41 (1954); A. Sen and M. S. Srivastava, "On tests
for detecting change in mean", Annals of Statistics 3 (1975).
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from runbook_lib.analysis.signals import Points, settled, step_seconds
from runbook_lib.analysis.thresholds import THRESHOLDS
from runbook_lib.model.times import from_epoch

#: Standard errors that a split must reach: with hundreds of candidate splits, chance alone reaches about 4.
_SIGNIFICANCE = 5.0
_LEAST_SAMPLES = 2
#: Rates look back a minute, so a sudden change is drawn out to one or two.
_CLIMB_SECONDS = 120
#: Stretch before a known moment that says what was usual: short, so that an earlier incident is not part of it.
_BEFORE_SECONDS = 90
#: Noise below this share of the level is not believed: sampled histograms are no finer.
_LEAST_NOISE = 0.05


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of one level.

    Args:
        start: its first sample, epoch seconds.
        end: its last sample, epoch seconds.
        level: its median, in the unit of the points.
        samples: how many samples it holds.
    """

    start: float
    end: float
    level: float
    samples: int


@dataclass(frozen=True, slots=True)
class Shift:
    """The change that led to the present level.

    Args:
        at: when it began, epoch seconds; uncertain by ``step_seconds``.
        before: level before it, in the unit of the points.
        after: level now.
        step_seconds: distance of two samples.
    """

    at: float
    before: float
    after: float
    step_seconds: float

    @property
    def factor(self) -> float:
        """``after`` as a multiple of ``before``; infinite when it rose from nothing."""
        return self.after / self.before if self.before > 0 else math.inf

    @property
    def since(self) -> datetime:
        """When it began."""
        return from_epoch(self.at)


def segments(points: Points) -> list[Segment]:
    """The stretches of one level that the points consist of, in order of time; empty without points."""
    if not points:
        return []
    # Latencies, rates and ratios are never negative; a source that says so means none.
    values = settled([max(v, 0.0) for _, v in points])
    floor = _floor(values)
    logs = [math.log(max(v, floor)) for v in values]
    bounds = sorted({0, len(points), *_splits(logs, 0, len(logs))})
    return [
        Segment(points[a][0], points[b - 1][0], statistics.median(values[a:b]), b - a)
        for a, b in itertools.pairwise(bounds)
    ]


def last_rise(points: Points, factor: float = THRESHOLDS["shift_factor"].value) -> Shift | None:
    """The rise to the present level, or None when the level did not rise or has come back.

    Args:
        points: ``(epoch seconds, value)`` in order of time.
        factor: how many times the level before it the present level must be.
    """
    return _last(points, factor)


def last_fall(points: Points, factor: float = THRESHOLDS["shift_factor"].value) -> Shift | None:
    """The fall to the present level, or None; ``factor`` as in ``last_rise``, the other way round."""
    inverted = _last([(t, 1 / v if v > 0 else 1e12) for t, v in points], factor)
    if inverted is None:
        return None
    before, after = (0.0 if level >= 1e12 else 1 / level for level in (inverted.before, inverted.after))
    return Shift(inverted.at, before, after, inverted.step_seconds)


def rise_after(
    points: Points, moment: float, within_seconds: float, factor: float = THRESHOLDS["shift_factor"].value
) -> Shift | None:
    """The lasting rise that began at a known moment or soon after it, whatever happened earlier.

    Args:
        points: ``(epoch seconds, value)`` in order of time.
        moment: when something changed, epoch seconds.
        within_seconds: how long after it the rise may begin.
        factor: how many times the level just before the moment the present level must be.

    Returns:
        The rise; None when the level did not rise, rose before, rose later, or nothing is known from before.
    """
    step = step_seconds(points)
    earlier = [max(v, 0.0) for t, v in points if moment - _BEFORE_SECONDS - step <= t <= moment]
    if not earlier:
        return None
    # The calmer of a minute and a half and of the newest samples: an earlier incident may have ended just before.
    before = min(statistics.median(earlier), statistics.median(earlier[-3:]))
    now = max(points[-1][1], statistics.median(v for _, v in points[-3:]))
    if now <= 0 or now < before * factor:
        return None
    # From nothing, as errors often do: without a floor every sample, a zero too, would be above the middle.
    calm = max(before, _floor([v for _, v in points]))
    middle, at, dips = math.sqrt(calm * now), points[-1][0], 0
    for t, v in reversed(points):
        dips = 0 if v >= middle else dips + 1
        if dips > 2:
            break
        at = t if v >= middle else at
    # A rate that looks back a minute crosses the middle late, a sampled one up to a step early.
    if not moment - max(2 * step, 10.0) <= at <= moment + within_seconds + step:
        return None
    return Shift(max(at, moment), before, now, step)


def _last(points: Points, factor: float) -> Shift | None:
    parts = segments(points)
    if len(parts) < 2:
        return None
    index = _foot(parts, _steepest(parts, factor) or _last_below(parts, factor))
    if index == 0:
        return None
    before, now = parts[index - 1], parts[-1].level
    return Shift(_departure(points, parts[index].start, before, now), before.level, now, step_seconds(points))


def _steepest(parts: Sequence[Segment], factor: float) -> int:
    """The segment that begins with the largest step after which the level never came back; 0 when there is none.

    A level has come back when it is nearer, as a ratio, to the one before than to the present one: two incidents with
    a calm that is not quite as calm as before are two.
    """
    best, index, lowest, now = 0.0, 0, math.inf, parts[-1].level
    for i in range(len(parts) - 1, 0, -1):
        lowest = min(lowest, parts[i].level)
        before = parts[i - 1].level
        step = math.log(parts[i].level / before) if before > 0 and parts[i].level > 0 else math.inf
        if lowest >= max(before * factor, math.sqrt(before * now)) and lowest > 0 and step > best:
            best, index = step, i
    return index


def _last_below(parts: Sequence[Segment], factor: float) -> int:
    """The segment after the last one well below the present level, for a level that climbs in small steps; else 0."""
    return next((i + 1 for i in range(len(parts) - 2, -1, -1) if parts[i].level * factor <= parts[-1].level), 0)


def _foot(parts: Sequence[Segment], index: int) -> int:
    """The first segment of the climb: a rate over a minute climbs for a minute, which may look like small stairs."""
    while index > 1 and parts[index - 1].level > parts[index - 2].level and _length(parts, index - 1) <= _CLIMB_SECONDS:
        index -= 1
    return index


def _length(parts: Sequence[Segment], index: int) -> float:
    return parts[index + 1].start - parts[index].start


def _departure(points: Points, start: float, before: Segment, after: float) -> float:
    """Walk back from the split to where the level left its band: a windowed rate ramps up, its middle is late."""
    at = start
    earlier = [(t, v) for t, v in points if t < start]
    calm = [math.log(v / before.level) for t, v in earlier if t >= before.start and v > 0] if before.level > 0 else []
    # Two and a half deviations of the stretch before, but never past the middle between the two levels.
    band = math.exp(2.5 * statistics.pstdev(calm)) if len(calm) > 1 else 1.0
    limit = before.level * min(max(band, 1.1), math.sqrt(after / before.level)) if before.level > 0 else after * 0.05
    for t, v in reversed(earlier):
        if v <= limit:
            break
        at = t
    return at


def _floor(values: Sequence[float]) -> float:
    """Values at or below zero have no logarithm; they count as a thousandth of the usual size."""
    positive = [v for v in values if v > 0]
    return statistics.median(positive) / 1000 if positive else 1.0


def _splits(logs: Sequence[float], start: int, end: int) -> list[int]:
    split = _best_split(logs[start:end])
    if split is None:
        return []
    return [*_splits(logs, start, start + split), start + split, *_splits(logs, start + split, end)]


def _best_split(logs: Sequence[float]) -> int | None:
    n = len(logs)
    if n < 2 * _LEAST_SAMPLES:
        return None
    total, left = math.fsum(logs), 0.0
    best, split = 0.0, None
    for k in range(1, n):
        left += logs[k - 1]
        if k < _LEAST_SAMPLES or n - k < _LEAST_SAMPLES:
            continue
        gap = abs(left / k - (total - left) / (n - k))
        score = gap * math.sqrt(k * (n - k) / n)
        if score > best:
            best, split = score, k
    if split is None or best < _SIGNIFICANCE * _noise(logs):
        return None
    difference = abs(statistics.median(logs[split:]) - statistics.median(logs[:split]))
    return split if difference >= math.log(THRESHOLDS["shift_factor"].value) / 2 else None


def _noise(logs: Sequence[float]) -> float:
    """Standard deviation of neighbouring samples' differences, from their median: a level change barely moves it."""
    differences = [abs(b - a) for a, b in itertools.pairwise(logs)]
    # 0.6745 is the median of |N(0, 1)|; a difference of two independent samples has sqrt(2) their deviation. The
    # running median has made neighbours alike, which the factor 2 gives back.
    return max(2 * statistics.median(differences) / 0.6745 / math.sqrt(2), _LEAST_NOISE)
