"""Are the pods CPU bound: use against the limit, and throttling, which averages hide."""

from __future__ import annotations

import math
import statistics
from datetime import datetime

from runbook_lib.analysis.claims import Given, found, has_samples, ruled_out, untold
from runbook_lib.analysis.shifts import last_rise
from runbook_lib.analysis.signals import Points, by_label, combined, end_epoch, is_fresh, recent_level
from runbook_lib.analysis.thresholds import THRESHOLDS
from runbook_lib.model import Evidence, Finding, Gap, Quantity, Severity
from runbook_lib.model.units import format_value

_QUESTION = "whether the pods are CPU bound"


def saturated(
    cpu: Evidence | Gap, throttled: Evidence | Gap, *, time_in_dependencies: Given = None, traffic: Given = None
) -> tuple[Finding, ...]:
    """Say whether the pods use all the processor time they may.

    Args:
        cpu: processor time over the limit by pod, 0 to 1.
        throttled: share of throttled periods by pod, 0 to 1.
        time_in_dependencies: seconds per second that requests wait for other systems, by dependency; shown beside
            the finding, because waiting for others is what rules a CPU-bound service out.
        traffic: requests per second, to say what a request waits on average, and whether each costs more than before.

    Returns:
        ``app.cpu_bound`` when half of the pods or more reach 90 % of their limit or are stopped in a quarter of the
        periods; else ruled out; unknown without either evidence. ``subject`` names the ``pods`` and ``work_factor``:
        processor time for each request as a multiple of before.
    """
    usable = [one for one in (cpu, throttled) if isinstance(one, Evidence) and _levels(one)]
    if not usable:
        missing = next((one for one in (cpu, throttled) if isinstance(one, Gap)), cpu)
        return (untold(_QUESTION, missing),)
    use, stopped = _levels(cpu), _levels(throttled)
    busy = [pod for pod, level in use.items() if level >= THRESHOLDS["cpu_ratio"].value]
    held = [pod for pod, level in stopped.items() if level >= THRESHOLDS["throttled_ratio"].value]
    hot, pods = sorted({*busy, *held}), sorted({*use, *stopped})
    title = _title(use, stopped, hot, pods) + _waits(time_in_dependencies, traffic)
    by_use = bool(busy) or not stopped
    observed = Quantity(statistics.median((use if by_use else stopped).values()), "ratio")
    limit = "cpu_ratio" if by_use else "throttled_ratio"
    # One hot pod of many is a hot shard, not a service short of processor time.
    if len(hot) * 2 < len(pods) or not hot:
        return (ruled_out("app.cpu_bound", title, *usable, observed=observed, limit=limit),)
    return (
        found(
            "app.cpu_bound",
            Severity.CRITICAL,
            title,
            *usable,
            time_in_dependencies if isinstance(time_in_dependencies, Evidence) else None,
            observed=observed,
            limit=limit,
            since=_since(usable),
            confidence=0.8 if busy and held else 0.7,
            subject={"pods": hot, "work_factor": _work_factor(cpu, traffic)},
        ),
    )


def _levels(given: Evidence | Gap) -> dict[str, float]:
    """Pod to its present level; pods that are gone by now are left out."""
    if isinstance(given, Gap) or not has_samples(given):
        return {}
    now = end_epoch(given)
    lines = {pod: points for pod, points in by_label(given, "pod").items() if points and is_fresh(points, now)}
    return {pod: level for pod, points in lines.items() if (level := recent_level(points)) is not None}


def _title(use: dict[str, float], stopped: dict[str, float], hot: list[str], pods: list[str]) -> str:
    parts = []
    if use:
        parts.append(f"pods use {format_value(statistics.median(use.values()), 'ratio')} of their CPU limit (median)")
    if stopped:
        parts.append(f"are throttled in {format_value(statistics.median(stopped.values()), 'ratio')} of the periods")
    return f"{' and '.join(parts)}; {len(hot)} of {len(pods)} pods at their limit"


def _waits(time_in: Given, traffic: Given) -> str:
    if not isinstance(time_in, Evidence) or not isinstance(traffic, Evidence):
        return ""
    waiting, rate = recent_level(combined(time_in.series)), recent_level(combined(traffic.series))
    if waiting is None or not rate:
        return ""
    return f"; a request waits {format_value(waiting / rate, 's')} for other systems on average"


def _since(usable: list[Evidence]) -> datetime | None:
    """The earlier of the moments at which use or throttling rose to the present level."""
    shifts = [last_rise(_mean_line(one)) for one in usable]
    return min((shift.since for shift in shifts if shift), default=None)


def _work_factor(cpu: Evidence | Gap, traffic: Given) -> float:
    """Processor time for each request, now as a multiple of before; 1 when it cannot be told.

    A sum over pods: ten pods at half their limit work as much as five at all of it. A limit caps what is seen, so the
    true factor may be larger.
    """
    if not isinstance(cpu, Evidence) or not isinstance(traffic, Evidence) or not has_samples(traffic):
        return 1.0
    rates = dict(combined(traffic.series))
    each = [(t, use / rates[t]) for t, use in combined(cpu.series) if rates.get(t, 0.0) > 0]
    shift = last_rise(each)
    return round(shift.factor, 2) if shift and math.isfinite(shift.factor) else 1.0


def _mean_line(evidence: Evidence) -> Points:
    return combined(evidence.series, statistics.fmean)
