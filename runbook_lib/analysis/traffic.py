"""Is it driven by traffic: latency that rose because more requests arrive."""

from __future__ import annotations

import math

from runbook_lib.analysis.claims import found, has_samples, ruled_out, untold
from runbook_lib.analysis.shifts import Shift, last_rise, rise_after
from runbook_lib.analysis.signals import Points, combined, end_epoch, is_fresh, recent_level, worst
from runbook_lib.analysis.thresholds import THRESHOLDS
from runbook_lib.model import Evidence, Finding, Gap, Quantity, Role, Severity
from runbook_lib.model.times import clock, duration
from runbook_lib.model.units import format_value

_QUESTION = "whether traffic drives it"
#: How far apart two changes of rates over a minute may be seen and still be one event.
_SAME_EVENT_SECONDS = 120


def driven_by(latency: Evidence | Gap, traffic: Evidence | Gap) -> tuple[Finding, ...]:
    """Hold the rise of latency against the rise of traffic.

    Args:
        latency: a latency quantile over time, seconds.
        traffic: requests per second over time.

    Returns:
        ``traffic.surge`` when traffic rose by half or more no later than latency did; context when traffic rose and
        latency did not; else ruled out by the numbers.
    """
    if isinstance(traffic, Gap) or not has_samples(traffic):
        return (untold(_QUESTION, traffic),)
    points = combined(traffic.series)
    if not is_fresh(points, end_epoch(traffic)):
        return (untold(_QUESTION, traffic, "the newest sample is too old to speak about now"),)
    surge = last_rise(points, THRESHOLDS["traffic_factor"].value)
    if surge is None:
        return (_steady(points, traffic),)
    if not math.isfinite(surge.factor):
        title = f"traffic began at {clock(surge.since)} UTC; there was none before to compare with"
        return (ruled_out("traffic.surge", title, traffic, observed=Quantity(surge.after, "1/s")),)
    if isinstance(latency, Gap) or not has_samples(latency):
        return (untold(_QUESTION, latency),)
    return (_compare(latency, traffic, surge),)


def _steady(points: Points, traffic: Evidence) -> Finding:
    usual, now = recent_level(points, len(points)), recent_level(points)
    title = f"traffic is {format_value(now, '1/s')}, against {format_value(usual, '1/s')} over the window"
    factor = now / usual if now is not None and usual else None
    return ruled_out("traffic.surge", title, traffic, observed=Quantity(factor, ""), limit="traffic_factor")


def _compare(latency: Evidence, traffic: Evidence, surge: Shift) -> Finding:
    rose = (
        f"traffic rose {surge.factor:.1f} times, from {format_value(surge.before, '1/s')} to "
        f"{format_value(surge.after, '1/s')}, at {clock(surge.since)} UTC"
    )
    observed, points = Quantity(surge.factor, ""), worst(latency.series)
    shift = rise_after(points, surge.at, _SAME_EVENT_SECONDS)
    if shift is not None:
        return found(
            "traffic.surge",
            Severity.CRITICAL,
            f"{rose}; latency followed from {format_value(shift.before, 's')} to {format_value(shift.after, 's')}",
            traffic,
            latency,
            observed=observed,
            limit="traffic_factor",
            since=surge.since,
            confidence=0.85,
            subject={"requests_per_second": round(surge.after, 2), "before": round(surge.before, 2)},
        )
    other = last_rise(points)
    if other is None:
        return found(
            "traffic.surge",
            Severity.NOTE,
            f"{rose}; latency did not follow",
            traffic,
            latency,
            observed=observed,
            limit="traffic_factor",
            since=surge.since,
            confidence=0.2,
            role=Role.CONTEXT,
        )
    lag = other.at - surge.at
    when = (
        "before latency did: latency stood it until then" if lag > 0 else "after latency did: an effect, not the cause"
    )
    title = f"{rose}, {duration(abs(lag))} {when}"
    return ruled_out("traffic.surge", title, traffic, latency, observed=observed, limit="traffic_factor")
