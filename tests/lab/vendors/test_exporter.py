"""The database exporters report what the servers say, and nothing when they say nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from runbook_lib.lab.postgres import Postgres
from runbook_lib.lab.process import free_port
from runbook_lib.lab.valkey import Valkey
from runbook_lib.lab.vendors.exporter import PostgresExporter, RedisExporter, Sample, exposition


def postgres_exporter(tmp_path: Path, postgres: Postgres, port: int) -> PostgresExporter:
    """An exporter of the server's read-only role."""
    secret = tmp_path / "password"
    secret.write_text(postgres.passwords["rb_read"])
    parameters = {"host": "127.0.0.1", "port": port, "dbname": "app", "user": "rb_read", "password_file": str(secret)}
    return PostgresExporter(parameters)


def value(samples: list[Sample], metric: str, **labels: str) -> float:
    """The one sample of a metric with exactly these labels."""
    (found,) = [sample[3] for sample in samples if sample[0] == metric and sample[2] == labels]
    return found


def test_postgres_connections_are_counted_by_state(tmp_path: Path, postgres: Postgres) -> None:
    """Two sessions idle in a transaction show as two, with the age of the older one."""
    exporter = postgres_exporter(tmp_path, postgres, postgres.port)
    sessions: list[Any] = [postgres.connect("app") for _ in range(2)]
    try:
        for session in sessions:
            session.execute("BEGIN")
        samples = exporter.samples()
    finally:
        exporter.close()
        for session in sessions:
            session.close()
    labels = {"datname": "app", "state": "idle in transaction"}
    assert 2.0 == value(samples, "pg_stat_activity_count", **labels)
    assert 0.0 < value(samples, "pg_stat_activity_max_tx_duration", **labels)
    assert 40.0 == value(samples, "pg_settings_max_connections")


def test_redis_memory_and_slowlog_are_reported(tmp_path: Path, valkey: Valkey) -> None:
    """The memory limit and the length of the slow log come from the server."""
    secret = tmp_path / "password"
    secret.write_text(valkey.passwords["rb_read"])
    samples = RedisExporter(
        {"host": "127.0.0.1", "port": valkey.port, "username": "rb_read", "password_file": str(secret)}
    ).samples()
    assert 64 * 1024 * 1024.0 == value(samples, "redis_memory_max_bytes")
    assert 0.0 <= value(samples, "redis_slowlog_length")


@pytest.mark.parametrize("kind", ["postgres", "redis"])
def test_server_that_is_down_has_no_values(tmp_path: Path, postgres: Postgres, kind: str) -> None:
    """A server that refuses gives ``up 0`` and no other sample: absent is not zero."""
    port = free_port()
    if kind == "postgres":
        samples = postgres_exporter(tmp_path, postgres, port).samples()
    else:
        secret = tmp_path / "password"
        secret.write_text("x")
        samples = RedisExporter({"host": "127.0.0.1", "port": port, "password_file": str(secret)}).samples()
    assert [("pg_up" if kind == "postgres" else "redis_up", 0.0)] == [(name, number) for name, _, _, number in samples]


def test_exposition_describes_each_metric_once() -> None:
    """The text format holds one TYPE line for each metric and its samples below it."""
    samples: list[Sample] = [
        ("a", "gauge", {"x": "1"}, 1.0),
        ("a", "gauge", {"x": "2"}, 2.5),
        ("b", "counter", {}, 3.0),
    ]
    assert '# TYPE a gauge\na{x="1"} 1.0\na{x="2"} 2.5\n# TYPE b counter\nb 3.0\n' == exposition(samples)
