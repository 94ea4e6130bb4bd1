from __future__ import annotations

import math

import pytest

from runbook_lib.charts import connections, top
from runbook_lib.model import Gap, Table

from .conftest import evidence, line


def test_connections_are_held_against_their_limit() -> None:
    """Used connections are told with their limit, the share, and a sign beyond 90 %."""
    saturation = evidence({"used": 36, "usable": 37}, unit="count", source="postgres")
    assert "Connections: postgres 36 of 37 (97.3 %) ✕." == connections(saturation).sentence


@pytest.mark.parametrize(
    ("used", "sign"),
    [pytest.param(79, "", id="below"), pytest.param(80, " !", id="warning"), pytest.param(90, " ✕", id="critical")],
)
def test_the_two_shares_of_the_limit_warn(used: int, sign: str) -> None:
    """80 % warns and 90 % is critical."""
    told = connections(evidence({"used": used, "max": 100}, unit="count", source="pg")).sentence
    assert f"Connections: pg {used} of 100 ({used} %){sign}." == told


def test_sessions_are_counted_by_state() -> None:
    """A table of sessions is counted by state; a part of the sessions never warns by itself."""
    rows = (*((i, "active") for i in range(30)), (99, None))
    activity = evidence(Table(("pid", "state"), rows), unit="", source="postgres")
    saturation = evidence({"used": 31, "usable": 31}, unit="count", source="postgres")
    told = connections(activity, saturation).sentence
    assert "Connections: active 30 of 31 (96.8 %), no state 1 of 31 (3.23 %), postgres 31 of 31 (100 %) ✕." == told


def test_pools_are_told_by_pod() -> None:
    """Series of used / max give one bar a pod."""
    pool = evidence(tuple(line([0.95], labels={"pod": f"api-{i}"}) for i in (1, 2)), unit="ratio")
    assert "Connections: api-1 95 % in use ✕, api-2 95 % in use ✕." == connections(pool).sentence


def test_a_server_without_a_free_slot_is_full() -> None:
    """A server that refuses the question for want of a connection is drawn as full, not as unknown."""
    told = connections(evidence({"refused": True, "used": None, "usable": None}, source="postgres")).sentence
    assert "Connections: postgres all in use: the server refused one more ✕." == told


def test_another_systems_count_is_held_against_the_same_limit() -> None:
    """Connections as a second system counts them stand beside the server's own number."""
    saturation = evidence({"used": 30, "usable": 37}, unit="count", source="postgres")
    seen = evidence((line([10, 29]),), unit="count", source="datadog", title="Connections in use")
    told = connections(saturation, seen).sentence
    assert "Connections: postgres 30 of 37 (81.1 %) !, Connections in use (datadog) 29 of 37 (78.4 %)." == told


def test_a_gap_among_answers_is_named(gap: Gap) -> None:
    """What could be read is drawn, and what could not is named."""
    told = connections(evidence({"used": 1, "max": 10}, unit="count"), gap).sentence
    assert told.endswith("; no data: prometheus: connection refused.")


def test_only_gaps_say_no_data(gap: Gap) -> None:
    """Without any answer the picture gives the reason."""
    chart = connections(gap)
    assert "Connections: no data: prometheus: connection refused." == chart.sentence
    assert "connection refused" in chart.svg
    assert [] == chart.figure_json["data"]


def test_top_ranks_rows() -> None:
    """The largest rows come first, and the rest is counted."""
    rows = tuple((f"q{i}", float(i)) for i in range(12))
    chart = top(
        evidence(Table(("query", "seconds"), rows), title="Statements"), label="query", value="seconds", count=2
    )
    assert "Statements: q11 11.0 s, q10 10.0 s; 10 smaller rows are not drawn." == chart.sentence


@pytest.mark.parametrize("value", [None, "12", math.nan, math.inf, True], ids=str)
def test_top_leaves_out_what_is_no_number(value: object) -> None:
    """A row without a number is no zero."""
    table = Table(("query", "seconds"), (("q", value),))  # type: ignore[arg-type]
    assert "no data" in top(evidence(table), label="query", value="seconds").sentence


def test_plotly_accepts_the_bars() -> None:
    """The hand-made JSON is valid to plotly's own validators."""
    graph_objects = pytest.importorskip("plotly.graph_objects")
    figure = dict(connections(evidence({"used": 9, "max": 10}, unit="count")).figure_json)
    assert {"showSendToCloud": False, "plotlyServerURL": ""}.items() <= figure.pop("config").items()
    assert 1 == len(graph_objects.Figure(figure).data)
