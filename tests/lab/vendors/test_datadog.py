"""The Datadog endpoints answer as Datadog's API does."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from runbook_lib.lab.vendors import datadog_query

from .conftest import Vendors


def headers(vendors: Vendors) -> dict[str, str]:
    """Both keys, right."""
    return {
        "DD-API-KEY": vendors.secrets["datadog_api_key"],
        "DD-APPLICATION-KEY": vendors.secrets["datadog_app_key"],
    }


def search(vendors: Vendors, query: str, **more: Any) -> httpx.Response:
    """One log search over the last hour."""
    body = {"filter": {"query": query, "from": "now-1h", "to": "now"}, **more}
    return vendors.client.post("/datadog/api/v2/logs/events/search", json=body, headers=headers(vendors))


@pytest.fixture(scope="module")
def logged(vendors: Vendors) -> Vendors:
    """Two pods' logs: JSON lines, a plain line and one old line."""
    now = datetime.now(UTC)
    lines = [
        {"time": (now - timedelta(hours=3)).isoformat(), "level": "ERROR", "message": "old"},
        {
            "time": (now - timedelta(minutes=3)).isoformat(),
            "level": "ERROR",
            "message": "database timeout",
            "route": "/a",
        },
        {"time": (now - timedelta(minutes=2)).isoformat(), "level": "INFO", "message": "started"},
    ]
    texts = ("\n".join(json.dumps(line) for line in lines), "Traceback: error in line 3")
    for number, text in enumerate(texts, start=1):
        folder = vendors.directory / "pods" / f"production_api-{number}_0000-{number}" / "api"
        folder.mkdir(parents=True)
        (folder / "0.log").write_text(text + "\n")
    return vendors


@pytest.mark.parametrize(
    ("given", "status", "error"),
    [
        pytest.param({}, 401, "Unauthorized", id="no keys"),
        pytest.param({"DD-API-KEY": "x", "DD-APPLICATION-KEY": "y"}, 403, "Forbidden", id="wrong keys"),
    ],
)
def test_keys_are_checked(vendors: Vendors, given: dict[str, str], status: int, error: str) -> None:
    """Missing keys are 401 and wrong keys 403, in Datadog's ``errors`` list."""
    answer = vendors.client.get("/datadog/api/v1/query?from=1&to=2&query=x", headers=given)
    assert (status, [error]) == (answer.status_code, answer.json()["errors"])


def test_api_key_alone_is_validated(vendors: Vendors) -> None:
    """``/api/v1/validate`` needs only the API key."""
    given = {"DD-API-KEY": vendors.secrets["datadog_api_key"]}
    assert {"valid": True} == vendors.client.get("/datadog/api/v1/validate", headers=given).json()


def test_unknown_metric_is_an_empty_series(vendors: Vendors) -> None:
    """A metric that nobody sends is status ok without a series, as Datadog answers."""
    parameters = {"from": 1_000, "to": 2_000, "query": "avg:mysql.connections{*}"}
    answer = vendors.client.get("/datadog/api/v1/query", params=parameters, headers=headers(vendors)).json()
    assert ("ok", []) == (answer["status"], answer["series"])


@pytest.mark.parametrize(
    "query",
    [
        "avg:postgresql.connections",
        "p95:postgresql.connections{*}",
        "avg:a{*} / avg:b{*}",
        "avg:a{x}",
        "avg:a{*}.fill(0)",
    ],
)
def test_unsupported_queries_are_400(vendors: Vendors, query: str) -> None:
    """What is outside the answered language is an error, never a wrong number."""
    parameters = {"from": "1000", "to": "2000", "query": query}
    answer = vendors.client.get("/datadog/api/v1/query", params=parameters, headers=headers(vendors))
    assert 400 == answer.status_code
    assert "Error parsing query" in answer.json()["errors"][0]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        pytest.param(
            "avg:postgresql.connections{*}",
            "avg (sum by (datname) (avg_over_time(pg_stat_activity_count{}[20s])))",
            id="everything",
        ),
        pytest.param(
            "max:postgresql.connections{db:app,env:production} by {db}.rollup(avg, 60)",
            'max by (datname) (sum by (datname) (avg_over_time(pg_stat_activity_count{datname="app"}[60s])))',
            id="scope, group and roll-up",
        ),
        pytest.param("avg:postgresql.connections{env:staging}", None, id="another environment"),
        pytest.param("avg:postgresql.connections{!env:production}", None, id="excluded"),
    ],
)
def test_query_becomes_promql(query: str, expected: str | None) -> None:
    """A query is translated to one expression over the store's samples, or to nothing when no point can match."""
    assert expected == datadog_query.to_promql(datadog_query.parse(query, 3600))


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        pytest.param("service:api status:error timeout", ["database timeout"], id="terms"),
        pytest.param("status:error -timeout", ["Traceback: error in line 3"], id="negated word"),
        pytest.param("pod_name:api-1 @route:/a", ["database timeout"], id="tag and attribute"),
        pytest.param('"database timeout"', ["database timeout"], id="phrase"),
        pytest.param("start*", ["started"], id="wildcard"),
        pytest.param(
            "service:api (status:error OR started)",
            ["Traceback: error in line 3", "started", "database timeout"],
            id="either",
        ),
    ],
)
def test_logs_are_found(logged: Vendors, query: str, expected: list[str]) -> None:
    """Words, key:value, tags, attributes and negation choose the lines of the window."""
    found = search(logged, query).json()["data"]
    assert expected == [one["attributes"]["message"] for one in found]


def test_logs_come_in_pages(logged: Vendors) -> None:
    """Following the cursor gives every line once, newest first."""
    first = search(logged, "*", page={"limit": 2}).json()
    cursor = first["meta"]["page"]["after"]
    second = search(logged, "*", page={"limit": 2, "cursor": cursor}).json()
    stamps = [one["attributes"]["timestamp"] for one in first["data"] + second["data"]]
    assert (3, sorted(stamps, reverse=True)) == (len(stamps), stamps)
    assert "page" not in second["meta"]


def test_unsupported_log_search_is_400(logged: Vendors) -> None:
    """What the lab does not answer is refused instead of being searched as a word."""
    answer = search(logged, "CIDR(@network.client.ip, 13.0.0.0/8)")
    assert (400, ["Bad Request: the function CIDR() is not answered here"]) == (
        answer.status_code,
        answer.json()["errors"],
    )
