"""Are the pods CPU bound: use against the limit, and throttling, which averages hide."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from datetime import datetime

from runbook_lib.analysis.claims import Given, found, has_samples, ruled_out, untold
from runbook_lib.analysis.shifts import last_rise
from runbook_lib.analysis.signals import Points, by_label, combined, end_epoch, present, recent_level, worst
from runbook_lib.analysis.thresholds import THRESHOLDS
from runbook_lib.model import Evidence, Finding, Gap, Quantity, Severity
from runbook_lib.model.units import format_value

_QUESTION = "whether the pods are CPU bound"


def saturated(
    cpu: Evidence | Gap,
    throttled: Evidence | Gap,
    *,
    time_in_dependencies: Given = None,
    traffic: Given = None,
    latency: Given = None,
) -> tuple[Finding, ...]:
    """Say whether the service is short of processor time.

    Args:
        cpu: processor time over the limit by pod, 0 to 1.
        throttled: share of throttled periods by pod, 0 to 1.
        time_in_dependencies: seconds per second that requests wait for other systems, by dependency.
        traffic: requests per second, to say what a request waits on average, and whether each costs more than before.
        latency: a latency quantile over time, seconds; with it a node that is short of processors is found, too.

    Returns:
        ``app.cpu_bound`` when half of the pods or more reach 90 % of their limit or are stopped in a quarter of the
        periods, or by elimination: requests cost more processor time, became slow, and hardly wait for others. Else
        ruled out; unknown without either evidence. ``subject`` names the ``pods`` and ``work_factor``: processor time
        for each request as a multiple of before.
    """
    usable = [one for one in (cpu, throttled) if isinstance(one, Evidence) and _levels(one)]
    if not usable:
        missing = next((one for one in (cpu, throttled) if isinstance(one, Gap)), cpu)
        return (untold(_QUESTION, missing),)
    pods, waits = _Pods(_levels(cpu), _levels(throttled)), _wait_seconds(time_in_dependencies, traffic)
    waiting = f"; a request waits {format_value(waits, 's')} for other systems on average" if waits is not None else ""
    title, work = f"{pods}{waiting}", _work_factor(cpu, traffic)
    starved = not pods.bound and _starved(work, waits, latency)
    if not pods.bound and not starved:
        return (ruled_out("app.cpu_bound", title, *usable, observed=pods.observed, limit=pods.limit),)
    return (
        found(
            "app.cpu_bound",
            Severity.CRITICAL,
            f"{title}; each costs {work:.1f} times the processor time of before" if starved else title,
            *usable,
            *(one for one in (time_in_dependencies, latency) if isinstance(one, Evidence)),
            observed=Quantity(work, "") if starved else pods.observed,
            limit="work_factor" if starved else pods.limit,
            since=_since(usable),
            confidence=0.5 if starved else 0.8 if pods.busy and pods.held else 0.7,
            subject={"pods": pods.hot, "work_factor": work, "starved": starved},
        ),
    )


@dataclass(frozen=True, slots=True)
class _Pods:
    """Pod to the share of its limit that it uses, and to the share of periods in which it was stopped."""

    use: dict[str, float]
    stopped: dict[str, float]

    @property
    def busy(self) -> list[str]:
        return [pod for pod, level in self.use.items() if level >= THRESHOLDS["cpu_ratio"].value]

    @property
    def held(self) -> list[str]:
        return [pod for pod, level in self.stopped.items() if level >= THRESHOLDS["throttled_ratio"].value]

    @property
    def hot(self) -> list[str]:
        return sorted({*self.busy, *self.held})

    @property
    def bound(self) -> bool:
        # One hot pod of many is a hot shard, not a service short of processor time.
        return bool(self.hot) and len(self.hot) * 2 >= len({*self.use, *self.stopped})

    @property
    def limit(self) -> str:
        return "cpu_ratio" if self.busy or not self.stopped else "throttled_ratio"

    @property
    def observed(self) -> Quantity:
        levels = self.use if self.limit == "cpu_ratio" else self.stopped
        return Quantity(statistics.median(levels.values()), "ratio")

    def __str__(self) -> str:
        parts = []
        if self.use:
            level = format_value(statistics.median(self.use.values()), "ratio")
            parts.append(f"pods use {level} of their CPU limit (median)")
        if self.stopped:
            level = format_value(statistics.median(self.stopped.values()), "ratio")
            parts.append(f"are throttled in {level} of the periods")
        return f"{' and '.join(parts)}; {len(self.hot)} of {len({*self.use, *self.stopped})} pods at their limit"


def _starved(work: float, wait_seconds: float | None, latency: Given) -> bool:
    """Whether requests that cost more became slow without waiting for others: then the node has no time for them.

    A pod on a crowded node never reaches its own limit.
    """
    if wait_seconds is None or not isinstance(latency, Evidence) or not has_samples(latency):
        return False
    shift = last_rise(worst(latency.series))
    own = shift is not None and wait_seconds <= shift.after * THRESHOLDS["wait_share"].value
    return own and work >= THRESHOLDS["work_factor"].value


def _levels(given: Evidence | Gap) -> dict[str, float]:
    """Pod to its present level; pods that are gone by now are left out."""
    if isinstance(given, Gap) or not has_samples(given):
        return {}
    lines = present(by_label(given, "pod"), end_epoch(given))
    return {pod: level for pod, points in lines.items() if (level := recent_level(points)) is not None}


def _wait_seconds(time_in: Given, traffic: Given) -> float | None:
    """What a request waits for other systems on average, seconds: time spent there over requests, each per second."""
    if not isinstance(time_in, Evidence) or not isinstance(traffic, Evidence):
        return None
    waiting, rate = recent_level(combined(time_in.series)), recent_level(combined(traffic.series))
    return waiting / rate if waiting is not None and rate else None


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
