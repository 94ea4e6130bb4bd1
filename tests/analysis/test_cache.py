"""The cache."""

from __future__ import annotations

from typing import Any

import pytest

from runbook_lib import analysis
from runbook_lib.model import Evidence, Finding, Gap, Role, Severity
from runbook_lib.model.evidence import Scalar

from .builders import END, document, gap, series, table

NOW = END.timestamp()
USUAL = {
    "evicted_per_second": 0.0, "memory_ratio": 0.2, "hit_ratio": 0.97, "cpu_ratio": 0.05, "clients_ratio": 0.01,
    "rejected_connections_per_second": 0.0, "errors_per_second": 0.0, "maxmemory_policy": "allkeys-lru",
}  # fmt: skip


def info(**fields: Any) -> Evidence:
    """Two readings of INFO."""
    return document("redis", "info", **{**USUAL, **fields})


def slowlog(*commands: tuple[float, float]) -> Evidence:
    """Slow commands as seconds ago and seconds taken."""
    rows: list[dict[str, Scalar]] = [
        {"at": NOW - ago, "seconds": took, "command": "KEYS", "key": "*", "client": "cron"} for ago, took in commands
    ]
    return table("redis", "slowlog", rows)


def pings(*seconds: float) -> Evidence:
    """Answers to PING."""
    return series("latency_seconds", "s", {"": [(NOW + i, s) for i, s in enumerate(seconds)]})


def claimed(found: tuple[Finding, ...]) -> dict[str, Finding]:
    """Cause to finding, for what is claimed."""
    return {one.cause: one for one in found if one.role is Role.CAUSE}


PROMPT = pings(*[0.0003] * 20)
BLOCKING = slowlog(*[(3.0 * i, 0.4) for i in range(1, 20)])


def test_a_calm_cache_is_ruled_out_three_times() -> None:
    """A healthy cache is neither slow, nor evicting, nor saturated, each with its number."""
    found = analysis.cache(info(), slowlog(), PROMPT)
    assert ["redis.slow", "redis.evicting", "redis.saturated"] == [one.cause for one in found]
    assert all(one.role is Role.RULED_OUT and one.observed is not None for one in found)


def test_slow_commands_that_block_the_cache_are_named() -> None:
    """Commands that block the one thread for a tenth of the time are the cause, and the command is named."""
    found = claimed(analysis.cache(info(), BLOCKING, PROMPT))
    assert ("KEYS *", Severity.CRITICAL) == (found["redis.slow"].subject["command"], found["redis.slow"].severity)


@pytest.mark.parametrize(
    "commands",
    [((50.0, 0.015),), ((90.0, 6.0), (70.0, 6.0)), ((50.0, 0.02), (30.0, 0.03))],
    ids=["one, barely slow", "over for a minute", "a few in a minute"],
)
def test_rare_slow_commands_are_ruled_out(commands: tuple[tuple[float, float], ...]) -> None:
    """What blocks the cache for less than a twentieth of the time does not move a p95."""
    assert {} == claimed(analysis.cache(info(), slowlog(*commands), PROMPT))


def test_a_cache_that_answers_ping_late_is_slow() -> None:
    """A late PING without slow commands is slow, said with less weight."""
    found = claimed(analysis.cache(info(), slowlog(), pings(*[0.15] * 20)))
    assert Severity.WARNING is found["redis.slow"].severity


def test_one_late_ping_is_noise() -> None:
    """One late answer of twenty may be our own machine's doing."""
    assert {} == claimed(analysis.cache(info(), slowlog(), pings(*[0.0003] * 19, 0.2)))


@pytest.mark.parametrize(
    ("fields", "cause"),
    [
        ({"evicted_per_second": 400.0, "memory_ratio": 1.0, "hit_ratio": 0.4}, "redis.evicting"),
        ({"memory_ratio": 1.0, "maxmemory_policy": "noeviction", "errors_per_second": 5.0}, "redis.evicting"),
        ({"cpu_ratio": 0.99}, "redis.saturated"),
        ({"clients_ratio": 0.95}, "redis.saturated"),
        ({"rejected_connections_per_second": 3.0}, "redis.saturated"),
    ],
    ids=["evicts what is asked for", "refuses writes", "processor", "connections", "rejections"],
)
def test_what_ails_the_cache_is_named(fields: dict[str, Any], cause: str) -> None:
    """Each exhaustion of the cache has its own cause."""
    assert {cause} == set(claimed(analysis.cache(info(**fields), slowlog(), PROMPT)))


@pytest.mark.parametrize(
    "fields",
    [
        {"evicted_per_second": 20.0, "memory_ratio": 1.0, "hit_ratio": 0.97},
        {"hit_ratio": 0.3},
        {"memory_ratio": None, "hit_ratio": None},
    ],
    ids=["evicts what nobody asks for", "cold, but not full", "no limit, no reads"],
)
def test_a_cache_that_does_its_work_is_ruled_out(fields: dict[str, Any]) -> None:
    """A full cache that hits, a cold one, and an unused one are no causes."""
    assert {} == claimed(analysis.cache(info(**fields), slowlog(), PROMPT))


def test_slow_commands_explain_a_saturated_thread() -> None:
    """A main thread that slow commands keep busy is one cause, not two."""
    found = analysis.weigh(analysis.cache(info(cpu_ratio=1.0), BLOCKING, PROMPT))
    assert ["redis.slow"] == [one.cause for one in found if one.role is Role.CAUSE]


def test_a_silent_cache_is_unknown() -> None:
    """Without any answer nothing is ruled out."""
    missing = gap("redis", "info", "timeout")
    assert {Severity.UNKNOWN} == {one.severity for one in analysis.cache(missing, missing, missing)}


def test_a_refused_connection_is_itself_the_finding() -> None:
    """A cache that has no connection for us has none for the service."""
    full = Gap("redis", "info", "info", "ERR max number of clients reached", "answer", True, END)
    assert {"redis.saturated"} == set(claimed(analysis.cache(full, full, full)))


def test_a_cache_that_answers_now_and_then_is_slow() -> None:
    """Questions that time out beside others that are answered tell of a cache that is held up, not gone."""
    late = gap("redis", "latency_seconds", "timeout")
    claims = [*analysis.cache(info(), slowlog(), late), Finding("redis.unreachable", Severity.CRITICAL, "calls fail")]
    found = analysis.weigh(claims, [late])
    assert ["redis.slow"] == [one.cause for one in found if one.role is Role.CAUSE]


def test_info_without_its_fields_is_unknown() -> None:
    """An answer that lacks the numbers does not make the cache healthy."""
    found = analysis.cache(document("redis", "info", version="9"), None, None)
    assert {Severity.UNKNOWN} == {one.severity for one in found}
