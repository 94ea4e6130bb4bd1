"""What a person can do about a cause for which no guarded action exists, most useful step first."""

from __future__ import annotations

from collections.abc import Mapping

ADVICE: Mapping[str, tuple[str, ...]] = {
    "db.connections_saturated": (
        "Find who holds the connections: run.postgres.saturation() lists users, applications and states.",
        "Stop or restart the client that holds idle ones; raise the pool's limit only below max_connections.",
    ),
    "db.slow_query": (
        "Compare the statement's plan with EXPLAIN (ANALYZE, BUFFERS) against its indexes; look for a dropped index.",
        "Create the missing index with CREATE INDEX CONCURRENTLY, or run ANALYZE if the statistics are stale.",
    ),
    "db.unreachable": (
        "Check that PostgreSQL runs and accepts connections, then its disk and its log.",
        "Do not restart the service: it reconnects by itself once the database answers.",
    ),
    "redis.slow": (
        "Find the command in the slow log and the client that sends it; stop that client.",
        "Replace KEYS, large HGETALL or long scripts by SCAN and smaller steps.",
    ),
    "redis.evicting": (
        "Find what grew: new keys without expiry, larger values, or a lower maxmemory.",
        "Raise maxmemory if the host has room, or shorten the time to live.",
    ),
    "redis.saturated": ("Find the client with the most connections or commands and stop it.",),
    "redis.unreachable": (
        "Check that the cache runs and accepts connections.",
        "The service falls back to the database: watch its load meanwhile.",
    ),
    "app.bad_release": (
        "Roll back to the last revision that was recorded good: runbook run rollback.",
        "Check first that the schema still fits the older release.",
    ),
    "app.crash_loop": (
        "Read the last lines of a pod that died: kubectl logs --previous.",
        "If it began with a release, roll back: runbook run rollback.",
    ),
    "app.replicas_missing": ("Find why pods are missing: kubectl describe on the deployment and its pending pods.",),
    "app.errors": ("Read the service's log for the errors; if they began with a release, roll back.",),
    "dependency.slow": (
        "Tell the owner of the dependency; lower its timeout or switch its feature off meanwhile.",
        "Scaling this service does not help while it waits for another.",
    ),
    "unknown": ("Escalate with this record: runbook run escalate.",),
}


def advice(cause: str) -> tuple[str, ...]:
    """Next steps for a cause; those of ``unknown`` when it has none of its own."""
    return ADVICE.get(cause, ADVICE["unknown"])
