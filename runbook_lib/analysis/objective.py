"""Is the symptom real: since when, for how long, how bad, for which share of the window."""

from __future__ import annotations

import statistics
from dataclasses import replace

from runbook_lib.analysis.claims import Given, found, has_samples, ruled_out, untold
from runbook_lib.analysis.shifts import last_rise
from runbook_lib.analysis.signals import Points, combined, end_epoch, is_fresh, recent_level, step_seconds, worst
from runbook_lib.analysis.thresholds import THRESHOLDS
from runbook_lib.errors import ParameterError
from runbook_lib.model import Evidence, Finding, Gap, Objective, Quantity, Role, Severity
from runbook_lib.model.times import clock, duration, from_epoch
from runbook_lib.model.units import format_value

_QUESTION = "whether latency keeps its objective"
#: A rate looks back about a minute, so the first sample over the limit already speaks about that minute.
_RATE_SECONDS = 60


def objective_breached(latency: Evidence | Gap, objective: Objective, *, traffic: Given = None) -> Finding:
    """Hold latency against its objective.

    Args:
        latency: the objective's quantile of latency over time, seconds.
        objective: a latency objective.
        traffic: requests per second over time; with it, a breach that rests on too few requests is unknown.

    Returns:
        The symptom while it lasts; context when it is over; ruled out (cause ``none``) when there was none; severity
        unknown when the evidence cannot tell. The symptom's cause is ``unknown`` until ``weigh`` finds one.

    Raises:
        ParameterError: the objective is not one of latency.
    """
    limit = objective.threshold_seconds
    if limit is None:
        raise ParameterError(
            f"objective {objective.name!r} is of kind {objective.kind!r}; a latency objective is needed"
        )
    if isinstance(latency, Gap) or not has_samples(latency):
        return untold(_QUESTION, latency)
    points = worst(latency.series)
    if not is_fresh(points, end_epoch(latency)):
        age = duration(end_epoch(latency) - points[-1][0])
        return untold(_QUESTION, latency, f"the newest sample is {age} old, so nothing is known about now")
    over = [p for p in points if p[1] >= limit]
    if not _is_over_now(points, limit):
        return _kept(latency, points, over, objective, limit, traffic)
    start = _start(points, limit)
    symptom = _breach(latency, points, over, objective, limit, start)
    return _unless_too_few(symptom, traffic, start)


def _is_over_now(points: Points, limit: float) -> bool:
    """Whether the newest sample misses the objective together with another of the newest three, or by half as much.

    A quantile over a minute of requests is no outlier; a sample just over the limit, alone, is noise at the limit.
    """
    newest = [v for _, v in points[-3:]]
    return newest[-1] >= limit and (sum(v >= limit for v in newest) >= 2 or newest[-1] >= 1.5 * limit)


def _start(points: Points, limit: float) -> float:
    """Start of the lasting breach, epoch seconds: up to two samples below the limit, or a hole, do not end it."""
    start, below = points[-1][0], 0
    for t, v in reversed(points):
        if v >= limit:
            start, below = t, 0
        else:
            below += 1
            if below > 2:
                break
    return start


def _breach(
    latency: Evidence, points: Points, over: Points, objective: Objective, limit: float, start: float
) -> Finding:
    worst_value = max(v for t, v in points if t >= start)
    level = max(points[-1][1], recent_level(points) or limit)
    shift = last_rise(points)
    lasted = max(end_epoch(latency) - start, 0)
    whole = start <= points[0][0]
    # The newest sample alone lasts no time that anybody could read.
    long = duration(lasted) if lasted >= step_seconds(points) else "just now"
    when = "for the whole window" if whole else f"since {clock(from_epoch(start))} UTC ({long})"
    share = len(over) / len(points)
    before = f", from {format_value(shift.before, 's')}" if shift else ""
    title = (
        f"p{objective.target * 100:g} latency is {format_value(level, 's')}{before}, over the objective of "
        f"{format_value(limit, 's')} {when}; worst {format_value(worst_value, 's')}, "
        f"missed in {format_value(share, 'ratio')} of the window"
    )
    since = min(start, shift.at) if shift and start - shift.at <= 10 * step_seconds(points) else start
    finding = found(
        "unknown",
        Severity.CRITICAL,
        title,
        latency,
        observed=Quantity(level, "s"),
        since=from_epoch(since),
        confidence=0.95,
        subject={"breached_since": start, "worst_seconds": worst_value, "window_share": round(share, 4)},
        role=Role.SYMPTOM,
    )
    return _against(finding, objective, limit)


def _kept(
    latency: Evidence, points: Points, over: Points, objective: Objective, limit: float, traffic: Given
) -> Finding:
    median = recent_level(points)
    level = median if median is not None and median < limit else points[-1][1]
    now = f"p{objective.target * 100:g} latency is {format_value(level, 's')}, within the objective of "
    now += format_value(limit, "s")
    if _too_few(traffic, points[0][0], points[-1][0]):
        return untold(_QUESTION, latency, f"{now}, but fewer than {_least()} requests came in the window")
    if len(over) < 2:
        worst_value = max(v for _, v in points)
        title = f"{now}; worst in the window {format_value(worst_value, 's')}"
        return _against(ruled_out("none", title, latency, observed=Quantity(level, "s")), objective, limit)
    last = over[-1][0]
    title = (
        f"{now}; it was over it for {duration(len(over) * step_seconds(points))} of the window, "
        f"until {clock(from_epoch(last))} UTC, worst {format_value(max(v for _, v in over), 's')}"
    )
    past = found(
        "none",
        Severity.NOTE,
        title,
        latency,
        observed=Quantity(level, "s"),
        since=from_epoch(over[0][0]),
        confidence=0.5,
        role=Role.CONTEXT,
    )
    return _against(past, objective, limit)


def _against(finding: Finding, objective: Objective, limit: float) -> Finding:
    return replace(finding, threshold=Quantity(limit, "s"), threshold_source=f"objective {objective.name}: {objective}")


def _least() -> str:
    return format_value(THRESHOLDS["min_events"].value, "count")


def _too_few(traffic: Given, start: float, end: float) -> bool:
    """Whether traffic is known to be too little to prove anything; traffic that is not known proves nothing either."""
    if not isinstance(traffic, Evidence) or not has_samples(traffic):
        return False
    points = combined(traffic.series)
    # The usual rate, not the present one: requests that hang are not counted yet, and that is no want of traffic.
    usual = statistics.median(v for _, v in points)
    return usual * (end - start) < THRESHOLDS["min_events"].value


def _unless_too_few(symptom: Finding, traffic: Given, start: float) -> Finding:
    if not isinstance(traffic, Evidence) or not _too_few(traffic, start - _RATE_SECONDS, end_epoch(traffic)):
        return symptom
    return untold(
        _QUESTION,
        traffic,
        f"{symptom.title}, but that rests on fewer than {_least()} requests: insufficient traffic",
    )
