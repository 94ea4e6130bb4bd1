"""Is the service's own connection pool used up, and is that its own doing."""

from __future__ import annotations

from runbook_lib.analysis.claims import Given, found, has_samples, ruled_out, untold
from runbook_lib.analysis.dependency import kind_of
from runbook_lib.analysis.shifts import last_rise
from runbook_lib.analysis.signals import Points, by_label, combined, end_epoch, is_fresh, recent_level, worst
from runbook_lib.analysis.thresholds import THRESHOLDS
from runbook_lib.model import Evidence, Finding, Gap, Quantity, Severity
from runbook_lib.model.units import format_value

_QUESTION = "whether the connection pool is used up"


def pool(
    connections: Evidence | Gap,
    wait: Evidence | Gap,
    *,
    waiting: Given = None,
    time_in_dependencies: Given = None,
    traffic: Given = None,
    objective_seconds: float = 0.2,
) -> tuple[Finding, ...]:
    """Say whether requests wait because no connection of the pool is free.

    By Little's law the connections in use are the rate of requests times the time that each holds one. Where neither
    rose, connections are taken and not given back.

    Args:
        connections: connections used over the size of the pool by pod, 0 to 1.
        wait: a quantile of the wait for a connection over time, seconds.
        waiting: requests that wait for a connection by pod.
        time_in_dependencies: seconds per second in each dependency: the mean number of calls under way.
        traffic: requests per second.
        objective_seconds: the service's own latency objective, seconds.

    Returns:
        ``db.connections_saturated`` with ``subject`` ``{"scope": "pool", "leak": bool}``, ruled out, or unknown.
    """
    usable = [one for one in (connections, wait) if isinstance(one, Evidence) and _fresh_worst(one)]
    if not usable:
        return (untold(_QUESTION, connections if isinstance(connections, Gap) else wait),)
    used, waited, queued = _level(connections), _level(wait), _level(waiting)
    title = _title(used, waited, queued)
    full = used is not None and used >= THRESHOLDS["pool_ratio"].value
    waits = _is_waited_for(full, waited, queued, objective_seconds)
    by_use = used is not None and (full or not waits)
    observed = Quantity(used, "ratio") if by_use else Quantity(waited, "s")
    limit = "pool_ratio" if by_use else "pool_wait_seconds"
    if not waits:
        return (ruled_out("db.connections_saturated", title, *usable, observed=observed, limit=limit),)
    leak = full and _never_given_back(time_in_dependencies, traffic)
    shift = last_rise(_fresh_worst(wait)) or last_rise(_fresh_worst(connections))
    return (
        found(
            "db.connections_saturated",
            Severity.CRITICAL,
            f"{title}{'; calls and their time did not rise: connections are not given back' if leak else ''}",
            *usable,
            observed=observed,
            limit=limit,
            since=shift.since if shift else None,
            confidence=0.75 if leak else 0.5,
            subject={"scope": "pool", "leak": leak},
        ),
    )


def _is_waited_for(full: bool, waited: float | None, queued: float | None, objective_seconds: float) -> bool:
    """Whether requests wait for a connection: long for one, or noticeably while the pool is full or a queue stands.

    Without a full pool or a queue a short wait is a busy processor; a long one is a pool that cannot grow.
    """
    if waited is not None and waited >= objective_seconds * THRESHOLDS["dependency_share"].value:
        return True
    noticed = waited is None or waited >= THRESHOLDS["pool_wait_seconds"].value
    return noticed and (full or (queued or 0.0) >= 1)


def _fresh_worst(given: Given) -> Points:
    if not isinstance(given, Evidence) or not has_samples(given):
        return []
    points = worst(given.series)
    return points if is_fresh(points, end_epoch(given)) else []


def _level(given: Given) -> float | None:
    return recent_level(_fresh_worst(given))


def _title(used: float | None, waited: float | None, queued: float | None) -> str:
    parts = []
    if used is not None:
        parts.append(f"the fullest pool uses {format_value(used, 'ratio')} of its connections")
    if waited is not None:
        parts.append(f"requests wait {format_value(waited, 's')} for a connection")
    if queued:
        parts.append(f"{format_value(queued, 'count')} are waiting now")
    return ", ".join(parts)


def _never_given_back(time_in: Given, traffic: Given) -> bool:
    """Whether a full pool has no demand behind it; without evidence that is not claimed."""
    if not isinstance(time_in, Evidence) or not isinstance(traffic, Evidence) or not has_samples(traffic):
        return False
    calls = [points for name, points in by_label(time_in, "dependency").items() if kind_of(name) == "database"]
    return bool(calls) and not any(map(last_rise, calls)) and last_rise(combined(traffic.series)) is None
