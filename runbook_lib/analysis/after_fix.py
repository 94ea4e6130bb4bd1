"""Is it over: the checklist after a fix, each number held over a whole window and not at one lucky moment."""

from __future__ import annotations

from runbook_lib.analysis.claims import has_samples
from runbook_lib.analysis.signals import Points, combined, end_epoch, is_fresh, step_seconds, worst
from runbook_lib.analysis.slo import COVERAGE
from runbook_lib.analysis.thresholds import THRESHOLDS
from runbook_lib.model import Check, Checks, CheckStatus, Evidence, Gap, Objective
from runbook_lib.model.times import clock, duration, from_epoch
from runbook_lib.model.units import format_value

GROUP = "fix"
#: Error rate below which the runbook calls a fix verified (its section 8).
MAX_ERROR_RATIO = 0.01
_AGAIN = "mend it, or run this again when the bad time has left the window"


def fixed(
    health: Evidence | Gap,
    alerts: Evidence | Gap,
    latency: Evidence | Gap,
    errors: Evidence | Gap,
    traffic: Evidence | Gap,
    *,
    latency_objective: Objective,
    availability: Objective,
) -> Checks:
    """Whether the service has been well over the whole window that the evidence shares.

    Args:
        health: answers of the service's health endpoint, now.
        alerts: alerts of the service, now.
        latency: the latency objective's quantile over time, seconds.
        errors: share of failed requests over time.
        traffic: requests per second over time.
        latency_objective: what latency must keep.
        availability: carries the error budget.

    Returns:
        A check for each line of the checklist; what cannot be told is unknown, and so is what too few requests prove.
    """
    few = _too_few(traffic)
    limit = latency_objective.threshold_seconds or 0.0
    return Checks(
        (
            _healthy(health),
            few or held("error rate", errors, MAX_ERROR_RATIO),
            few or held(f"p{latency_objective.target * 100:g} latency", latency, limit),
            _alerts_over(alerts),
            few or _burn(errors, traffic, availability),
        )
    )


def held(name: str, evidence: Evidence | Gap, limit: float) -> Check:
    """Whether a number stayed below a limit in the whole window.

    Args:
        name: what is held.
        evidence: series over the window; the largest counts where there are several.
        limit: in the unit of the evidence.
    """
    if isinstance(evidence, Gap):
        return _check(name, CheckStatus.UNKNOWN, evidence.reason, "samples", "read it again when the source answers")
    points = worst(evidence.series)
    seconds = evidence.window.seconds if evidence.window else 0.0
    required = f"below {format_value(limit, evidence.unit)} for {duration(seconds)}"
    over = [p for p in points if p[1] >= limit]
    if over:
        observed = f"up to {format_value(max(v for _, v in over), evidence.unit)}, last at {_at(over[-1][0])}"
        return _check(name, CheckStatus.FAILED, observed, required, _AGAIN)
    # A sample speaks about the step before it.
    known = len(points) * (step_seconds(points) or seconds)
    if not is_fresh(points, end_epoch(evidence)) or known < COVERAGE * seconds:
        observed = f"samples for {duration(min(known, seconds))} of {duration(seconds)}"
        return _check(name, CheckStatus.UNKNOWN, observed, required, "wait until there are samples and traffic")
    largest = format_value(max(v for _, v in points), evidence.unit)
    return _check(name, CheckStatus.PASSED, f"at most {largest} in {len(points)} samples", required)


def _healthy(health: Evidence | Gap) -> Check:
    name, required = "health", "every answer is healthy"
    if isinstance(health, Gap):
        return _check(name, CheckStatus.UNKNOWN, health.reason, required, "mend what keeps it from answering")
    asked, good = int(health.document.get("asked") or 0), int(health.document.get("healthy") or 0)
    observed = f"{good} of {asked} answers are healthy, the last one is {health.document.get('status') or 'nothing'}"
    passed = 0 < asked == good
    return _check(
        name, CheckStatus.PASSED if passed else CheckStatus.FAILED, observed, required, "" if passed else _AGAIN
    )


def _alerts_over(alerts: Evidence | Gap) -> Check:
    name, required = "alert cleared", "no alert of the service is pending or firing"
    if isinstance(alerts, Gap):
        return _check(name, CheckStatus.UNKNOWN, alerts.reason, required, "read it again when the metrics answer")
    on = [f"{row['alert']} {row['state']}" for row in alerts.table.records() if row["state"] in {"pending", "firing"}]
    if on:
        return _check(name, CheckStatus.FAILED, ", ".join(on), required, _AGAIN)
    return _check(name, CheckStatus.PASSED, "none", required)


def _burn(errors: Evidence | Gap, traffic: Evidence | Gap, objective: Objective) -> Check:
    name, required = "burn rate", "below 1: the error budget lasts"
    if isinstance(errors, Gap) or isinstance(traffic, Gap) or not has_samples(errors):
        reason = next((one.reason for one in (errors, traffic) if isinstance(one, Gap)), "no sample in the window")
        return _check(name, CheckStatus.UNKNOWN, reason, required, "read it again when the metrics answer")
    came, ratio = dict(combined(traffic.series)), worst(errors.series)
    events = sum(came.get(t, 0.0) for t, _ in ratio)
    if not events:
        return _check(name, CheckStatus.UNKNOWN, "no request came", required, "wait for traffic")
    burn = sum(share * came.get(t, 0.0) for t, share in ratio) / events / objective.error_budget
    status = CheckStatus.PASSED if burn < 1 else CheckStatus.FAILED
    return _check(name, status, f"{burn:.2f} over the window", required, "" if burn < 1 else _AGAIN)


def _too_few(traffic: Evidence | Gap) -> Check | None:
    """The check that stands in for each number when too few requests came to prove it; None when enough came."""
    if isinstance(traffic, Gap):
        return None
    points: Points = combined(traffic.series)
    events = sum(v for _, v in points) * step_seconds(points)
    least = THRESHOLDS["min_events"].value
    if events >= least:
        return None
    return _check("traffic", CheckStatus.UNKNOWN, f"{events:.0f} requests", f"at least {least:.0f}", "wait for traffic")


def _check(name: str, status: CheckStatus, observed: str, required: str, fix: str = "") -> Check:
    return Check(GROUP, name, status, observed, required, fix)


def _at(epoch: float) -> str:
    return f"{clock(from_epoch(epoch))} UTC"
