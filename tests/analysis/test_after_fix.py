"""The checklist after a fix."""

from __future__ import annotations

import math
from typing import Any

import pytest

from runbook_lib import analysis
from runbook_lib.model import CheckStatus

from .builders import AVAILABILITY, LATENCY, document, gap, latency, line, series, table, traffic

PASSED, FAILED, UNKNOWN = CheckStatus.PASSED, CheckStatus.FAILED, CheckStatus.UNKNOWN


def errors(points: Any) -> Any:
    """Share of failed requests."""
    return series("error_ratio", "ratio", {"": points})


def checks(**changed: Any) -> dict[str, CheckStatus]:
    """The checklist of a healthy service with some evidence exchanged: name to status."""
    given: dict[str, Any] = {
        "health": document("service", "health", asked=3, healthy=3, status="healthy"),
        "alerts": table("prometheus", "alerts", []),
        "latency": latency(line(0.05)),
        "errors": errors(line(0.0001)),
        "traffic": traffic(line(20)),
        **changed,
    }
    made = analysis.fixed(**given, latency_objective=LATENCY, availability=AVAILABILITY)
    return {check.name: check.status for check in made}


def test_all_well() -> None:
    """Healthy, few errors, fast, no alert, and a budget that lasts."""
    names = ("health", "error rate", "p95 latency", "alert cleared", "burn rate")
    assert dict.fromkeys(names, PASSED) == checks()


@pytest.mark.parametrize(
    ("name", "changed", "status"),
    [
        ("health", {"health": document("service", "health", asked=3, healthy=2, status="healthy")}, FAILED),
        ("health", {"health": document("service", "health", asked=0, healthy=0, status="")}, FAILED),
        ("health", {"health": gap("service", "health")}, UNKNOWN),
        ("error rate", {"errors": errors(line(0.02, 0.0001, ago=300))}, FAILED),
        ("error rate", {"errors": errors([])}, UNKNOWN),
        ("error rate", {"errors": gap("prometheus", "error_ratio")}, UNKNOWN),
        ("burn rate", {"errors": errors(line(0.005))}, FAILED),
        ("p95 latency", {"latency": latency(line(0.6, 0.05, ago=300))}, FAILED),
        ("p95 latency", {"latency": latency([(t, math.nan) for t, _ in line(0.05)])}, UNKNOWN),
        ("p95 latency", {"latency": latency(line(0.05)[:-40])}, UNKNOWN),
        ("p95 latency", {"latency": latency(line(0.05)[120:])}, UNKNOWN),
        ("alert cleared", {"alerts": table("prometheus", "alerts", [{"alert": "A", "state": "firing"}])}, FAILED),
        ("alert cleared", {"alerts": table("prometheus", "alerts", [{"alert": "A", "state": "pending"}])}, FAILED),
        ("alert cleared", {"alerts": gap("prometheus", "alerts")}, UNKNOWN),
    ],
    ids=[
        "one unhealthy answer",
        "no answer",
        "health gap",
        "errors earlier in the window",
        "no error samples",
        "errors gap",
        "errors below 1 % that overspend",
        "slow earlier in the window",
        "latency NaN",
        "latency stale",
        "latency for half of the window",
        "alert firing",
        "alert pending",
        "alerts gap",
    ],
)
def test_one_line_does_not_hold(name: str, changed: dict[str, Any], status: CheckStatus) -> None:
    """Each line fails for itself, and what cannot be told never passes."""
    assert status is checks(**changed)[name]


def test_too_little_traffic_proves_nothing() -> None:
    """Without enough requests no number passes."""
    assert UNKNOWN is checks(traffic=traffic(line(0.001)))["traffic"]
    assert "error rate" not in checks(traffic=traffic(line(0.001)))
