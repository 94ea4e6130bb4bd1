from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbook_lib.charts.axes import scale_for, tick_label, ticks, time_ticks


@given(st.floats(1e-9, 1e15))
def test_ticks_reach_the_largest_value_in_equal_steps(largest: float) -> None:
    """Ticks begin at zero, are few, evenly spaced and hold the largest value."""
    found = ticks(largest)
    assert 0 == found[0]
    assert found[-1] >= largest * 0.999
    assert 2 <= len(found) <= 6
    steps = [b - a for a, b in pairwise(found)]
    assert pytest.approx(steps[0], rel=1e-6) == steps[-1]


@given(st.integers(0, 4_000_000_000), st.floats(1, 3e8))
def test_time_ticks_are_few_and_inside(start: int, length: float) -> None:
    """At most seven round moments, all of them between the edges."""
    found = time_ticks(start, start + length)
    assert len(found) <= 7
    assert all(start <= t <= start + length for t, _ in found)


@pytest.mark.parametrize(
    ("unit", "largest", "expected"),
    [
        ("s", 0.8, "ms"),
        ("s", 30, "s"),
        ("s", 4000, "min"),
        ("ratio", 0.3, "%"),
        ("bytes", 3 * 1024**3, "GiB"),
        ("bytes", 0, "B"),
        ("count", 12, ""),
        ("1/s", 12, "per second"),
    ],
)
def test_an_axis_speaks_in_a_unit_that_is_short_to_write(unit: str, largest: float, expected: str) -> None:
    """The unit of an axis follows the size of its values."""
    assert expected == scale_for(unit, largest).name


def test_a_large_tick_has_thousands_separators() -> None:
    """Numbers of four digits and more are grouped."""
    assert ("1,500", "0.5") == (tick_label(1500), tick_label(0.5))
