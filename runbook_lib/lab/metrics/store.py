"""All series in memory, found by their labels."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterable, Iterator, Sequence

from runbook_lib.lab.metrics import labels as label_sets
from runbook_lib.lab.metrics.chunks import SampleSeries
from runbook_lib.lab.metrics.labels import METRIC_NAME, Labels, Matcher
from runbook_lib.lab.metrics.promql.series import Samples


class Store:
    """A time series store in memory; safe for several threads.

    Args:
        retention_seconds: samples older than this may be forgotten.
    """

    def __init__(self, retention_seconds: float = 6 * 3600.0) -> None:
        self.retention_seconds = retention_seconds
        self._lock = threading.RLock()
        self._series: dict[Labels, SampleSeries] = {}
        self._by_name: dict[str, dict[Labels, SampleSeries]] = {}
        self._shared_times: dict[bytes, bytes] = {}
        self.metadata: dict[str, dict[str, str]] = {}

    def series(self, labels: Labels) -> SampleSeries:
        """The series with these labels, made when it does not exist."""
        with self._lock:
            known = self._series.get(labels)
            if known is None:
                # Names and values repeat over thousands of series: one copy of each is kept.
                labels = tuple((sys.intern(name), sys.intern(value)) for name, value in labels)
                known = self._series[labels] = SampleSeries(labels, self._shared_times)
                self._by_name.setdefault(label_sets.get(labels, METRIC_NAME), {})[labels] = known
            return known

    def append(self, samples: Iterable[tuple[SampleSeries, float]], time_ms: int) -> int:
        """Add one sample to each series, all of one time; older or repeated ones are ignored.

        Returns:
            How many were added.
        """
        with self._lock:
            return sum(series.append(time_ms, value) for series, value in samples)

    def insert(self, labels: Labels, samples: Iterable[tuple[int, float]]) -> int:
        """Add samples of any age to one series; returns how many were new."""
        with self._lock:
            return self.series(labels).insert(samples)

    def matching(self, matchers: Sequence[Matcher], start_ms: int, end_ms: int) -> list[Labels]:
        """The labels of all matching series that have samples between both times, ordered."""
        return [series.labels for series in self._find(matchers, start_ms, end_ms)]

    def read(self, matchers: Sequence[Matcher], start_ms: int, end_ms: int) -> Iterator[Samples]:
        """Yield the samples with ``start_ms <= time <= end_ms`` of each matching series, ordered by labels."""
        for series in self._find(matchers, start_ms, end_ms):
            with self._lock:
                times, values = series.read(start_ms, end_ms)
            if times:
                yield Samples(series.labels, times, values)

    def _find(self, matchers: Sequence[Matcher], start_ms: int, end_ms: int) -> list[SampleSeries]:
        names = [matcher.value for matcher in matchers if matcher.name == METRIC_NAME and matcher.op == "="]
        with self._lock:
            candidates = list((self._by_name.get(names[0], {}) if names else self._series).values())
        found = [
            series
            for series in candidates
            if series.first_ms <= end_ms and series.last_ms >= start_ms and label_sets.matches(series.labels, matchers)
        ]
        return sorted(found, key=lambda series: series.labels)

    def forget_before(self, time_ms: int) -> None:
        """Drop samples older than a time, and series that have no others."""
        with self._lock:
            for labels, series in list(self._series.items()):
                series.forget_before(time_ms)
                if not len(series):
                    del self._series[labels]
                    name = label_sets.get(labels, METRIC_NAME)
                    del self._by_name[name][labels]
                    if not self._by_name[name]:
                        del self._by_name[name]
            used = {id(column) for series in self._series.values() for column in series.shared_columns}
            for column in list(self._shared_times):
                if id(self._shared_times[column]) not in used:
                    del self._shared_times[column]

    def counts(self) -> tuple[int, int]:
        """Number of series and of samples."""
        with self._lock:
            return len(self._series), sum(len(series) for series in self._series.values())
