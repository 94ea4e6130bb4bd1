"""Is a system behind the service slow or failing, as the service itself sees it."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from runbook_lib.analysis.claims import Given, found, has_samples, ruled_out, untold
from runbook_lib.analysis.shifts import Shift, last_rise
from runbook_lib.analysis.signals import Points, by_label, combined, end_epoch, is_fresh, recent_level, worst
from runbook_lib.analysis.thresholds import THRESHOLDS
from runbook_lib.model import Evidence, Finding, Gap, Quantity, Role, Series, Severity
from runbook_lib.model.times import clock
from runbook_lib.model.units import format_value

_QUESTION = "whether a dependency is slow"
_ERRORS_QUESTION = "whether a dependency fails"
#: Names under which services call their database and their cache; other names are dependencies of their own kind.
DATABASES = ("postgres", "postgresql", "database", "db", "pg")
CACHES = ("redis", "valkey", "cache")


@dataclass(frozen=True, slots=True)
class _Line:
    name: str
    level: float
    shift: Shift | None

    @property
    def factor(self) -> float:
        return self.shift.factor if self.shift else 1.0


def dependencies(
    latency: Evidence | Gap,
    errors: Evidence | Gap,
    *,
    traffic: Given = None,
    objective_seconds: float = 0.2,
    service_latency: Given = None,
) -> tuple[Finding, ...]:
    """Hold each dependency's latency and errors against its own past and against the objective.

    Args:
        latency: a latency quantile by dependency over time, seconds.
        errors: failed calls per second by dependency over time.
        traffic: requests per second of the service, which the errors are held against.
        objective_seconds: the service's own latency objective, seconds.
        service_latency: the service's own latency quantile over time, seconds; with it, a dependency that accounts
            for little of it is not accused.

    Returns:
        ``dependency.slow`` for each dependency that takes half of the objective or more, three times its own earlier
        level, and stands out from the others; ``dependency.slow``, ``db.unreachable`` or ``redis.unreachable`` for
        one whose calls fail; else ruled out. ``subject`` names the ``dependency``.
    """
    share = THRESHOLDS["latency_share"].value * (_level(service_latency, worst) or 0.0)
    return (*_slow(latency, objective_seconds, share), *_failing(errors, traffic))


def kind_of(dependency: str) -> str:
    """``"database"``, ``"cache"`` or ``"other"`` for a dependency's name."""
    name = dependency.casefold()
    return "database" if name in DATABASES else "cache" if name in CACHES else "other"


def _slow(latency: Evidence | Gap, objective_seconds: float, least_seconds: float) -> list[Finding]:
    if isinstance(latency, Gap) or not has_samples(latency):
        return [untold(_QUESTION, latency)]
    now = end_epoch(latency)
    lines = [
        _Line(name, level, last_rise(points))
        for name, points in by_label(latency, "dependency").items()
        if is_fresh(points, now) and (level := recent_level(points)) is not None
    ]
    if not lines:
        return [untold(_QUESTION, latency, "no dependency was called lately")]
    limit = max(objective_seconds * THRESHOLDS["dependency_share"].value, least_seconds)
    # Without a past to compare with, only a call that takes the whole objective by itself is slow.
    whole = max(limit, objective_seconds)
    return [
        _judge(latency, line, [one for one in lines if one is not line], limit if line.shift else whole)
        for line in lines
    ]


def _judge(latency: Evidence, line: _Line, others: list[_Line], limit: float) -> Finding:
    factor = THRESHOLDS["dependency_factor"].value
    observed = Quantity(line.level, "s")
    before = f", from {format_value(line.shift.before, 's')}" if line.shift else ""
    title = f"calls to {line.name} take {format_value(line.level, 's')}{before}"
    if line.level < limit or (line.shift is not None and line.factor < factor):
        return ruled_out("dependency.slow", title, latency, observed=observed, limit="dependency_share")
    # A service that is short of processor time measures every call as slow: one cause, seen from inside. A real
    # culprit stands out against the calls that nothing is wrong with.
    calm = statistics.median([one.factor for one in others]) if others else 1.0
    alone = line.factor >= calm * factor or (line.shift is None and all(one.level < line.level for one in others))
    since = line.shift.since if line.shift else None
    when = f", since {clock(since)} UTC" if since else ", for the whole window"
    if not alone:
        return found(
            "dependency.slow",
            Severity.NOTE,
            f"{title}{when}, but so do the other calls: the service itself is slow to read answers",
            latency,
            observed=observed,
            limit="dependency_factor",
            since=since,
            role=Role.CONTEXT,
        )
    return found(
        "dependency.slow",
        Severity.CRITICAL,
        f"{title}{when}",
        latency,
        observed=observed,
        limit="dependency_share",
        since=since,
        confidence=0.8 if kind_of(line.name) == "other" else 0.4,
        subject={"dependency": line.name},
    )


def _failing(errors: Evidence | Gap, traffic: Given) -> list[Finding]:
    if isinstance(errors, Gap) or not has_samples(errors):
        return [untold(_ERRORS_QUESTION, errors)]
    now = end_epoch(errors)
    requests = _level(traffic)
    return [
        _judge_errors(errors, name, points, requests)
        for name, points in by_label(errors, "dependency").items()
        if is_fresh(points, now)
    ]


def _level(given: Given, line: Callable[[Iterable[Series]], Points] = combined) -> float | None:
    return recent_level(line(given.series)) if isinstance(given, Evidence) else None


def _judge_errors(errors: Evidence, name: str, points: Points, requests: float | None) -> Finding:
    rate = recent_level(points) or 0.0
    causes = {"database": "db.unreachable", "cache": "redis.unreachable", "other": "dependency.slow"}
    cause = causes[kind_of(name)]
    share = rate / requests if requests else None
    title = f"calls to {name} fail {format_value(rate, '1/s')}"
    title += f", {format_value(share, 'ratio')} of the requests" if share is not None else ""
    observed = Quantity(share, "ratio") if share is not None else Quantity(rate, "1/s")
    few = share < THRESHOLDS["dependency_errors"].value if share is not None else rate <= 0
    if few:
        return ruled_out(
            cause, title, errors, observed=observed, limit="dependency_errors" if share is not None else ""
        )
    shift = last_rise(points, factor=2.0)
    return found(
        cause,
        Severity.CRITICAL,
        f"{title}{f', since {clock(shift.since)} UTC' if shift else ''}",
        errors,
        observed=observed,
        limit="dependency_errors" if share is not None else "",
        since=shift.since if shift else None,
        confidence=0.6,
        subject={"dependency": name},
    )
