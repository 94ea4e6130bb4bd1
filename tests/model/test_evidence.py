"""Evidence and gaps keep what a source answered, exactly."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import pytest

from runbook_lib.model import Evidence, Gap, Series, Table, Window
from runbook_lib.model.canonical import canonical

NOW = datetime(2026, 3, 1, 3, 0, tzinfo=UTC)


def evidence(data: object) -> Evidence:
    """Evidence with the given data."""
    return Evidence(
        source="prometheus",
        name="latency_seconds",
        title="p95 latency",
        unit="s",
        query="histogram_quantile(0.95, x)",
        parameters={"quantile": 0.95},
        window=Window.last(10, end=NOW),
        read_at=NOW,
        data=data,  # type: ignore[arg-type]
        warnings=("partial",),
    )


SERIES = (Series.of([(1.0, 0.1), (2.0, math.nan), (3.0, math.inf)], {"pod": "a"}),)


@pytest.mark.parametrize(
    "data",
    [SERIES, Table(("pid", "state"), ((1, "active"), (2, None))), {"spec": {"replicas": 3}}],
    ids=["series", "table", "document"],
)
def test_json_round_trip(data: object) -> None:
    """What is written reads back to the same digest, NaN and infinity included."""
    one = evidence(data)
    assert one.digest == Evidence.from_json(one.to_json()).digest
    assert canonical(one.to_json())


def test_latest_skips_nan() -> None:
    """The latest value is the newest finite one, never NaN."""
    assert evidence((Series.of([(1.0, 0.1), (2.0, 0.2), (3.0, math.nan)]),)).latest.value == 0.2


def test_latest_of_nothing_is_no_data() -> None:
    """Series without any finite sample have no latest value, which is not zero."""
    assert str(evidence((Series.of([(1.0, math.nan)]),)).latest) == "no data"


def test_record_cannot_be_asked_again() -> None:
    """Evidence from a file has no source behind it and says so."""
    with pytest.raises(RuntimeError, match="no source to ask again"):
        Evidence.from_json(evidence(SERIES).to_json()).again()


def test_gap_round_trip() -> None:
    """A gap reads back as it was written."""
    gap = Gap("postgres", "activity", "sessions", "refused", "unreachable", True, NOW)
    assert gap == Gap.from_json(gap.to_json())


def test_html_is_escaped() -> None:
    """A table cell that holds markup is shown as text."""
    shown = evidence(Table(("query",), (("<script>alert(1)</script>",),)))._repr_html_()
    assert "<script>" not in shown
    assert "&lt;script&gt;" in shown
