"""Every number that a finding is held against, with where it comes from.

``docs/diagnosis.md`` shows this table and a test holds the two together. A threshold marked "convention" has no
single authoritative source: it is what practitioners use, and may be argued with.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from runbook_lib.model import Quantity


@dataclass(frozen=True, slots=True)
class Threshold:
    """One limit.

    Args:
        value: the number, in ``unit``.
        unit: one of ``model.units.UNITS``.
        meaning: what reaching it says.
        source: where the number comes from.
    """

    value: float
    unit: str
    meaning: str
    source: str

    @property
    def quantity(self) -> Quantity:
        """The number with its unit, as a finding carries it."""
        return Quantity(self.value, self.unit)


_WORKBOOK = "Google SRE Workbook, table 5-8"
_MIXIN = "kubernetes-mixin, CPUThrottlingHigh"
_USE = "USE method: utilisation near its limit queues; 90 % by convention"

THRESHOLDS: Mapping[str, Threshold] = {
    "min_events": Threshold(100, "count", "fewer requests than this prove nothing", "convention for SLO alerts"),
    "min_bad_events": Threshold(10, "count", "fewer errors than this prove nothing", "convention for SLO alerts"),
    "fresh_seconds": Threshold(
        120, "s", "newest sample older than this (and three steps) says nothing about now", "convention: two minutes"
    ),
    "fast_burn": Threshold(14.4, "", "error budget burns so fast that a person is paged", _WORKBOOK),
    "slow_burn": Threshold(6.0, "", "error budget burns fast enough to page within six hours", _WORKBOOK),
    "shift_factor": Threshold(
        1.5, "", "a level that changed by less is not called changed", "convention: half as much again"
    ),
    "release_seconds": Threshold(
        300, "s", "a release is suspected when trouble begins within this time after it", "convention: five minutes"
    ),
    "prompt_seconds": Threshold(
        120, "s", "trouble that a release brings itself shows when its first pods serve", "convention: two minutes"
    ),
    "traffic_factor": Threshold(
        1.5, "", "traffic that rose by less is not called a surge", "convention: half as much again"
    ),
    "cpu_ratio": Threshold(0.9, "ratio", "share of its CPU limit that a pod uses when it is CPU bound", _USE),
    "throttled_ratio": Threshold(0.25, "ratio", "share of CPU periods in which a pod was stopped", _MIXIN),
    "work_factor": Threshold(
        1.5, "", "processor time for each request against before", "convention: half as much again"
    ),
    "wait_share": Threshold(
        0.2, "ratio", "share of a slow request that it may wait for others and still be slow by itself", "convention"
    ),
    "pool_ratio": Threshold(0.9, "ratio", "share of its connections that a pool uses when it has none to spare", _USE),
    "pool_wait_seconds": Threshold(
        0.01, "s", "wait for a connection of a pool that has one free is far below this", "convention: 10 ms"
    ),
    "connections_warning_ratio": Threshold(
        0.8, "ratio", "share of the usable server connections", "convention: warn at 80 %"
    ),
    "connections_critical_ratio": Threshold(
        0.9, "ratio", "share of the usable server connections", "convention: critical at 90 %"
    ),
    "active_seconds": Threshold(
        5, "s", "a statement of an interactive service that runs longer is long", "pg_stat_activity; 5 s by convention"
    ),
    "idle_in_transaction_seconds": Threshold(
        5,
        "s",
        "a session that holds a transaction open and does nothing for longer is at fault",
        "pg_stat_activity; 5 s by convention",
    ),
    "lock_wait_seconds": Threshold(
        1, "s", "a statement waits for a lock longer than this", "PostgreSQL deadlock_timeout, log_lock_waits"
    ),
    "lock_victims": Threshold(
        3, "count", "so many sessions behind one lock are contention, however short each wait", "convention: three"
    ),
    "statement_factor": Threshold(
        3.0, "", "a statement's mean time against its own earlier mean", "convention: three times its own baseline"
    ),
    "statement_seconds": Threshold(
        0.005, "s", "a mean time below this is no slow statement", "convention: 5 ms for an indexed statement"
    ),
    "statement_share": Threshold(
        0.5,
        "ratio",
        "share of the database's execution time that one statement takes",
        "USE method: by convention half",
    ),
    "statement_calls": Threshold(3, "count", "fewer calls than this prove nothing", "convention for sampled counters"),
    "crowd_sessions": Threshold(
        3, "count", "sessions that work on one statement at the same moment, one fewer beside full scans", "convention"
    ),
    "crowd_seconds": Threshold(
        0.5,
        "s",
        "a statement of an interactive service that has worked for longer is slow",
        "convention: half a second",
    ),
    "scanned_rows": Threshold(
        10_000, "count", "rows of a table that is large enough to need an index", "convention: ten thousand rows"
    ),
    "command_seconds": Threshold(
        0.01, "s", "a cache command that runs longer blocks all others", "Redis slowlog-log-slower-than, default 10 ms"
    ),
    "blocked_ratio": Threshold(
        0.05, "ratio", "share of the time in which slow commands block the cache", "p95 moves when 5 % of calls wait"
    ),
    "ping_seconds": Threshold(
        0.1,
        "s",
        "a cache that answers PING later is blocked, whatever the network",
        "convention: no network is so slow",
    ),
    "cache_cpu_ratio": Threshold(0.9, "ratio", "share of one processor that the cache's main thread uses", _USE),
    "cache_clients_ratio": Threshold(0.9, "ratio", "connected clients against maxclients", _USE),
    "memory_ratio": Threshold(0.9, "ratio", "memory in use against maxmemory", _USE),
    "miss_ratio": Threshold(
        0.2, "ratio", "share of cache reads that miss while entries are evicted", "convention: a fifth of the reads"
    ),
    "dependency_factor": Threshold(
        3.0, "", "a dependency's latency against its own earlier level", "convention: three times its own baseline"
    ),
    "dependency_share": Threshold(
        0.5, "ratio", "share of the latency objective that one dependency call takes", "convention: half the objective"
    ),
    "latency_share": Threshold(
        0.3, "ratio", "share of the service's own latency that a slow dependency takes at least", "convention"
    ),
    "dependency_errors": Threshold(
        0.05, "ratio", "share of requests that fail in a dependency", "convention: one in twenty"
    ),
    "restarts": Threshold(
        2, "count", "restarts of a pod within the window that make a loop", "Kubernetes CrashLoopBackOff; convention"
    ),
    "clock_skew_seconds": Threshold(
        5, "s", "clocks of two sources differ so much that their times cannot be compared", "convention: 5 s"
    ),
}
