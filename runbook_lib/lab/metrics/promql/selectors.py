"""Selectors: the latest sample at each step, and the window of samples before each step."""

from __future__ import annotations

import math
from array import array
from bisect import bisect_right
from collections.abc import Sequence

from runbook_lib.lab.metrics.promql.floats import STALE_BYTES, is_stale
from runbook_lib.lab.metrics.promql.series import Samples, Values


def latest(samples: Samples, at_ms: Sequence[int], lookback_ms: int, *, want_time: bool = False) -> Values:
    """The latest sample at each of the times.

    Args:
        samples: one series.
        at_ms: ascending times.
        lookback_ms: how old a sample may be; the interval is open on the left, as in Prometheus 3.
        want_time: return the sample's own time in seconds instead of its value.

    Returns:
        None where the series has no sample in the interval, or ended with a staleness marker.
    """
    times, values = samples.times_ms, samples.values
    out: Values = []
    position, count = 0, len(times)
    for now in at_ms:
        while position < count and times[position] <= now:
            position += 1
        index = position - 1
        if index < 0 or times[index] <= now - lookback_ms or is_stale(values[index]):
            out.append(None)
        else:
            out.append(times[index] / 1000 if want_time else values[index])
    return out


Bounds = list[tuple[int, int]]
"""Where each step's window begins and ends in a series' samples: ``[low:high]``."""


class Window:
    """The samples of one series in ``(start_ms, end_ms]`` at one step; staleness markers are left out.

    Attributes:
        times, values: all samples that were read; the window is ``[low:high]`` of both.
        now_ms: the step's own time, which differs from ``end_ms`` with ``offset`` and ``@``.
    """

    __slots__ = ("_resets", "end_ms", "high", "low", "now_ms", "start_ms", "times", "values")

    def __init__(self, samples: Samples) -> None:
        self.times, self.values = list(samples.times_ms), list(samples.values)
        # Almost no series holds a marker, so the bytes are searched before each value is looked at.
        if STALE_BYTES in array("d", self.values).tobytes():
            kept = [index for index, value in enumerate(self.values) if not is_stale(value)]
            self.times = [self.times[index] for index in kept]
            self.values = [self.values[index] for index in kept]
        self.low = self.high = self.start_ms = self.end_ms = self.now_ms = 0
        self._resets: list[int] | None = None

    def resets(self) -> Sequence[int]:
        """Positions inside the window at which a counter fell below the sample before."""
        if self._resets is None:
            self._resets = _falls(self.values)
        if not self._resets:
            return ()
        found = self._resets
        # The first sample of the window has no sample before it inside the window.
        return found[bisect_right(found, self.low) : bisect_right(found, self.high - 1)]

    def floats(self) -> list[float]:
        """The window's values."""
        return self.values[self.low : self.high]


def _falls(values: list[float]) -> list[int]:
    """Positions of values that are smaller than the one before."""
    # Sorting what is sorted already is much faster than comparing neighbours here; NaN would make it unreliable.
    if not math.isnan(sum(values)) and sorted(values) == values:
        return []
    return [index for index in range(1, len(values)) if values[index] < values[index - 1]]


class WindowBounds:
    """Finds the windows of all steps; series that were scraped together share the answer.

    Args:
        range_ms: length of the window, which is open on the left.
        ends_ms: the window's end at each step, ascending.
    """

    def __init__(self, range_ms: int, ends_ms: Sequence[int]) -> None:
        self._range_ms, self._ends_ms = range_ms, ends_ms
        self._known: dict[bytes, Bounds] = {}

    def of(self, times: list[int]) -> Bounds:
        """The windows in a series with samples at these ascending times."""
        key = array("q", times).tobytes()
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = [
                (bisect_right(times, end - self._range_ms), bisect_right(times, end)) for end in self._ends_ms
            ]
        return known
