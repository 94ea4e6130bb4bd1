"""Quantiles of buckets against the rules one by one: the lab's evaluator, which agrees with Prometheus, is the peer."""

from __future__ import annotations

import math
import random
from array import array
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbook_lib import analysis
from runbook_lib.analysis.buckets import bucket_quantile
from runbook_lib.lab.metrics.promql import histogram
from runbook_lib.model import Evidence, Series
from tests.analysis.builders import END, evidence, gap

BOUNDS = (0.05, 0.1, 0.2, 0.5, math.inf)
SHARES = (0.0, 0.25, 0.5, 0.95, 1.0)
NEGATIVE = (-1.0, 0.0, 1.0, math.inf)


def slow(bounds, column, share):
    """One histogram at a time, by the evaluator that is held against Prometheus's own tests."""
    return histogram.bucket_quantile(share, list(zip(bounds, column, strict=True)))


def measured(bounds, column, share):
    return float(bucket_quantile(np.array(bounds, dtype=float), np.array([column], dtype=float).T, share)[0])


def read(bounds, columns, labels=None, times=None):
    """Evidence with one series a bucket; ``columns`` has one column of counts a time."""
    rows = list(zip(*columns, strict=True))
    return evidence(
        "prometheus",
        "latency_buckets",
        tuple(
            Series(
                {**(labels or {}), "le": "+Inf" if math.isinf(bound) else f"{bound:g}"},
                array("d", times or range(len(row))),
                array("d", row),
            )
            for bound, row in zip(bounds, rows, strict=True)
        ),
        "1/s",
    )


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize(
    ("bounds", "column"),
    [
        (BOUNDS, [1, 3, 3, 9, 10]),
        (BOUNDS, [0, 0, 0, 0, 0]),
        (BOUNDS, [0, 0, 0, 0, 7]),
        (BOUNDS, [7, 7, 7, 7, 7]),
        (BOUNDS, [1, 5, 4, 9, 8]),
        (BOUNDS, [1, 5, 5 * (1 + 1e-14), 9, 9 * (1 - 1e-14)]),
        (BOUNDS[:-1], [1, 3, 3, 9]),
        ((math.inf,), [4]),
        (NEGATIVE, [2, 3, 5, 6]),
        (NEGATIVE, [0, 3, 5, 6]),
    ],
    ids=[
        "rising",
        "no observations",
        "all in the highest",
        "all in the lowest",
        "falling",
        "rounding",
        "without +Inf",
        "one bucket",
        "negative bounds",
        "first empty",
    ],
)
def test_each_rule(bounds, column, share):
    """The quantile of every kind of histogram is the one of the evaluator."""
    assert slow(bounds, column, share) == pytest.approx(measured(bounds, column, share), rel=1e-12, nan_ok=True)


COUNTS = st.lists(
    st.one_of(st.integers(0, 5).map(float), st.floats(0, 1e6)),
    min_size=5,
    max_size=5,
)


@given(columns=st.lists(COUNTS, min_size=1, max_size=6), share=st.floats(0, 1), tiny=st.integers(-3, 3))
def test_whatever_the_counts(columns, share, tiny):
    """Columns that are measured together get what each gets alone, also where counts fall or differ by rounding."""
    columns = [[value * (1 + tiny * 1e-13 * row) for row, value in enumerate(column)] for column in columns]
    found = bucket_quantile(np.array(BOUNDS), np.array(columns).T, share)
    assert [slow(BOUNDS, column, share) for column in columns] == pytest.approx(list(found), rel=1e-9, nan_ok=True)


@pytest.mark.parametrize("row", range(len(BOUNDS)))
@pytest.mark.parametrize("share", SHARES)
def test_a_count_that_is_no_number(row, share):
    """A NaN among the counts gives NaN: Prometheus may answer with a bound, but nothing is known."""
    column = [1.0, 3.0, 3.0, 9.0, 10.0]
    column[row] = math.nan
    assert math.isnan(measured(BOUNDS, column, share))


@pytest.mark.parametrize("share", SHARES[1:])
def test_infinite_counts(share):
    """Counts that ran over keep their order."""
    column = [0.1, 0.2, 0.3, math.inf, math.inf]
    assert slow(BOUNDS, column, share) == pytest.approx(measured(BOUNDS, column, share), nan_ok=True)


def test_more_columns_than_a_block():
    """Blocks are joined in order, and the counts given are left as they were."""
    rng = random.Random(3)
    columns = [sorted(rng.randrange(0, 50) for _ in BOUNDS) for _ in range(5000)]
    counts = np.array(columns, dtype=float).T
    before = counts.copy()
    found = bucket_quantile(np.array(BOUNDS), counts, 0.95)
    assert [slow(BOUNDS, column, 0.95) for column in columns] == pytest.approx(list(found), rel=1e-12, nan_ok=True)
    assert (before == counts).all()


def test_more_buckets_than_a_byte_counts():
    """Three hundred buckets are counted as well as ten."""
    bounds, column = [*range(1, 300), math.inf], list(range(1, 301))
    assert slow(bounds, column, 0.99) == pytest.approx(measured(bounds, column, 0.99))


def test_one_series_for_each_set_of_other_labels():
    """Pods stay apart, and a series without a bound is left out."""
    a, b = read(BOUNDS, [[1, 3, 3, 9, 10]], {"pod": "a"}), read(BOUNDS, [[0, 0, 0, 0, 7]], {"pod": "b"})
    other = Series({"pod": "c", "le": "much"}, array("d", [0]), array("d", [1]))
    found = analysis.quantile(replace(a, data=(*a.series, *b.series, other)), 0.5)
    assert {"a": slow(BOUNDS, [1, 3, 3, 9, 10], 0.5), "b": 0.5} == {
        one.labels["pod"]: one.values[0] for one in found.series
    }


def test_a_bucket_that_comes_later():
    """At each time only the buckets that are there make the histogram."""
    full = read(BOUNDS, [[1, 3, 3, 9, 10], [2, 6, 6, 18, 20]], times=[60.0, 120.0])
    cut = Series(full.series[1].labels, array("d", [120.0]), array("d", [6.0]))
    lonely = Series(full.series[4].labels, array("d", [60.0, 120.0, 180.0]), array("d", [10.0, 20.0, 30.0]))
    (found,) = analysis.quantile(replace(full, data=(full.series[0], cut, *full.series[2:4], lonely)), 0.25).series
    wanted = [slow([0.05, 0.2, 0.5, math.inf], [1, 3, 9, 10], 0.25), slow(BOUNDS, [2, 6, 6, 18, 20], 0.25), math.nan]
    assert [60.0, 120.0, 180.0] == list(found.times)
    assert wanted == pytest.approx(list(found.values), nan_ok=True)


def test_a_bound_written_twice_is_one_bucket():
    """``1`` and ``1.0``, as two versions write them, are added."""
    given_ = read((0.5, 1, math.inf), [[1, 2, 4]])
    twice = Series({"le": "1.0"}, array("d", [0]), array("d", [1]))
    (found,) = analysis.quantile(replace(given_, data=(*given_.series, twice)), 0.6).series
    assert slow((0.5, 1, math.inf), [1, 3, 4], 0.6) == pytest.approx(found.values[0])


def test_what_is_told_of_it():
    """The answer says which quantile of what it is, in seconds, and leaves the buckets as they were."""
    given_ = read(BOUNDS, [[1, 3, 3, 9, 10]])
    found = analysis.quantile(given_, 0.99)
    assert ("latency_buckets_quantile", "latency_buckets: quantile 0.99", "s", 0.99) == (
        found.name,
        found.title,
        found.unit,
        found.parameters["quantile"],
    )
    assert "1/s" == given_.unit


def test_it_is_asked_again_with_its_buckets():
    """Reading the quantile again reads the buckets again."""
    later = read(BOUNDS, [[0, 0, 0, 0, 7]])
    found = analysis.quantile(read(BOUNDS, [[1, 3, 3, 9, 10]]).read_by(lambda: later), 0.5)
    again = found.again()
    assert isinstance(again, Evidence)
    assert 0.5 == again.series[0].values[0]


def test_a_gap_stays_a_gap():
    """Without buckets there is no quantile."""
    nothing = gap("prometheus", "latency_buckets")
    assert nothing is analysis.quantile(nothing, 0.5)
    assert END == nothing.read_at


@pytest.mark.parametrize("share", [-0.1, 1.1, 95, math.nan])
def test_a_share_that_is_none(share):
    """A percentage or NaN is refused with what is allowed."""
    with pytest.raises(ValueError, match="between 0 and 1"):
        analysis.quantile(read(BOUNDS, [[1, 3, 3, 9, 10]]), share)
