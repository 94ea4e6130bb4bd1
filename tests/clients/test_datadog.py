"""The Datadog client against a server with Datadog's shapes and named failures."""

from __future__ import annotations

from typing import Any

import pytest

from runbook_lib.clients.datadog import DatadogClient
from runbook_lib.model import Evidence, Gap

PERCENT = [{"family": "percentage", "name": "percent", "short_name": "%"}, None]


@pytest.fixture
def client(make, answerer, monkeypatch) -> DatadogClient:
    monkeypatch.setenv("DD_API", "canary-api-key-0001")
    monkeypatch.setenv("DD_APP", "canary-app-key-0002")
    made = make(
        DatadogClient,
        {"url": answerer.url, "scope": "env:production"},
        secrets={"api_key": "env:DD_API", "application_key": "env:DD_APP"},
        connect_seconds=0.5,
        total_seconds=0.8,
    )
    assert isinstance(made, DatadogClient)
    return made


def query_answer(**series: Any) -> dict[str, Any]:
    known = {
        "tag_set": ["env:production"],
        "unit": None,
        "pointlist": [[1767322900000.0, 12.0], [1767322910000.0, None]],
    }
    return {"status": "ok", "series": [{**known, **series}]}


def test_connections_are_a_series(client, answerer, window):
    """Times are seconds, missing points stay missing, both keys go into headers."""
    answerer.by_path({"/api/v1/query": query_answer()})
    result = client.connections()
    assert isinstance(result, Evidence)
    assert ([(1767322900.0, 12.0)], {"env": "production"}) == (
        list(result.series[0].points()),
        result.series[0].labels,
    )
    asked = answerer.requests[0]
    assert "avg:postgresql.connections{env:production}" == result.query == asked.query["query"]
    assert str(int(window.start.timestamp())) == asked.query["from"]
    assert "canary-api-key-0001" == asked.headers["dd-api-key"]
    assert "canary-app-key-0002" == asked.headers["dd-application-key"]


def test_percent_become_a_ratio(client, answerer):
    """A share in percent is read as a share of one."""
    answerer.by_path({"/api/v1/query": query_answer(unit=PERCENT)})
    result = client.connections_of_limit()
    assert isinstance(result, Evidence)
    assert pytest.approx(0.12) == result.series[0].last


def test_no_series_is_a_gap(client, answerer):
    """Nothing in Datadog is not zero connections."""
    answerer.by_path({"/api/v1/query": {"status": "ok", "series": []}})
    result = client.connections()
    assert isinstance(result, Gap)
    assert "empty" == result.kind


def test_error_in_the_body_is_a_gap(client, answerer):
    """Datadog may say no with status 200."""
    answerer.by_path({"/api/v1/query": {"status": "error", "error": "Error parsing query", "series": []}})
    result = client.connections()
    assert isinstance(result, Gap)
    assert ("answer", True) == (result.kind, "Error parsing query" in result.reason)


def test_logs_are_read_page_by_page(client, answerer):
    """Pages are followed to the limit; a secret in a line is taken out."""
    line = {
        "timestamp": "2026-01-02T03:04:05.123Z",
        "status": "error",
        "host": "pod-1",
        "service": "api",
        "message": "login failed password=canary-in-log\n  at x",
    }

    def behave(request: Any, handler: Any) -> None:
        body = request.json()
        more = {"page": {"after": "next"}} if "cursor" not in body["page"] else {}
        answerer.always(200, {"data": [{"attributes": line}] * body["page"]["limit"], "meta": more})
        answerer.behave(request, handler)
        answerer.behave = behave

    answerer.behave = behave
    result = client.logs(limit=150)
    assert isinstance(result, Evidence)
    assert [100, 50] == [request.json()["page"]["limit"] for request in answerer.requests]
    assert 150 == len(result.table)
    assert "canary" not in str(result.to_json())
    assert "service:api status:error" == answerer.requests[0].json()["filter"]["query"]


def test_no_log_line_is_an_answer(client, answerer):
    """A quiet log is evidence with no row."""
    answerer.by_path({"/api/v2/logs/events/search": {"data": [], "meta": {}}})
    result = client.logs()
    assert isinstance(result, Evidence)
    assert 0 == len(result.table)


@pytest.mark.parametrize(
    ("failure", "kind"), [("403", "denied"), ("429", "unreachable"), ("hang", "timeout"), ("garbage", "answer")]
)
def test_failure_is_a_gap(client, answerer, failure, kind):
    """Every failure is a gap of its kind, and none shows a key."""
    answerer.fail(failure)
    for result in (client.connections(), client.logs()):
        assert isinstance(result, Gap)
        assert kind == result.kind
        assert "canary" not in str(result.to_json())


def test_missing_key_is_a_gap(make, answerer):
    """Without keys nothing is asked, and it is said which one is missing."""
    result = make(DatadogClient, {"url": answerer.url}).connections()
    assert isinstance(result, Gap)
    assert ("denied", [], True) == (result.kind, answerer.requests, "datadog.api_key" in result.reason)
