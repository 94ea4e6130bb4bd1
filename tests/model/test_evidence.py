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


@pytest.mark.parametrize(
    ("column", "value", "expected"),
    [
        ("query_seconds", 372.4, "6m12s"),
        ("memory_bytes", 3 * 2**30, "3 GiB"),
        ("hit_ratio", 0.0021, "0.21 %"),
        ("misses_per_second", 12.0, "12/s"),
        ("cpu_limit_cores", 0.5, "0.5 cores"),
        ("started_at", NOW.timestamp() - 180, "02:57:00 UTC, 3m00s before"),
        ("query_id", 8731264871236487123, "8731264871236487123"),
        ("pid", None, ""),
        ("waiting", True, "True"),
    ],
    ids=["seconds", "bytes", "ratio", "rate", "cores", "time", "a long name", "missing", "yes or no"],
)
def test_table_cell_has_the_unit_of_its_column(column: str, value: object, expected: str) -> None:
    """A number is shown in the unit that its column's name ends with, a time in UTC and as seen from the reading."""
    shown = evidence(Table((column,), ((value,),)))._repr_html_()  # type: ignore[arg-type]
    assert f">{expected}</td>" in shown


@pytest.mark.parametrize(
    ("expected", "values"),
    [("right", (1, 2.5, None)), ("left", (1, "many")), ("left", (True, False))],
    ids=["numbers", "a word among them", "yes or no"],
)
def test_numbers_are_aligned_right(expected: str, values: tuple[object, ...]) -> None:
    """A column of numbers is aligned right, every other one left."""
    shown = evidence(Table(("pid",), tuple((one,) for one in values)))._repr_html_()  # type: ignore[arg-type]
    assert f'<th scope="col" style="text-align:{expected}' in shown


def test_what_a_source_says_against_its_answer_is_shown() -> None:
    """A warning of the source stands beside its answer."""
    assert "WARNING</span> partial" in evidence(SERIES)._repr_html_()


def test_html_is_escaped() -> None:
    """A table cell that holds markup is shown as text."""
    shown = evidence(Table(("query",), (("<script>alert(1)</script>",),)))._repr_html_()
    assert "<script>" not in shown
    assert "&lt;script&gt;" in shown
