"""The Grafana client against a server with Grafana's shapes and named failures."""

from __future__ import annotations

from typing import Any

import pytest

from runbook_lib.clients.grafana import GrafanaClient
from runbook_lib.model import Evidence, Gap

BOARD = {
    "dashboard": {
        "uid": "api",
        "title": "API",
        "version": 7,
        "tags": ["api"],
        "panels": [
            {"title": "Latency", "type": "timeseries", "targets": [{"expr": "histogram_quantile(0.95, x)"}]},
            {"title": "Row", "type": "row", "panels": [{"title": "Errors", "type": "stat", "targets": []}]},
        ],
    },
    "meta": {"url": "/d/api/api", "updated": "2026-01-02T03:04:05Z"},
}


@pytest.fixture
def client(make, answerer, monkeypatch) -> GrafanaClient:
    monkeypatch.setenv("GRAFANA_TOKEN", "canary-grafana-token")
    settings, secrets = {"url": f"{answerer.url}/grafana", "dashboard": "api"}, {"token": "env:GRAFANA_TOKEN"}
    made = make(GrafanaClient, settings, secrets=secrets, connect_seconds=0.5, total_seconds=0.8)
    assert isinstance(made, GrafanaClient)
    return made


def test_dashboard_with_its_panels(client, answerer):
    """Title, link and every panel are read, also inside of a row; the token goes into the header."""
    answerer.by_path({"/grafana/api/dashboards/uid/api": BOARD})
    result = client.dashboard()
    assert isinstance(result, Evidence)
    assert ("API", "/d/api/api", ["Latency", "Errors"]) == (
        result.document["title"],
        result.document["url"],
        [panel["title"] for panel in result.document["panels"]],
    )
    assert "Bearer canary-grafana-token" == answerer.requests[0].headers["authorization"]


def test_annotations_of_the_window(client, answerer, window):
    """Marks are read in order, with times in seconds."""
    marks = [
        {"time": 1767323000000, "timeEnd": 1767323060000, "text": "deploy v2", "tags": ["deploy"], "login": "jane"},
        {"time": 1767322900000, "text": "load\ntest", "tags": []},
    ]
    answerer.by_path({"/grafana/api/annotations": marks})
    result = client.annotations()
    assert isinstance(result, Evidence)
    assert [
        (1767322900.0, None, "load test", "", ""),
        (1767323000.0, 1767323060.0, "deploy v2", "deploy", "jane"),
    ] == list(result.table.rows)
    asked = answerer.requests[0].query
    assert (str(int(window.start.timestamp() * 1000)), "api") == (asked["from"], asked["dashboardUID"])


def test_no_annotation_is_an_answer(client, answerer):
    """An empty list is evidence."""
    answerer.by_path({"/grafana/api/annotations": []})
    assert isinstance(client.annotations(), Evidence)


@pytest.mark.parametrize(
    ("failure", "kind"),
    [("401", "denied"), ("hang", "timeout"), ("garbage", "answer"), ("other json", "answer"), ("redirect", "answer")],
)
def test_failure_is_a_gap(client, answerer, failure, kind):
    """Every failure is a gap of its kind, and none shows the token."""
    answerer.fail(failure)
    for result in (client.dashboard(), client.server()):
        if failure == "other json" and isinstance(result, Evidence):
            continue
        assert isinstance(result, Gap)
        assert kind == result.kind
        assert "canary" not in str(result.to_json())


def test_dashboard_must_be_named(make, answerer: Any):
    """Without a dashboard in the catalogue the gap says what is missing."""
    result = make(GrafanaClient, {"url": answerer.url}).dashboard()
    assert isinstance(result, Gap)
    assert "grafana.dashboard is not set" in result.reason
