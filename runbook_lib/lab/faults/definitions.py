"""How each fault is started and ended, in the order of the registry."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from typing import Any

from runbook_lib.lab import components, history
from runbook_lib.lab.faults.fault import Values
from runbook_lib.lab.faults.world import World
from runbook_lib.lab.postgres import Postgres
from runbook_lib.lab.release import NAMESPACE
from runbook_lib.lab.valkey import MAX_MEMORY_BYTES, Valkey

Start = Callable[[World, Values], dict[str, Any]]
End = Callable[[World, Mapping[str, Any]], None]
Details = Mapping[str, Any]
_INDEX = "orders_customer_id_idx"
_DEFAULT_DELAY = {"seconds": 0.005, "jitter_seconds": 0.005, "error_ratio": 0.0}


def nothing(_world: World, _values: Values) -> dict[str, Any]:
    """Break nothing."""
    return {}


def nothing_to_end(_world: World, _details: Details) -> None:
    """Undo nothing."""


def holding(fault: str, kind: str) -> Start:
    """Start the child of a fault that lives in sessions."""

    def start(world: World, values: Values) -> dict[str, Any]:
        return world.hold(fault, kind, values)

    return start


def releasing(fault: str) -> End:
    """End the child and its database sessions."""

    def end(world: World, _details: Details) -> None:
        world.release_hold(fault)
        world.end_sessions()

    return end


def drop_index(world: World, _values: Values) -> dict[str, Any]:
    """Drop the index behind "latest orders of a customer"."""
    with world.superuser() as connection:
        connection.execute(f"DROP INDEX IF EXISTS {_INDEX}")
        connection.execute("ANALYZE orders")
    return {"index": _INDEX}


def create_index(world: World, _details: Details) -> None:
    """Create the index again, without blocking writes."""
    with world.superuser() as connection:
        connection.execute("SET statement_timeout = '60s'")
        connection.execute(f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {_INDEX} ON orders (customer_id, created_at DESC)")
        connection.execute("ANALYZE orders")


def evict(world: World, values: Values) -> dict[str, Any]:
    """Lower the memory limit, then write more than fits."""
    with world.cache() as client:
        before: Any = client.config_get("maxmemory")
        client.config_set("maxmemory", int(values["maxmemory_mib"]) * 2**20)
    return {**world.hold("redis_eviction", "memory_flood", values), "maxmemory": int(before["maxmemory"])}


def stop_evicting(world: World, details: Details) -> None:
    """End the batch, take its keys out, and restore the memory limit."""
    world.release_hold("redis_eviction")
    with world.cache() as client:
        client.config_set("maxmemory", details.get("maxmemory", MAX_MEMORY_BYTES))
        for key in client.scan_iter("report:*", count=1000):
            client.unlink(key)


def release(**changes: Any) -> Start:
    """Upgrade the release; values are taken from the fault's parameters where a change names one with ``$``."""

    def start(world: World, values: Values) -> dict[str, Any]:
        return world.upgrade(_filled(changes, values), wait=True)

    return start


def restore_release(world: World, _details: Details) -> None:
    """Bring the healthy release back and wait for it."""
    world.restore_release()


def _filled(changes: Any, values: Values) -> Any:
    if isinstance(changes, Mapping):
        return {key: _filled(value, values) for key, value in changes.items()}
    return values[changes[1:]] if isinstance(changes, str) and changes.startswith("$") else changes


def lose_replicas(world: World, values: Values) -> dict[str, Any]:
    """Close the node to new pods and delete pods until only some are left: the others stay Pending."""
    with world.cluster() as kubernetes:
        _cordon(world, closed=True)
        selector = "labelSelector=app.kubernetes.io%2Fname%3Dapi"
        pods = kubernetes.request("GET", f"/api/v1/namespaces/{NAMESPACE}/pods?{selector}")["items"] or []
        names = sorted(pod["metadata"]["name"] for pod in pods if "deletionTimestamp" not in pod["metadata"])
        lost = names[int(values["left"]) :]
        for name in lost:
            kubernetes.request("DELETE", f"/api/v1/namespaces/{NAMESPACE}/pods/{name}")
    if values["rate"]:
        world.send("load_url", "/rate", {"rate": values["rate"]})
    return {"deleted": lost}


def bring_replicas_back(world: World, _details: Details) -> None:
    """Open the node and wait until all pods serve."""
    _cordon(world, closed=False)
    world.send("load_url", "/rate", {"rate": world.state.rate})
    world.wait_rolled_out()


def _cordon(world: World, *, closed: bool) -> None:
    with world.cluster() as kubernetes:
        body = {"spec": {"unschedulable": closed}}
        kubernetes.request("PATCH", f"/api/v1/nodes/{components.NODE}", body, "application/merge-patch+json")


def slow_dependency(world: World, values: Values) -> dict[str, Any]:
    """Make payments answer late."""
    body = {"seconds": values["seconds"], "jitter_seconds": values["jitter_seconds"]}
    world.send("dependency_url", "/admin/delay", {**body, "error_ratio": values["error_ratio"]})
    return {}


def fast_dependency(world: World, _details: Details) -> None:
    """Make payments answer as before."""
    world.send("dependency_url", "/admin/delay", _DEFAULT_DELAY)


def surge(world: World, values: Values) -> dict[str, Any]:
    """Send more requests."""
    rate = world.state.rate * float(values["factor"])
    world.send("load_url", "/rate", {"rate": rate})
    return {"rate": rate}


def calm(world: World, _details: Details) -> None:
    """Send as many requests as before."""
    world.send("load_url", "/rate", {"rate": world.state.rate})


def stop_component(name: str) -> Start:
    """Stop a component, or freeze it: a stopped one refuses connections, a frozen one never answers."""

    def start(world: World, values: Values) -> dict[str, Any]:
        if values["mode"] == "hang":
            world.signal_tree(name, signal.SIGSTOP)
        else:
            world.stop(name)
        return {}

    return start


def start_postgres(world: World, _details: Details) -> None:
    """Continue the server, or start it again on its data."""
    if world.runs("postgres"):
        world.signal_tree("postgres", signal.SIGCONT)
        return
    server = Postgres(world.directory / "postgres", world.state.ports["postgres"], world.passwords("postgres"))
    process = components.keep(world.directory, server.start())
    world.stop("quota")
    world.spawn.quota(process.pid)


def start_valkey(world: World, _details: Details) -> None:
    """Continue the server, or start it again with an empty cache."""
    if world.runs("valkey"):
        world.signal_tree("valkey", signal.SIGCONT)
        return
    server = Valkey(world.directory / "valkey", world.state.ports["valkey"], world.passwords("redis"))
    components.keep(world.directory, server.start())


def stop_metrics(world: World, _values: Values) -> dict[str, Any]:
    """Stop the metrics store."""
    world.stop("metrics")
    return {}


def freeze_metrics(world: World, _values: Values) -> dict[str, Any]:
    """Freeze the metrics store."""
    world.signal_tree("metrics", signal.SIGSTOP)
    return {}


def start_metrics(world: World, _details: Details) -> None:
    """Continue the store, or start it again; the embedded one has lost its samples and gets history backfilled."""
    if world.runs("metrics"):
        world.signal_tree("metrics", signal.SIGCONT)
        return
    binary = world.state.details.get("prometheus", "")
    process = world.spawn.metrics(world.state.ports, binary)
    components.wait_listening(process, world.state.ports["metrics"])
    if not binary:
        url = world.state.urls["prometheus_url"]
        history.wait_settled(url, components.WARM_UP_SCRAPE_SECONDS, world.state.rate)
        history.backfill(url, int(world.state.details.get("seconds_of_history", 900)))
    world.spawn.metrics_config(world.state.ports, components.SCRAPE_SECONDS)
