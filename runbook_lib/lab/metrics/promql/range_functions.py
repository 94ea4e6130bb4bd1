"""Functions of a window of samples; each gives one value for one window, or None."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

from runbook_lib.lab.metrics.promql import floats
from runbook_lib.lab.metrics.promql.selectors import Window

RangeFunction = Callable[[Window, Sequence[float]], float | None]
"""Takes a window that holds at least one sample, and the function's scalar arguments."""

# A series is taken to reach the edge of the window when its outermost sample is at most this many average
# intervals away from it (the extrapolation rule of Prometheus).
_EDGE_INTERVALS = 1.1


def _extrapolated(window: Window, *, counter: bool, per_seconds: float = 1.0) -> float | None:
    """The change over the whole window, extrapolated to its edges; None for fewer than two samples.

    Args:
        window: the samples.
        counter: a fall is a restart from zero, and the value was never negative.
        per_seconds: what the change is divided by.
    """
    times, values, low, last = window.times, window.values, window.low, window.high - 1
    if last <= low:
        return None
    first_value = values[low]
    change = values[last] - first_value
    if counter:
        for index in window.resets():
            change += values[index - 1]
    if change == 0:
        return 0.0
    sampled = (times[last] - times[low]) / 1000
    average = sampled / (last - low)
    to_start = (times[low] - window.start_ms) / 1000
    to_end = (window.end_ms - times[last]) / 1000
    if to_start >= average * _EDGE_INTERVALS:
        to_start = average / 2
    if counter and change > 0 and first_value >= 0:
        # A counter was never below zero: do not extrapolate past the time at which it would have been zero.
        to_start = min(to_start, sampled * (first_value / change))
    if to_end >= average * _EDGE_INTERVALS:
        to_end = average / 2
    return change * ((sampled + to_start + to_end) / sampled / per_seconds)


def _rate(window: Window, _: Sequence[float]) -> float | None:
    return _extrapolated(window, counter=True, per_seconds=(window.end_ms - window.start_ms) / 1000)


def _increase(window: Window, _: Sequence[float]) -> float | None:
    return _extrapolated(window, counter=True)


def _delta(window: Window, _: Sequence[float]) -> float | None:
    return _extrapolated(window, counter=False)


def _last_two(window: Window, *, counter: bool) -> tuple[float, float] | None:
    last = window.high - 1
    if last <= window.low:
        return None
    before, after = window.values[last - 1], window.values[last]
    change = after if counter and after < before else after - before
    return change, (window.times[last] - window.times[last - 1]) / 1000


def _irate(window: Window, _: Sequence[float]) -> float | None:
    pair = _last_two(window, counter=True)
    return None if pair is None else pair[0] / pair[1]


def _idelta(window: Window, _: Sequence[float]) -> float | None:
    pair = _last_two(window, counter=False)
    return None if pair is None else pair[0]


def _regression(window: Window, origin_ms: int) -> tuple[float, float]:
    """Least squares: slope per second, and the value of the line at ``origin_ms``."""
    values = window.floats()
    first = values[0]
    if all(value == first for value in values[1:]):
        return (0.0, first) if math.isfinite(first) or math.isnan(first) else (floats.NAN, floats.NAN)
    seconds = [(time - origin_ms) / 1000 for time in window.times[window.low : window.high]]
    count = float(len(values))
    sum_x, sum_y = floats.kahan_sum(seconds), floats.kahan_sum(values)
    sum_xy = floats.kahan_sum(x * y for x, y in zip(seconds, values, strict=True))
    sum_x2 = floats.kahan_sum(x * x for x in seconds)
    slope = floats.divide(sum_xy - sum_x * sum_y / count, sum_x2 - sum_x * sum_x / count)
    return slope, sum_y / count - slope * sum_x / count


def _deriv(window: Window, _: Sequence[float]) -> float | None:
    if window.high - window.low < 2:
        return None
    return _regression(window, window.times[window.low])[0]


def _predict_linear(window: Window, arguments: Sequence[float]) -> float | None:
    if window.high - window.low < 2:
        return None
    slope, intercept = _regression(window, window.now_ms)
    return slope * arguments[0] + intercept


def _resets(window: Window, _: Sequence[float]) -> float:
    return float(len(window.resets()))


def _changes(window: Window, _: Sequence[float]) -> float:
    values = window.floats()
    pairs = pairwise(values)
    return float(sum(after != before and not (math.isnan(after) and math.isnan(before)) for before, after in pairs))


def _average(window: Window, _: Sequence[float]) -> float:
    values = window.floats()
    mean = floats.Mean(values[0])
    for value in values[1:]:
        mean.add(value)
    return mean.value()


def _extreme(window: Window, better: Callable[[float, float], bool]) -> float:
    values = window.floats()
    best = values[0]
    for value in values:
        if better(value, best) or math.isnan(best):
            best = value
    return best


def _max(window: Window, _: Sequence[float]) -> float:
    return _extreme(window, lambda value, best: value > best)


def _min(window: Window, _: Sequence[float]) -> float:
    return _extreme(window, lambda value, best: value < best)


def _variance(window: Window, _: Sequence[float]) -> float:
    count = mean = mean_rest = squares = squares_rest = 0.0
    for value in window.floats():
        count += 1
        delta = value - (mean + mean_rest)
        mean, mean_rest = floats.kahan_add(delta / count, mean, mean_rest)
        squares, squares_rest = floats.kahan_add(delta * (value - (mean + mean_rest)), squares, squares_rest)
    return (squares + squares_rest) / count


RANGE_FUNCTIONS: dict[str, RangeFunction] = {
    "rate": _rate,
    "increase": _increase,
    "delta": _delta,
    "irate": _irate,
    "idelta": _idelta,
    "deriv": _deriv,
    "predict_linear": _predict_linear,
    "resets": _resets,
    "changes": _changes,
    "avg_over_time": _average,
    "min_over_time": _min,
    "max_over_time": _max,
    "sum_over_time": lambda window, _: floats.kahan_sum(window.floats()),
    "count_over_time": lambda window, _: float(window.high - window.low),
    "last_over_time": lambda window, _: window.values[window.high - 1],
    "first_over_time": lambda window, _: window.values[window.low],
    "present_over_time": lambda _window, _: 1.0,
    "quantile_over_time": lambda window, arguments: floats.quantile(arguments[0], window.floats()),
    "stdvar_over_time": _variance,
    "stddev_over_time": lambda window, arguments: floats.total(math.sqrt)(_variance(window, arguments)),
}
# These behave like an offset: the result is still the same metric.
KEEPS_NAME = frozenset({"last_over_time", "first_over_time"})
