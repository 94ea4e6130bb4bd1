"""What alerting systems send is read as untrusted text, whatever it holds."""

from __future__ import annotations

import hashlib
import hmac

import pytest

from benchmarks import fuzz
from runbook_lib.errors import UsageError
from runbook_lib.hooks.alerts import PARSERS, Notification, parse, signed
from tests.hooks.deliveries import alert, alertmanager, pagerduty

T1, T2 = "2026-01-01T00:00:00Z", "2026-01-01T00:01:00.5+01:00"


def read(source: str, body: bytes) -> Notification:
    """A delivery that says something."""
    found = parse(source, body)
    assert found is not None
    return found


@pytest.mark.parametrize("source", ["alertmanager", "grafana"])
def test_alertmanager(source: str) -> None:
    """Group, alerts, times in UTC, common labels and the wish for a runbook are read."""
    found = read(source, alertmanager(alert("Slow", T1, pod="a"), alert("Slow", T2, "resolved", pod="b")))
    assert ('{}:{alertname="one"}', "Slow", True) == (found.group, found.name, found.firing)
    assert [("Slowa", True), ("Slowb", False)] == [(one.fingerprint, one.firing) for one in found.alerts]
    assert "2025-12-31T23:01:00.5" in found.alerts[1].started
    assert "api" == found.labels["service"]
    assert "https://wiki.example.com/runbooks/high-latency" == found.runbook


def test_grafana_has_no_version_four() -> None:
    """Grafana's version is its own; Alertmanager's must be 4."""
    body = alertmanager(alert("Slow", T1), version="1")
    assert "Slow" == read("grafana", body).name
    with pytest.raises(UsageError, match="version"):
        parse("alertmanager", body)


@pytest.mark.parametrize(
    ("kind", "firing"),
    [
        ("incident.triggered", True),
        ("incident.reopened", True),
        ("incident.resolved", False),
        ("incident.acknowledged", None),
        ("pagey.ping", None),
    ],
)
def test_pagerduty(kind: str, firing: bool | None) -> None:
    """Beginnings and ends of incidents count; everything else says nothing."""
    found = parse("pagerduty", pagerduty(kind))
    assert firing == (found.firing if found else None)


def test_the_same_labels_without_a_fingerprint() -> None:
    """An alert without a fingerprint is identified by its labels, in any order."""
    one, two = alert("Slow", T1, pod="a"), alert("Slow", T1, pod="a")
    two["labels"] = dict(reversed(two["labels"].items()))
    del one["fingerprint"], two["fingerprint"]
    first, second = read("alertmanager", alertmanager(one, two)).alerts
    assert first == second


def test_control_characters_are_gone() -> None:
    """A label cannot begin a new line, colour a terminal or be endless."""
    found = read("alertmanager", alertmanager(alert("Slow", T1, host="a\n\x1b[31mb\u2028" + "x" * 10_000)))
    assert found.labels["host"].isprintable()
    assert 300 == len(found.labels["host"])


def test_signature() -> None:
    """One of several signatures is enough while a secret is changed; another body or secret is not."""
    body = pagerduty("incident.triggered")
    good = "v1=" + hmac.new(b"new", body, hashlib.sha256).hexdigest()
    assert signed(["new"], body, f"v1=00,{good}")
    assert not signed(["new"], body + b" ", good)
    assert not signed(["old"], body, good)
    assert not signed(["new"], body, good.removeprefix("v1="))
    assert not signed([""], body, "v1=" + hmac.new(b"", body, hashlib.sha256).hexdigest())


@pytest.mark.parametrize(
    "body",
    [b"", b"null", b"[]", b"{", b'{"version": "4"}', b"\xff\xfe", b'{"version": "4", "groupKey": "a", "alerts": [1]}',
     b"[" * 100_000, b'{"a":' * 50_000, b"1" * 10_000],
    ids=["empty", "null", "list", "cut", "no-alerts", "bytes", "number", "deep-list", "deep-object", "digits"],
)  # fmt: skip
@pytest.mark.parametrize("source", list(PARSERS))
def test_another_shape(source: str, body: bytes) -> None:
    """A body of another shape is refused with one sentence, never with a crash."""
    with pytest.raises(UsageError):
        parse(source, body)


def test_any_delivery_over_a_real_connection() -> None:
    """Whatever is sent, with whatever signature: an answer, printable text, and no runbook that is not allowed.

    `python -m benchmarks.fuzz` sends fifty thousand.
    """
    with fuzz.nothing_starts() as started:
        answered = fuzz.hook(300)
    assert 250 < sum(answered.values())
    assert {"202", "400", "401"} <= set(answered)
    assert [] == started
