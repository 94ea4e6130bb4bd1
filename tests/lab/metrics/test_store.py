"""Samples in memory."""

from __future__ import annotations

import math
import struct

from hypothesis import given
from hypothesis import strategies as st

from runbook_lib.lab.metrics.chunks import CHUNK_SAMPLES, SampleSeries
from runbook_lib.lab.metrics.labels import Matcher, make_labels
from runbook_lib.lab.metrics.promql.floats import STALE, is_stale
from runbook_lib.lab.metrics.store import Store

TIMES = st.integers(-(2**40), 2**40)


def _bits(values: object) -> list[bytes]:
    return [struct.pack("<d", value) for value in values]  # type: ignore[attr-defined]


def named(name: str, **labels: str) -> tuple[tuple[str, str], ...]:
    return make_labels({"__name__": name, **labels})


@given(st.lists(st.lists(st.tuples(TIMES, st.floats()), max_size=200), max_size=4))
def test_samples_come_back_bit_for_bit_in_order(batches: list[list[tuple[int, float]]]) -> None:
    """Whatever the order of arrival, the first sample of each time stays and all are ordered."""
    series = SampleSeries((), {})
    model: dict[int, float] = {}
    for batch in batches:
        series.insert(batch)
        for time_ms, value in batch:
            model.setdefault(time_ms, value)
    times, values = series.read(-(2**50), 2**50)
    assert sorted(model) == list(times)
    assert _bits(model[time_ms] for time_ms in sorted(model)) == _bits(values)


def test_marker_of_an_ended_series_survives_compression() -> None:
    """The staleness marker is one NaN among others and keeps its bits in a sealed chunk."""
    series = SampleSeries((), {})
    for index in range(CHUNK_SAMPLES + 1):
        series.append(index, STALE if index == 7 else math.nan)
    _, values = series.read(0, CHUNK_SAMPLES)
    assert [7] == [index for index, value in enumerate(values) if is_stale(value)]


def test_interval_has_both_ends() -> None:
    """Reading includes the samples at both times, across chunks."""
    series = SampleSeries((), {})
    for index in range(500):
        series.append(index * 10, float(index))
    times, values = series.read(1000, 3000)
    assert (1000, 3000, 201) == (times[0], times[-1], len(values))


def test_repeated_time_is_ignored() -> None:
    """A second sample of one time does not replace the first."""
    series = SampleSeries((), {})
    assert [True, False, False] == [series.append(time_ms, 1.0) for time_ms in (10, 10, 5)]


def test_series_scraped_together_share_their_times() -> None:
    """Equal columns of times are kept once."""
    store = Store()
    both = [store.series(named("a")), store.series(named("b"))]
    for index in range(CHUNK_SAMPLES + 1):
        store.append([(series, 1.0) for series in both], index)
    (left,), (right,) = (series.shared_columns for series in both)
    assert left is right


def test_old_chunks_and_empty_series_are_forgotten() -> None:
    """Retention drops what ended before it, and only that."""
    store = Store()
    store.insert(named("old"), [(index, 1.0) for index in range(300)])
    store.insert(named("new"), [(index * 100, 1.0) for index in range(300)])
    store.forget_before(1000)
    assert [named("new")] == store.matching([], -(2**50), 2**50)
    assert (1, 300) == store.counts()


def test_matchers_find_series_with_samples_in_the_interval() -> None:
    """An absent label counts as empty, expressions are anchored, and other times are not looked at."""
    store = Store()
    store.insert(named("a", pod="x"), [(10, 1.0)])
    store.insert(named("a"), [(10, 1.0)])
    store.insert(named("a", pod="xy"), [(99, 1.0)])
    assert [named("a")] == store.matching([Matcher("pod", "=", "")], 0, 50)
    assert [named("a", pod="x")] == store.matching([Matcher("pod", "=~", "x|y")], 0, 50)
    assert [named("a", pod="xy")] == store.matching([Matcher("pod", "!~", "x?")], 0, 100)
    assert [] == store.matching([Matcher("__name__", "=", "b")], 0, 50)
