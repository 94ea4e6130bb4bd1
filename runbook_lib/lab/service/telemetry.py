"""Metrics of the ``api`` service in the Prometheus text format, and its log."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

if TYPE_CHECKING:
    from psycopg_pool import ConnectionPool

# 0.2 s is the objective's bound: the share of fast requests must be readable without interpolation. 0.15 keeps a
# quantile that is well below the bound from being drawn up to it.
LATENCY_BUCKETS_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 2.5, 5.0, 10.0)
DEPENDENCIES = ("postgres", "redis", "payments")
CONTENT_TYPE = prometheus_client.CONTENT_TYPE_LATEST


class Telemetry:
    """All instruments of one process.

    Args:
        version: the image tag, reported by ``app_info``.
    """

    def __init__(self, version: str) -> None:
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.duration = Histogram(
            "http_request_duration_seconds",
            "Time to answer an HTTP request.",
            ["route", "method", "code"],
            buckets=LATENCY_BUCKETS_SECONDS,
            registry=registry,
        )
        self.in_flight = Gauge("http_requests_in_flight", "HTTP requests being worked on.", registry=registry)
        self.pool_connections = Gauge("db_pool_connections", "Open connections.", ["state"], registry=registry)
        self.pool_max = Gauge("db_pool_max_connections", "Most connections of the pool.", registry=registry)
        self.pool_waiting = Gauge("db_pool_waiting", "Requests that wait for a connection.", registry=registry)
        self.pool_wait = Histogram(
            "db_pool_wait_seconds", "Time to get a connection.", buckets=LATENCY_BUCKETS_SECONDS, registry=registry
        )
        self.dependency = Histogram(
            "dependency_request_duration_seconds",
            "Time of one call to a dependency, without the wait for a connection.",
            ["dependency"],
            buckets=LATENCY_BUCKETS_SECONDS,
            registry=registry,
        )
        self.dependency_errors = Counter(
            "dependency_errors", "Failed calls to a dependency.", ["dependency"], registry=registry
        )
        for name in DEPENDENCIES:  # a counter that starts at 0 shows its first error in a rate
            self.dependency.labels(name)
            self.dependency_errors.labels(name)
        Gauge("app_info", "Release that runs.", ["version"], registry=registry).labels(version).set(1)

    def watch_pool(self, pool: ConnectionPool[Any]) -> None:
        """Read the pool's own numbers at every scrape."""

        def used() -> float:
            stats = pool.get_stats()
            return stats.get("pool_size", 0) - stats.get("pool_available", 0)

        self.pool_connections.labels("used").set_function(used)
        self.pool_connections.labels("idle").set_function(lambda: pool.get_stats().get("pool_available", 0))
        self.pool_waiting.set_function(lambda: pool.get_stats().get("requests_waiting", 0))
        self.pool_max.set(pool.max_size)

    @contextmanager
    def call(self, dependency: str) -> Iterator[None]:
        """Time one call to a dependency; an exception counts as its error."""
        started = time.monotonic()
        try:
            yield
        except Exception:
            self.dependency_errors.labels(dependency).inc()
            raise
        finally:
            self.dependency.labels(dependency).observe(time.monotonic() - started)

    def render(self) -> bytes:
        """The text of ``/metrics``."""
        return prometheus_client.generate_latest(self.registry)


class JsonLines(logging.Formatter):
    """One JSON object a line, as log pipelines expect it."""

    def format(self, record: logging.LogRecord) -> str:
        """Format one record; ``extra={"fields": {...}}`` adds keys."""
        entry = {
            "ts": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info and record.exc_info[1] is not None:
            entry["error"] = f"{type(record.exc_info[1]).__name__}: {record.exc_info[1]}".splitlines()[0]
        return json.dumps(entry)


def log_to_stderr() -> None:
    """Send every log of the process to stderr as JSON lines."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
