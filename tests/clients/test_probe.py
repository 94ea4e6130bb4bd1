"""The probe of the service against a server with named failures."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from runbook_lib.clients.probe import HttpProbe
from runbook_lib.model import Evidence, Gap


def probe(make: Any, answerer: Any, total_seconds: float = 6) -> HttpProbe:
    made = make(HttpProbe, {"url": answerer.url}, connect_seconds=1, total_seconds=total_seconds)
    assert isinstance(made, HttpProbe)
    return made


def test_healthy_service(make, answerer):
    """Three healthy answers, each on its own connection."""
    answerer.by_path({"/health": {"status": "healthy"}})
    result = probe(make, answerer).health()
    assert isinstance(result, Evidence)
    found = result.document
    assert (3, 3, 3, 1.0, "healthy") == tuple(found[k] for k in ("asked", "answered", "healthy", "ratio", "status"))
    assert 0 < found["latency_seconds"] < 0.8
    assert "GET /health" == result.query


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (503, {"status": "unhealthy"}, "unhealthy"),
        (200, {"status": "degraded"}, "degraded"),
        (502, b"<html>bad gateway</html>", "<html>bad gateway</html>"),
        (404, {"message": "no such page"}, ""),
    ],
    ids=["503", "degraded", "proxy", "404"],
)
def test_unhealthy_answer_is_evidence(make, answerer, status, body, words):
    """An answer that says no is an answer."""
    answerer.always(status, body)
    result = probe(make, answerer).health()
    assert isinstance(result, Evidence)
    assert (0, 3, words) == tuple(result.document[k] for k in ("healthy", "answered", "status"))


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param({"checks": {"database": "OperationalError: refused", "cache": "ok"}}, "OperationalError: refused"),
        pytest.param({"checks": {"database": False, "cache": True}}, "False"),
        pytest.param({"components": {"database": {"status": "DOWN"}, "cache": {"status": "UP"}}}, "DOWN"),
        pytest.param(
            {"checks": {"database": [{"status": "pass"}, {"status": "fail", "output": "refused"}], "cache": "pass"}},
            "fail: refused",
        ),
        pytest.param(
            {"entries": {"database": {"status": "Unhealthy", "description": "no route"}, "cache": "Healthy"}},
            "Unhealthy: no route",
        ),
        pytest.param({"checks": {"database": "down password=canary-pw", "cache": "ok"}}, "down password=[redacted]"),
    ],
    ids=["words", "truth values", "components", "measurements", "entries", "secret"],
)
def test_failing_dependency_is_named(make, answerer, body, expected):
    """What the service says of its own parts is evidence, in each of the usual shapes of a health page."""
    answerer.always(200, {"status": "unhealthy", **body})
    result = probe(make, answerer).health()
    assert isinstance(result, Evidence)
    assert {"said": expected, "failing": 3, "answers": 3} == result.document["checks"]["database"]
    assert 0 == result.document["checks"]["cache"]["failing"]


@pytest.mark.parametrize(
    "body",
    [{}, {"checks": []}, {"checks": None}, {"checks": {"database": None, "cache": {}}}],
    ids=["none", "a list", "null", "empty"],
)
def test_no_word_of_a_part_is_no_check(make, answerer, body):
    """Nothing said about a part is neither good nor bad."""
    answerer.always(200, {"status": "healthy", **body})
    assert {} == probe(make, answerer).health().document["checks"]


def test_some_pods_are_unhealthy(make, answerer):
    """One of two pods that fails is seen in the share."""
    good, turn = {"status": "healthy"}, itertools.count()

    def behave(request: Any, handler: Any) -> None:
        answerer.always(200 if next(turn) % 2 == 0 else 500, good)
        answerer.behave(request, handler)
        answerer.behave = behave

    answerer.behave = behave
    result = probe(make, answerer).health(attempts=4)
    assert isinstance(result, Evidence)
    assert (4, 2, 0.5) == tuple(result.document[k] for k in ("answered", "healthy", "ratio"))


def test_partly_answered_is_evidence(make, answerer):
    """A request that fails among others that do not is counted, not hidden."""
    turn = itertools.count()

    def behave(request: Any, handler: Any) -> None:
        if next(turn) == 0:
            answerer.fail("reset")
        else:
            answerer.always(200, {"status": "healthy"})
        answerer.behave(request, handler)
        answerer.behave = behave

    answerer.behave = behave
    result = probe(make, answerer).health()
    assert isinstance(result, Evidence)
    assert (3, 2, 2) == tuple(result.document[k] for k in ("asked", "answered", "healthy"))
    assert result.document["attempts"][0]["error"]


@pytest.mark.parametrize(("failure", "kind"), [("hang", "timeout"), ("reset", "unreachable"), ("not http", "answer")])
def test_no_answer_is_a_gap(make, answerer, failure, kind):
    """Only a service that never answers is a gap."""
    answerer.fail(failure)
    result = probe(make, answerer, total_seconds=0.8).health()
    assert isinstance(result, Gap)
    assert (kind, True) == (result.kind, result.needed)


def test_version_of_all_pods(make, answerer):
    """One version on all answers is the version; a mix is none."""
    answerer.by_path({"/api/v1/status": {"version": "v2", "uptime_seconds": 5}})
    found = probe(make, answerer).status().document
    assert ("v2", {"v2": 3}, 5) == (found["version"], found["versions"], found["fields"]["uptime_seconds"])


def test_mixed_versions(make, answerer):
    """During a rollout both versions are counted."""
    turn = itertools.count()

    def behave(request: Any, handler: Any) -> None:
        answerer.always(200, {"version": "v1" if next(turn) % 2 else "v2"})
        answerer.behave(request, handler)
        answerer.behave = behave

    answerer.behave = behave
    found = probe(make, answerer).status(attempts=4).document
    assert (None, {"v2": 2, "v1": 2}) == (found["version"], found["versions"])


def test_secrets_in_the_status_page_are_not_kept(make, answerer):
    """A status page that shows a password does not bring it into the evidence."""
    answerer.by_path({"/api/v1/status": {"version": "v1", "database_url": "postgres://app:canary-pw@db/app"}})
    assert "canary" not in str(probe(make, answerer).status().to_json())
