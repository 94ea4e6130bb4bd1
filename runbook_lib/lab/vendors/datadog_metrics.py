"""The Datadog metrics that the lab can honestly answer, and the samples of the metrics store behind each one.

Names, meanings and units are those of Datadog's PostgreSQL, Redis and container integrations.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Unit:
    """A unit as Datadog describes it: family, singular and short name."""

    family: str
    name: str
    short_name: str | None = None

    def to_json(self) -> dict[str, object]:
        """The unit's object in a query answer."""
        return {
            "family": self.family,
            "name": self.name,
            "plural": f"{self.name}s",
            "short_name": self.short_name,
            "scale_factor": 1.0,
        }


CONNECTION = Unit("network", "connection", "conn")
FRACTION = Unit("percentage", "fraction")
BYTE = Unit("bytes", "byte", "B")
KEY = Unit("cache", "key")
NANOCORE = Unit("cpu", "nanocore", "ncores")


@dataclass(frozen=True)
class Metric:
    """One Datadog metric.

    Args:
        promql: expression with ``$labels`` where label matchers go and ``$range`` where the roll-up interval goes;
            one series for each combination of the dynamic tags.
        unit: unit of the values, or None.
        tags: fixed tags of every point.
        labels: Datadog tag -> label of the metrics store, for tags that differ from series to series.
    """

    promql: str
    unit: Unit | None
    tags: dict[str, str]
    labels: dict[str, str] = field(default_factory=dict)


_POSTGRES = {"env": "production", "service": "postgres", "source": "postgresql"}
_REDIS = {"env": "production", "service": "redis", "source": "redis"}
_CONTAINER = {"env": "production", "service": "api", "kube_deployment": "api-deployment"}
_POD = {"kube_namespace": "namespace", "pod_name": "pod", "kube_container_name": "container"}

METRICS: dict[str, Metric] = {
    "postgresql.connections": Metric(
        "sum by (datname) (avg_over_time(pg_stat_activity_count{$labels}[$range]))",
        CONNECTION,
        _POSTGRES,
        {"db": "datname"},
    ),
    "postgresql.max_connections": Metric(
        "avg_over_time(pg_settings_max_connections{$labels}[$range])", CONNECTION, _POSTGRES
    ),
    "postgresql.percent_usage_connections": Metric(
        "sum(avg_over_time(pg_stat_activity_count{$labels}[$range]))"
        " / scalar(avg_over_time(pg_settings_max_connections[$range]))",
        FRACTION,
        _POSTGRES,
    ),
    "redis.net.clients": Metric("avg_over_time(redis_connected_clients{$labels}[$range])", CONNECTION, _REDIS),
    "redis.mem.used": Metric("avg_over_time(redis_memory_used_bytes{$labels}[$range])", BYTE, _REDIS),
    "redis.mem.maxmemory": Metric("avg_over_time(redis_memory_max_bytes{$labels}[$range])", BYTE, _REDIS),
    "redis.keys.evicted": Metric("max_over_time(redis_evicted_keys_total{$labels}[$range])", KEY, _REDIS),
    "container.cpu.usage": Metric(
        "1e9 * sum by (namespace, pod, container) (rate(container_cpu_usage_seconds_total{$labels}[$range]))",
        NANOCORE,
        _CONTAINER,
        _POD,
    ),
    "container.cpu.limit": Metric(
        "1e9 * sum by (namespace, pod, container)"
        ' (avg_over_time(kube_pod_container_resource_limits{resource="cpu",$labels}[$range]))',
        NANOCORE,
        _CONTAINER,
        _POD,
    ),
    "container.memory.working_set": Metric(
        "sum by (namespace, pod, container) (avg_over_time(container_memory_working_set_bytes{$labels}[$range]))",
        BYTE,
        _CONTAINER,
        _POD,
    ),
}
