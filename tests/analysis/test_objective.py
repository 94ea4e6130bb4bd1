"""The symptom."""

from __future__ import annotations

import math

import pytest

from runbook_lib import analysis
from runbook_lib.errors import ParameterError
from runbook_lib.model import Role, Severity

from .builders import AVAILABILITY, END, LATENCY, STEP, evidence, gap, latency, line, traffic

NOW = END.timestamp()


def test_a_breach_says_since_when_and_how_bad() -> None:
    """A lasting breach is the symptom, dated at its start, with worst value and share of the window."""
    found = analysis.objective_breached(latency(line(0.05, 0.6, ago=600)), LATENCY)
    assert (Role.SYMPTOM, Severity.CRITICAL, "unknown") == (found.role, found.severity, found.cause)
    assert found.since is not None
    assert pytest.approx(NOW - 600, abs=STEP) == found.since.timestamp()
    assert pytest.approx(1 / 6, abs=0.02) == found.subject["window_share"]
    assert "objective latency" in found.threshold_source


def test_a_breach_cites_the_digest_of_its_evidence() -> None:
    """A finding names the exact answer that it rests on."""
    given = latency(line(0.05, 0.6))
    assert (f"prometheus.latency_seconds#{given.digest}",) == analysis.objective_breached(given, LATENCY).evidence


def test_no_breach_is_ruled_out_with_its_number() -> None:
    """A service within its objective gets no finding but a ruled-out one that says by how much."""
    found = analysis.objective_breached(latency(line(0.05)), LATENCY)
    assert (Role.RULED_OUT, "none") == (found.role, found.cause)
    assert found.observed is not None


def test_a_breach_that_is_over_is_context() -> None:
    """What was breached and has come back is told, but is no symptom of now."""
    points = [(t, 0.5 if NOW - 1200 <= t < NOW - 600 else v) for t, v in line(0.05)]
    found = analysis.objective_breached(latency(points), LATENCY)
    assert (Role.CONTEXT, Severity.NOTE, "none") == (found.role, found.severity, found.cause)


def test_a_fresh_breach_of_one_bad_sample_counts() -> None:
    """A quantile twice its limit in the newest sample is a breach: a person need not wait for the next one."""
    assert Role.SYMPTOM is analysis.objective_breached(latency(line(0.05, 0.5, ago=10)), LATENCY).role


def test_one_sample_just_over_the_limit_is_noise() -> None:
    """A single sample a tenth over the limit is no breach."""
    points = line(0.05)
    points[-1] = (points[-1][0], 0.22)
    assert Role.RULED_OUT is analysis.objective_breached(latency(points), LATENCY).role


def test_a_short_dip_does_not_end_a_breach() -> None:
    """Two samples below the limit in the middle of a breach leave its start where it was."""
    points = [(t, 0.05 if NOW - 300 <= t < NOW - 300 + 2 * STEP else v) for t, v in line(0.05, 0.6, ago=900)]
    found = analysis.objective_breached(latency(points), LATENCY)
    assert pytest.approx(NOW - 900, abs=STEP) == found.subject["breached_since"]


@pytest.mark.parametrize(
    "given",
    [
        gap("prometheus", "latency_seconds"),
        latency([]),
        latency([(NOW - 60 + i * 15, math.nan) for i in range(4)]),
        latency([(t, v) for t, v in line(0.05) if t < NOW - 900]),
        evidence("prometheus", "latency_seconds", (), "s"),
    ],
    ids=["gap", "no samples", "only NaN", "stale", "no series"],
)
def test_no_data_is_unknown(given: object) -> None:
    """Whatever says nothing about now is unknown, never within the objective."""
    assert Severity.UNKNOWN is analysis.objective_breached(given, LATENCY).severity  # type: ignore[arg-type]


@pytest.mark.parametrize("seconds", [0.05, 0.6], ids=["within", "over"])
def test_too_little_traffic_is_unknown(seconds: float) -> None:
    """A quantile of a handful of requests proves neither health nor a breach."""
    found = analysis.objective_breached(latency(line(seconds)), LATENCY, traffic=traffic(line(0.005)))
    assert Severity.UNKNOWN is found.severity


def test_requests_that_hang_are_no_want_of_traffic() -> None:
    """When requests hang and none is counted any more, the breach stands."""
    found = analysis.objective_breached(
        latency(line(0.05, 9.0, ago=120)), LATENCY, traffic=traffic(line(20, 0.1, ago=120))
    )
    assert Role.SYMPTOM is found.role


def test_an_availability_objective_is_refused() -> None:
    """Latency cannot be held against an objective without a duration."""
    with pytest.raises(ParameterError, match="availability"):
        analysis.objective_breached(latency(line(0.05)), AVAILABILITY)
