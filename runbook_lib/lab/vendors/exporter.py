"""Metrics of PostgreSQL and Valkey under the names of postgres_exporter and redis_exporter.

A server that does not answer gives ``pg_up 0`` or ``redis_up 0`` and no other sample: an absent value is not zero.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from runbook_lib.lab.vendors.settings import Settings

if TYPE_CHECKING:
    import psycopg
    import redis

TIMEOUT_SECONDS = 1.5
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
STATES = ("active", "idle", "idle in transaction", "idle in transaction (aborted)")
_REDIS_METRICS = {
    # INFO field: (metric, type)
    "connected_clients": ("redis_connected_clients", "gauge"),
    "blocked_clients": ("redis_blocked_clients", "gauge"),
    "maxclients": ("redis_config_maxclients", "gauge"),
    "used_memory": ("redis_memory_used_bytes", "gauge"),
    "maxmemory": ("redis_memory_max_bytes", "gauge"),
    "evicted_keys": ("redis_evicted_keys_total", "counter"),
    "rejected_connections": ("redis_rejected_connections_total", "counter"),
    "keyspace_hits": ("redis_keyspace_hits_total", "counter"),
    "keyspace_misses": ("redis_keyspace_misses_total", "counter"),
    "total_commands_processed": ("redis_commands_processed_total", "counter"),
    "used_cpu_user": ("redis_cpu_user_seconds_total", "counter"),
    "used_cpu_sys": ("redis_cpu_sys_seconds_total", "counter"),
    "uptime_in_seconds": ("redis_uptime_in_seconds", "gauge"),
}
Sample = tuple[str, str, dict[str, str], float]  # metric, type, labels, value


def routes(settings: Settings) -> list[Route]:
    """The exporters' routes, to be mounted at ``/exporter``."""
    made = []
    if settings.postgres is not None:
        made.append(Route("/postgres/metrics", _endpoint(PostgresExporter(settings.postgres).samples)))
    if settings.redis is not None:
        made.append(Route("/redis/metrics", _endpoint(RedisExporter(settings.redis).samples)))
    return made


def _endpoint(samples: Callable[[], list[Sample]]) -> Callable[[Request], Any]:
    async def endpoint(_request: Request) -> Response:
        return Response(exposition(await run_in_threadpool(samples)), media_type=CONTENT_TYPE)

    return endpoint


def exposition(samples: Iterable[Sample]) -> str:
    """Samples in the text format, grouped by metric in their order."""
    lines, described = [], set()
    for metric, kind, labels, value in samples:
        if metric not in described:
            described.add(metric)
            lines.append(f"# TYPE {metric} {kind}")
        inner = ",".join(f'{name}="{text}"' for name, text in labels.items())
        lines.append(f"{metric}{{{inner}}} {value!r}" if inner else f"{metric} {value!r}")
    return "\n".join(lines) + "\n"


class PostgresExporter:
    """Reads one server over one kept session.

    Args:
        parameters: psycopg's connection parameters, with ``password_file`` in the password's place.
    """

    def __init__(self, parameters: dict[str, Any]) -> None:
        self._parameters = {key: value for key, value in parameters.items() if key != "password_file"}
        self._password_file = parameters.get("password_file")
        self._connection: psycopg.Connection[Any] | None = None
        self._lock = threading.Lock()

    def samples(self) -> list[Sample]:
        """All samples; only ``pg_up 0`` when the server does not answer."""
        import psycopg

        with self._lock:
            try:
                return [("pg_up", "gauge", {}, 1.0), *self._read(self._connect())]
            except (psycopg.Error, OSError):
                self.close()
                return [("pg_up", "gauge", {}, 0.0)]

    def _connect(self) -> psycopg.Connection[Any]:
        import psycopg

        if self._connection is None or self._connection.closed:
            password = None if self._password_file is None else open_text(self._password_file)
            self._connection = psycopg.connect(
                **self._parameters,
                password=password,
                autocommit=True,
                connect_timeout=2,
                application_name="postgres_exporter",
                # A frozen server keeps the socket open: without this the scrape would hang with it.
                tcp_user_timeout=int(TIMEOUT_SECONDS * 1000),
                options=f"-c statement_timeout={int(TIMEOUT_SECONDS * 1000)} -c lock_timeout=200",
            )
        return self._connection

    def close(self) -> None:
        """End the kept session; the next read opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _read(self, connection: psycopg.Connection[Any]) -> list[Sample]:
        made: list[Sample] = []
        settings = connection.execute(
            """SELECT name, setting::float8 FROM pg_settings
               WHERE name IN ('max_connections', 'superuser_reserved_connections', 'reserved_connections')"""
        ).fetchall()
        made += [(f"pg_settings_{name}", "gauge", {}, value) for name, value in settings]
        activity = connection.execute(
            """SELECT datname, state, count(*)::float8,
                      coalesce(max(extract(epoch FROM clock_timestamp() - xact_start)), 0)::float8
               FROM pg_stat_activity WHERE backend_type = 'client backend' AND datname IS NOT NULL
               GROUP BY datname, state"""
        ).fetchall()
        counted = {(datname, state): (count, longest) for datname, state, count, longest in activity}
        for datname in sorted({datname for datname, _ in counted}):
            for state in STATES:
                count, longest = counted.get((datname, state), (0.0, 0.0))
                labels = {"datname": datname, "state": state}
                made.append(("pg_stat_activity_count", "gauge", labels, count))
                made.append(("pg_stat_activity_max_tx_duration", "gauge", labels, longest))
        made += self._database(connection)
        return sorted(made, key=lambda sample: sample[0])

    def _database(self, connection: psycopg.Connection[Any]) -> list[Sample]:
        columns = ("xact_commit", "xact_rollback", "blks_read", "blks_hit", "tup_returned", "tup_fetched", "deadlocks")
        rows = connection.execute(
            f"SELECT datname, {', '.join(columns)} FROM pg_stat_database WHERE datname = current_database()"
        ).fetchall()
        made: list[Sample] = []
        for datname, *values in rows:
            for column, value in zip(columns, values, strict=True):
                made.append((f"pg_stat_database_{column}", "counter", {"datname": datname}, float(value)))
        return made


class RedisExporter:
    """Reads one Valkey or Redis server.

    Args:
        parameters: host, port, username and ``password_file``.
    """

    def __init__(self, parameters: dict[str, Any]) -> None:
        self._parameters = parameters
        self._client: redis.Redis | None = None
        self._lock = threading.Lock()

    def samples(self) -> list[Sample]:
        """All samples; only ``redis_up 0`` when the server does not answer."""
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        with self._lock:
            try:
                if self._client is None:
                    self._client = redis.Redis(
                        host=self._parameters["host"],
                        port=self._parameters["port"],
                        username=self._parameters.get("username"),
                        password=open_text(self._parameters["password_file"]),
                        socket_timeout=TIMEOUT_SECONDS,
                        socket_connect_timeout=TIMEOUT_SECONDS,
                        protocol=2,  # the reader's ACL allows neither HELLO nor CLIENT SETNAME
                        retry=Retry(NoBackoff(), 0),
                    )
                info: dict[str, Any] = self._client.info()
                slow = self._client.slowlog_len()
            except (redis.RedisError, OSError):
                return [("redis_up", "gauge", {}, 0.0)]
        made: list[Sample] = [("redis_up", "gauge", {}, 1.0), ("redis_slowlog_length", "gauge", {}, float(slow))]
        made += [(metric, kind, {}, float(info[key])) for key, (metric, kind) in _REDIS_METRICS.items() if key in info]
        return made


def open_text(path: str) -> str:
    """Content of a credential file."""
    return Path(path).read_text().strip()
