from __future__ import annotations

import math

from runbook_lib.charts import sparkline
from runbook_lib.model import Gap

from .conftest import evidence, line


def test_a_rise_is_a_rise() -> None:
    """Bars rise with the values and the numbers follow."""
    assert "▂▅█ now 800 ms, highest 800 ms" == sparkline(evidence((line([0.1, 0.4, 0.8]),)), 3)


def test_a_hole_is_empty() -> None:
    """A column without data is a space, never the lowest bar."""
    assert "█ █ now 1.0 s, highest 1.0 s" == sparkline(evidence((line([1, math.nan, 1]),)), 3)


def test_zero_is_not_a_hole() -> None:
    """A measured zero is drawn as the lowest bar."""
    assert "▁▁ now 0.0 ms, highest 0.0 ms" == sparkline(evidence((line([0, 0]),)), 2)


def test_a_gap_says_why(gap: Gap) -> None:
    """A gap gives its reason."""
    assert "no data: p95 latency (prometheus: connection refused)" == sparkline(gap)


def test_no_sample_is_no_data() -> None:
    """An answer without a number is no data."""
    assert "no data: p95 latency (prometheus: no sample in the window)" == sparkline(evidence((line([math.nan]),)))
