"""Does the service answer with errors, and how fast does that spend the error budget."""

from __future__ import annotations

from runbook_lib.analysis.claims import Given, found, has_samples, ruled_out, untold
from runbook_lib.analysis.shifts import last_rise
from runbook_lib.analysis.signals import Points, combined, end_epoch, is_fresh, step_seconds, worst
from runbook_lib.analysis.thresholds import THRESHOLDS
from runbook_lib.model import Evidence, Finding, Gap, Objective, Quantity, Severity
from runbook_lib.model.times import clock
from runbook_lib.model.units import format_value

_QUESTION = "whether the service answers with errors"
_SHORT_SECONDS = 300


def errors(
    error_ratio: Evidence | Gap, objective: Objective | None = None, *, traffic: Given = None
) -> tuple[Finding, ...]:
    """Hold the ratio of failed requests against the error budget.

    Args:
        error_ratio: failed over all requests over time, 0 to 1.
        objective: an availability objective; without one, 99.9 %.
        traffic: requests per second over time; with it, fewer errors than prove anything are unknown.

    Returns:
        One finding: ``app.errors`` with the burn rate, ruled out, or unknown.
    """
    if isinstance(error_ratio, Gap) or not has_samples(error_ratio):
        return (untold(_QUESTION, error_ratio),)
    points = worst(error_ratio.series)
    now = end_epoch(error_ratio)
    if not is_fresh(points, now):
        return (untold(_QUESTION, error_ratio, "the newest sample is too old to speak about now"),)
    budget = objective.error_budget if objective and objective.threshold_seconds is None else 0.001
    shift = last_rise(points, factor=2.0)
    start = max(now - _SHORT_SECONDS, shift.at if shift else 0.0)
    recent = _mean(points, start) or 0.0
    burn, whole = recent / budget, (_mean(points, points[0][0]) or 0.0) / budget
    spends = f"{format_value(recent, 'ratio')} of requests fail, {burn:.1f} times the error budget"
    if burn < THRESHOLDS["slow_burn"].value:
        return (ruled_out("app.errors", spends, error_ratio, observed=Quantity(recent, "ratio"), limit="slow_burn"),)
    bad = _bad_events(recent, traffic, start - step_seconds(points), now)
    if bad is not None and bad < THRESHOLDS["min_bad_events"].value:
        return (untold(_QUESTION, error_ratio, f"{spends}, but that is fewer than 10 requests: too little to tell"),)
    fast = burn >= THRESHOLDS["fast_burn"].value
    began = f", since {clock(shift.since)} UTC" if shift else ", for the whole window"
    return (
        found(
            "app.errors",
            Severity.CRITICAL if fast else Severity.WARNING,
            f"{spends}{began} ({whole:.1f} times over the window)",
            error_ratio,
            observed=Quantity(recent, "ratio"),
            limit="fast_burn" if fast else "slow_burn",
            since=shift.since if shift else None,
            confidence=0.6,
            subject={"burn_rate": round(burn, 2)},
        ),
    )


def _mean(points: Points, start: float) -> float | None:
    chosen = [v for t, v in points if t >= start]
    return sum(chosen) / len(chosen) if chosen else None


def _bad_events(ratio: float, traffic: Given, start: float, end: float) -> float | None:
    """How many requests failed between two moments (epoch seconds); None when traffic is not known."""
    if not isinstance(traffic, Evidence) or not has_samples(traffic):
        return None
    chosen = [v for t, v in combined(traffic.series) if start <= t <= end]
    return ratio * sum(chosen) / len(chosen) * (end - start) if chosen else None
