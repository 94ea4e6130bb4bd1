"""What ails the cache: slow commands, evictions, no connection or processor time left."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from runbook_lib.analysis.claims import Given, found, has_no_room, ruled_out, untold
from runbook_lib.analysis.thresholds import THRESHOLDS
from runbook_lib.model import Evidence, Finding, Gap, Quantity, Role, Severity
from runbook_lib.model.times import from_epoch
from runbook_lib.model.units import format_value

#: A slow command speaks about now when it ran within this time, seconds: rates look back a minute, too.
_RECENT_SECONDS = 60.0
_LEAST_SPAN_SECONDS = 10.0


def cache(info: Evidence | Gap, slowlog: Given = None, latency: Given = None) -> tuple[Finding, ...]:
    """Look for a cause in the cache.

    Args:
        info: two readings of ``INFO``: rates, ratios and limits.
        slowlog: slow commands, one row each: ``at`` (epoch seconds), ``seconds``, ``command``.
        latency: answers to ``PING`` as measured, seconds.

    Returns:
        ``redis.slow``, ``redis.evicting`` and ``redis.saturated``, each found or ruled out by its number.
    """
    full = _refused(info, slowlog, latency)
    if full:
        return (full,)
    findings = list(_halting(info, slowlog, latency) or _slow(slowlog, latency))
    if isinstance(info, Gap):
        return (*findings, untold("whether the cache evicts or is saturated", info))
    slow = any(one.cause == "redis.slow" and one.role is Role.CAUSE for one in findings)
    return (*findings, _evicting(info), _saturated(info, slow))


def _refused(*given: Given) -> Finding | None:
    """A connection that the cache refuses for want of room is the finding itself."""
    for one in given:
        if isinstance(one, Gap) and has_no_room(one):
            return found(
                "redis.saturated",
                Severity.CRITICAL,
                f"the cache refuses new connections: {one.reason}",
                one,
                limit="cache_clients_ratio",
                confidence=0.95,
                subject={"by": "connections"},
            )
    return None


def _halting(*given: Given) -> list[Finding]:
    """``redis.slow`` when some questions get their answer and others none in time: it is there, and held up."""
    late = [one for one in given if isinstance(one, Gap) and one.kind == "timeout"]
    if not late or not any(isinstance(one, Evidence) for one in given):
        return []
    title = f"some questions are answered, others not in time: {late[0].reason}"
    return [found("redis.slow", Severity.CRITICAL, title, *given, limit="ping_seconds", confidence=0.6)]


def _slow(slowlog: Given, latency: Given) -> list[Finding]:
    """``redis.slow`` from the log of slow commands and from what a PING takes."""
    if slowlog is None and latency is None:
        return []
    given = [one for one in (slowlog, latency) if isinstance(one, Evidence)]
    if not given:
        return [untold("whether the cache is slow", next(one for one in (latency, slowlog) if isinstance(one, Gap)))]
    commands = _recent(slowlog)
    share = _blocked_share(commands)
    slowest = max(commands, key=lambda one: (one.seconds, one.name), default=None)
    ping = _ping(latency)
    parts = [f"{len(commands)} slow commands in the last minute"] if slowlog in given else []
    parts += [f"they block it for {format_value(share, 'ratio')} of the time"] if commands else []
    parts += [f"the slowest, {slowest.name}, took {format_value(slowest.seconds, 's')}"] if slowest else []
    parts += [f"PING takes {format_value(ping, 's')}"] if ping is not None else []
    blocked = share >= THRESHOLDS["blocked_ratio"].value
    sluggish = ping is not None and ping >= THRESHOLDS["ping_seconds"].value
    by_ping = sluggish and not blocked
    observed = Quantity(ping, "s") if by_ping else Quantity(share, "ratio")
    limit = "ping_seconds" if by_ping else "blocked_ratio"
    if not blocked and not sluggish:
        return [ruled_out("redis.slow", ", ".join(parts), *given, observed=observed, limit=limit)]
    return [
        found(
            "redis.slow",
            Severity.CRITICAL if blocked else Severity.WARNING,
            ", ".join(parts),
            *given,
            observed=observed,
            limit=limit,
            since=from_epoch(min(one.at for one in commands)) if commands else None,
            confidence=0.9 if blocked else 0.45,
            subject={"command": slowest.name, "client": slowest.client} if slowest else {},
        )
    ]


@dataclass(frozen=True, slots=True)
class _Command:
    """One slow command: when it ended (epoch seconds), how long it took (seconds), what it was and whose."""

    at: float
    seconds: float
    name: str
    client: str
    age_seconds: float


def _recent(slowlog: Given) -> list[_Command]:
    """Slow commands of the last minutes; the log's times are the cache's own clock."""
    if not isinstance(slowlog, Evidence):
        return []
    now = slowlog.read_at.timestamp()
    commands = []
    for row in slowlog.table.records():
        at, seconds = number(row, "at"), number(row, "seconds")
        if at is None or seconds is None or seconds < THRESHOLDS["command_seconds"].value:
            continue
        if now - at <= _RECENT_SECONDS:
            who = str(row.get("client") or "")
            name = " ".join(str(row.get(key)) for key in ("command", "key") if row.get(key))
            commands.append(_Command(at, seconds, name or "?", who, max(now - at, 0.0)))
    return commands


def _blocked_share(commands: list[_Command]) -> float:
    """Share of the time in which slow commands blocked the cache, since the oldest of them but at least ten seconds.

    From the oldest, because the log holds the newest 128 only; at least ten seconds, so that one command right now
    is not taken for all of the time.
    """
    if not commands:
        return 0.0
    span = max(*(one.age_seconds + one.seconds for one in commands), _LEAST_SPAN_SECONDS)
    return min(math.fsum(one.seconds for one in commands) / span, 1.0)


def _ping(latency: Given) -> float | None:
    """The median of what PING took, seconds: one slow answer is as likely our own machine's doing."""
    values = [v for one in latency.series for _, v in one.points()] if isinstance(latency, Evidence) else []
    return statistics.median(values) if values else None


def _evicting(info: Evidence) -> Finding:
    fields = info.document
    evicted, memory, hits = (number(fields, key) for key in ("evicted_per_second", "memory_ratio", "hit_ratio"))
    refused = _refuses_writes(fields, memory)
    if evicted is None:
        return untold("whether the cache evicts", info)
    misses = 1 - hits if hits is not None else None
    parts = [f"{format_value(evicted, '1/s')} entries evicted"]
    parts += [f"memory {format_value(memory, 'ratio')} full"] if memory is not None else ["no memory limit"]
    parts += [f"{format_value(misses, 'ratio')} of reads miss"] if misses is not None else []
    parts += ["writes are refused (noeviction)"] if refused else []
    observed = Quantity(misses, "ratio")
    missing = misses is not None and misses >= THRESHOLDS["miss_ratio"].value
    # A full cache that evicts what nobody asks for does its work; it is at fault when reads miss.
    if not refused and not (evicted > 0 and missing):
        return ruled_out("redis.evicting", ", ".join(parts), info, observed=observed, limit="miss_ratio")
    return found(
        "redis.evicting",
        Severity.CRITICAL,
        ", ".join(parts),
        info,
        observed=observed,
        limit="miss_ratio",
        confidence=0.85,
        subject={"evicted_per_second": evicted, "maxmemory_policy": fields.get("maxmemory_policy")},
    )


def _refuses_writes(fields: Mapping[str, Any], memory: float | None) -> bool:
    """Full, not allowed to evict, and answering with errors: full all the same."""
    full = (memory or 0.0) >= THRESHOLDS["memory_ratio"].value
    return full and fields.get("maxmemory_policy") == "noeviction" and (number(fields, "errors_per_second") or 0.0) > 0


def _saturated(info: Evidence, slow: bool) -> Finding:
    fields = info.document
    cpu, share = number(fields, "cpu_ratio"), number(fields, "clients_ratio")
    rejected = number(fields, "rejected_connections_per_second")
    parts = [f"the main thread uses {format_value(cpu, 'ratio')} of a processor"] if cpu is not None else []
    parts += [f"{format_value(share, 'ratio')} of the connections are taken"] if share is not None else []
    parts += [f"{format_value(rejected, '1/s')} connections are rejected"] if rejected else []
    if not parts:
        return untold("whether the cache is saturated", info)
    full = (share or 0.0) >= THRESHOLDS["cache_clients_ratio"].value or (rejected or 0.0) > 0
    busy = (cpu or 0.0) >= THRESHOLDS["cache_cpu_ratio"].value
    observed, limit = (
        (Quantity(share, "ratio"), "cache_clients_ratio") if full else (Quantity(cpu, "ratio"), "cache_cpu_ratio")
    )
    if not full and not busy:
        return ruled_out("redis.saturated", ", ".join(parts), info, observed=observed, limit=limit)
    return found(
        "redis.saturated",
        Severity.CRITICAL,
        ", ".join(parts),
        info,
        observed=observed,
        limit=limit,
        confidence=0.85 if full else 0.5 if slow else 0.75,
        subject={"by": "connections" if full else "processor"},
    )


def number(fields: Mapping[str, Any], name: str) -> float | None:
    """A finite number of a document or a row; None when it is missing or no number."""
    value = fields.get(name)
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
