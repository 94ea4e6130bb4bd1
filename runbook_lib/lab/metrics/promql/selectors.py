"""Selectors: the latest sample at each step, and the window of samples before each step."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence

from runbook_lib.lab.metrics.promql.floats import is_stale
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


class Window:
    """The samples of one series in ``(start_ms, end_ms]`` at one step; staleness markers are left out.

    Attributes:
        times, values: all samples that were read; the window is ``[low:high]`` of both.
        now_ms: the step's own time, which differs from ``end_ms`` with ``offset`` and ``@``.
    """

    __slots__ = ("_resets", "end_ms", "high", "low", "now_ms", "start_ms", "times", "values")

    def __init__(self, samples: Samples) -> None:
        kept = [
            (time, value)
            for time, value in zip(samples.times_ms, samples.values, strict=True)
            if value == value or not is_stale(value)  # noqa: PLR0124 - the fastest NaN test, for every sample
        ]
        self.times = [time for time, _ in kept]
        self.values = [value for _, value in kept]
        self.low = self.high = self.start_ms = self.end_ms = self.now_ms = 0
        self._resets: list[int] | None = None

    def move(self, range_ms: int, end_ms: Sequence[int], now_ms: Sequence[int]) -> Iterator[bool]:
        """Move over the steps; each yields whether the window holds a sample.

        Args:
            range_ms: length of the window.
            end_ms: the window's end at each step, ascending.
            now_ms: the step's time.
        """
        times, count = self.times, len(self.times)
        low = high = 0
        for end, now in zip(end_ms, now_ms, strict=True):
            start = end - range_ms
            while high < count and times[high] <= end:
                high += 1
            while low < high and times[low] <= start:
                low += 1
            self.low, self.high, self.start_ms, self.end_ms, self.now_ms = low, high, start, end, now
            yield high > low

    def resets(self) -> Sequence[int]:
        """Positions inside the window at which a counter fell below the sample before."""
        if self._resets is None:
            values = self.values
            self._resets = [index for index in range(1, len(values)) if values[index] < values[index - 1]]
        if not self._resets:
            return ()
        found = self._resets
        # The first sample of the window has no sample before it inside the window.
        return found[bisect_right(found, self.low) : bisect_right(found, self.high - 1)]

    def floats(self) -> list[float]:
        """The window's values."""
        return self.values[self.low : self.high]
