from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbook_lib.charts.lines import above, holes, runs, thin, union
from runbook_lib.model import Series

NAN, INF = math.nan, math.inf


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        pytest.param([1, 2, 3], [3], id="whole"),
        pytest.param([1, NAN, 3], [1, 1], id="nan breaks"),
        pytest.param([1, INF, -INF, 3, 4], [1, 2], id="infinity breaks"),
        pytest.param([NAN, NAN], [], id="only nan"),
        pytest.param([], [], id="empty"),
    ],
)
def test_runs_break_where_no_number_is(values: list[float], expected: list[int]) -> None:
    """A line is never drawn through a value that is not a number."""
    series = Series.of([(15.0 * i, v) for i, v in enumerate(values)])
    assert expected == [len(run) for run in runs(series)]


def test_runs_break_where_samples_are_missing() -> None:
    """A hole of more than three steps is a break, one lost sample is none."""
    series = Series.of([(float(t), 1.0) for t in (0, 10, 20, 40, 50, 60, 100, 110)])
    assert [len(run) for run in runs(series)] == [6, 2]


@given(st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=3000), st.integers(1, 60), st.sampled_from([2, 4]))
def test_thinning_keeps_every_extreme_of_every_column(values: list[float], columns: int, corners: int) -> None:
    """Each column of pixels keeps its lowest and its highest value, and few points remain."""
    run = tuple((float(i), v) for i, v in enumerate(values))
    end = float(len(values))
    kept = thin(run, 0, end, columns, corners=corners)
    assert len(kept) <= max(corners * (columns + 2), len(run) if len(run) <= corners * columns else 0)
    assert run[0] == kept[0]
    assert run[-1] == kept[-1]
    assert all(a[0] < b[0] for a, b in pairwise(kept))

    def extremes(points: tuple[tuple[float, float], ...]) -> dict[int, tuple[float, float]]:
        by_column: dict[int, list[float]] = {}
        for t, v in points:
            by_column.setdefault(int(t * (columns / end)), []).append(v)
        return {c: (min(v), max(v)) for c, v in by_column.items()}

    assert extremes(run) == extremes(kept)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        pytest.param([0, 0], [], id="never"),
        pytest.param([2, 2], [(0, 1)], id="always"),
        pytest.param([0, 2, 0], [(0.5, 1.5)], id="crossings are interpolated"),
        pytest.param([0, 2], [(0.5, 1)], id="until the end"),
        pytest.param([1, 1], [], id="at the limit is not above"),
    ],
)
def test_above_finds_the_time_beyond_a_limit(values: list[float], expected: list[tuple[float, float]]) -> None:
    """The time above a limit of 1 is found, also between two samples."""
    assert expected == above(tuple((float(i), float(v)) for i, v in enumerate(values)), 1)


def test_union_merges_what_touches() -> None:
    """Overlapping times are counted once."""
    assert union([(3, 5), (7, 8), (0, 3), (1, 2)]) == [(0, 5), (7, 8)]


def test_holes_are_where_no_run_has_data() -> None:
    """Time that one of two series covers is no hole."""
    one, other = ((0.0, 1.0), (40.0, 1.0)), ((30.0, 1.0), (60.0, 1.0))
    assert holes([one, other], 0, 100) == [(60.0, 100.0)]
