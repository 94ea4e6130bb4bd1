"""Does the service answer with errors, and how fast does that spend the error budget."""

from __future__ import annotations

from runbook_lib.analysis.claims import Given, found, has_samples, ruled_out, untold
from runbook_lib.analysis.shifts import Shift, last_rise
from runbook_lib.analysis.signals import Points, combined, end_epoch, is_fresh, step_seconds, worst
from runbook_lib.analysis.thresholds import THRESHOLDS
from runbook_lib.model import Evidence, Finding, Gap, Objective, Quantity, Severity
from runbook_lib.model.times import clock
from runbook_lib.model.units import format_value

_QUESTION = "whether the service answers with errors"
_SHORT_SECONDS = 300
_NOW_SECONDS = 60


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
    # As in the workbook's pairs of windows: the shorter one says whether it still goes on.
    recent = min(_mean(points, start) or 0.0, _mean(points, max(start, now - _NOW_SECONDS)) or points[-1][1])
    burn, whole = recent / budget, (_mean(points, points[0][0]) or 0.0) / budget
    spends = f"{format_value(recent, 'ratio')} of requests fail, {burn:.1f} times the error budget"
    if burn < THRESHOLDS["slow_burn"].value:
        title = f"{spends}; {whole:.1f} times over the window"
        return (ruled_out("app.errors", title, error_ratio, observed=Quantity(recent, "ratio"), limit="slow_burn"),)
    few = _too_few(error_ratio, recent, _events(traffic, start - step_seconds(points), now), spends)
    if few:
        return (few,)
    return (_spending(error_ratio, shift, spends, recent, burn, whole),)


def _spending(
    error_ratio: Evidence, shift: Shift | None, spends: str, recent: float, burn: float, whole: float
) -> Finding:
    fast = burn >= THRESHOLDS["fast_burn"].value
    began = f", since {clock(shift.since)} UTC" if shift else ", for the whole window"
    return found(
        "app.errors",
        Severity.CRITICAL if fast else Severity.WARNING,
        f"{spends}{began} ({whole:.1f} times over the window)",
        error_ratio,
        observed=Quantity(recent, "ratio"),
        limit="fast_burn" if fast else "slow_burn",
        since=shift.since if shift else None,
        confidence=0.6,
        subject={"burn_rate": round(burn, 2)},
    )


def _mean(points: Points, start: float) -> float | None:
    chosen = [v for t, v in points if t >= start]
    return sum(chosen) / len(chosen) if chosen else None


def _too_few(error_ratio: Evidence, ratio: float, events: float | None, spends: str) -> Finding | None:
    """What to say when the errors are too few to mean anything; None when they mean something or cannot be counted."""
    if events is None or ratio * events >= THRESHOLDS["min_bad_events"].value:
        return None
    if events < THRESHOLDS["min_events"].value:
        return untold(_QUESTION, error_ratio, f"{spends}, but only {events:.0f} requests came: insufficient traffic")
    title = f"{spends}, but that is {ratio * events:.0f} of {events:.0f} requests"
    return ruled_out("app.errors", title, error_ratio, observed=Quantity(ratio, "ratio"), limit="min_bad_events")


def _events(traffic: Given, start: float, end: float) -> float | None:
    """How many requests came between two moments (epoch seconds); None when traffic is not known."""
    if not isinstance(traffic, Evidence) or not has_samples(traffic):
        return None
    chosen = [v for t, v in combined(traffic.series) if start <= t <= end]
    return sum(chosen) / len(chosen) * (end - start) if chosen else None
