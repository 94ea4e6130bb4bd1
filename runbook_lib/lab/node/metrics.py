"""What the node measures about its containers, in the shapes of cAdvisor, kube-state-metrics and metrics.k8s.io."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from runbook_lib.lab.balancer import Balancer
from runbook_lib.lab.controlplane.selectors import label_selector
from runbook_lib.lab.node.container import Container, memory_bytes
from runbook_lib.lab.node.pod import PodRunner
from runbook_lib.lab.throttle import group_cpu_seconds

Object = dict[str, Any]
Sample = tuple[str, dict[str, str], float]
SAMPLE_SECONDS = 2.0
WINDOW_SAMPLES = 6
_RESOURCES = {
    "resources": [
        {"name": "nodes", "singularName": "", "namespaced": False, "kind": "NodeMetrics", "verbs": ["get", "list"]},
        {"name": "pods", "singularName": "", "namespaced": True, "kind": "PodMetrics", "verbs": ["get", "list"]},
    ]
}
_HELP = {
    "container_cpu_usage_seconds_total": ("counter", "Cumulative cpu time consumed in seconds."),
    "container_cpu_cfs_periods_total": ("counter", "Number of elapsed enforcement period intervals."),
    "container_cpu_cfs_throttled_periods_total": ("counter", "Number of throttled period intervals."),
    "container_cpu_cfs_throttled_seconds_total": ("counter", "Total time duration the container was throttled."),
    "container_memory_working_set_bytes": ("gauge", "Current working set in bytes."),
    "kube_pod_container_resource_limits": ("gauge", "The number of requested limit resource by a container."),
    "kube_pod_container_resource_requests": ("gauge", "The number of requested request resource by a container."),
    "kube_pod_container_status_restarts_total": ("counter", "The number of container restarts per container."),
    "kube_pod_container_status_ready": ("gauge", "Whether the container's readiness check succeeded."),
    "kube_pod_container_status_waiting_reason": ("gauge", "The reason the container is currently in waiting state."),
    "kube_deployment_spec_replicas": ("gauge", "Number of desired pods for a deployment."),
    "kube_deployment_status_replicas": ("gauge", "The number of replicas per deployment."),
    "kube_deployment_status_replicas_available": ("gauge", "The number of available replicas per deployment."),
    "kube_deployment_status_replicas_unavailable": ("gauge", "The number of unavailable replicas per deployment."),
    "kube_deployment_status_replicas_updated": ("gauge", "The number of updated replicas per deployment."),
    "balancer_requests_total": ("counter", "Requests answered by the Service's load balancer."),
    "balancer_request_duration_seconds_sum": ("counter", "Time to answer them."),
    "balancer_ready_endpoints": ("gauge", "Endpoints that get requests."),
}


@dataclass(frozen=True)
class Usage:
    """Mean use of a container over a window.

    Args:
        cpu_cores: CPU seconds per second.
        memory_bytes: working set.
        window_seconds: length of the window.
        at: end of the window.
    """

    cpu_cores: float
    memory_bytes: int
    window_seconds: float
    at: datetime


class Sampler:
    """Remembers the CPU time of every container for a few seconds, as the metrics API needs rates.

    Args:
        pods: the pods that run now.
    """

    def __init__(self, pods: Callable[[], Iterable[PodRunner]]) -> None:
        self._pods = pods
        self._seen: dict[int, deque[tuple[float, float]]] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)

    def start(self) -> None:
        """Begin to sample."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stop.set()

    def usage(self, container: Container) -> Usage | None:
        """Use of a running container; None before there are two samples of it."""
        process = container.process
        seen = list(self._seen.get(process.pid, ())) if process else []
        if process is None or len(seen) < 2:
            return None
        (start, cpu_before), (end, cpu_after) = seen[0], seen[-1]
        cores = (cpu_after - cpu_before) / (end - start)
        return Usage(max(cores, 0.0), memory_bytes(process.pid), end - start, datetime.now(UTC))

    def _run(self) -> None:
        while not self._stop.wait(SAMPLE_SECONDS):
            processes = [c.process for pod in self._pods() for c in pod.containers]
            pids = {process.pid for process in processes if process}
            for pid in self._seen.keys() - pids:
                self._seen.pop(pid, None)
            for pid in pids:
                cpu = group_cpu_seconds(pid)
                if cpu is not None:
                    self._seen.setdefault(pid, deque(maxlen=WINDOW_SAMPLES)).append((time.monotonic(), cpu))


def render(pods: Iterable[PodRunner], deployments: Iterable[Object], balancer: Balancer | None) -> str:
    """The text of the node's ``/metrics``."""
    samples: list[Sample] = []
    for pod in pods:
        for container in pod.containers:
            samples += _container(pod, container)
    for deployment in deployments:
        samples += _deployment(deployment)
    if balancer is not None:
        for status, count in sorted(balancer.counts.requests.items()):
            samples.append(("balancer_requests_total", {"code": str(status)}, count))
        samples.append(("balancer_request_duration_seconds_sum", {}, balancer.counts.duration_seconds))
        samples.append(("balancer_ready_endpoints", {}, len(balancer.endpoints)))
    return _text(samples)


def pod_metrics(pod: PodRunner, sampler: Sampler) -> Object | None:
    """One item of a PodMetricsList; None while the pod has no usage yet."""
    usages = [(container, sampler.usage(container)) for container in pod.containers]
    known = [(container, usage) for container, usage in usages if usage is not None]
    if not known:
        return None
    meta = pod.pod["metadata"]
    return {
        "metadata": {"name": meta["name"], "namespace": meta["namespace"], "labels": meta.get("labels") or {}},
        "timestamp": known[0][1].at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "window": f"{known[0][1].window_seconds:.3f}s",
        "containers": [{"name": container.name, "usage": _usage(usage)} for container, usage in known],
    }


def usage(path: str, query: dict[str, str], pods: list[PodRunner], node: str, sampler: Sampler) -> Object | None:
    """Answer a path of the metrics API, as an API server passes it on; None when there is no such path."""
    group = {"apiVersion": "metrics.k8s.io/v1beta1"}
    items = [(pod, pod_metrics(pod, sampler)) for pod in pods]
    match path.strip("/").split("/")[2:]:
        case []:
            version = {"groupVersion": "metrics.k8s.io/v1beta1", "version": "v1beta1"}
            about = {"name": "metrics.k8s.io", "versions": [version], "preferredVersion": version}
            return {"kind": "APIGroup", "apiVersion": "v1", **about}
        case ["v1beta1"]:
            return {
                "kind": "APIResourceList",
                "apiVersion": "v1",
                "groupVersion": "metrics.k8s.io/v1beta1",
                **_RESOURCES,
            }
        case ["v1beta1", "pods"]:
            return {"kind": "PodMetricsList", **group, "metadata": {}, "items": _selected(items, None, query)}
        case ["v1beta1", "namespaces", namespace, "pods"]:
            return {"kind": "PodMetricsList", **group, "metadata": {}, "items": _selected(items, namespace, query)}
        case ["v1beta1", "namespaces", namespace, "pods", name]:
            found = [item for item in _selected(items, namespace, {}) if item["metadata"]["name"] == name]
            return {"kind": "PodMetrics", **group, **found[0]} if found else None
        case ["v1beta1", "nodes"]:
            return {"kind": "NodeMetricsList", **group, "metadata": {}, "items": _node_metrics(node, items)}
        case ["v1beta1", "nodes", name] if name == node:
            found = _node_metrics(node, items)
            return {"kind": "NodeMetrics", **group, **found[0]} if found else None
        case _:
            return None


def _selected(
    items: list[tuple[PodRunner, Object | None]], namespace: str | None, query: dict[str, str]
) -> list[Object]:
    matches = label_selector(query.get("labelSelector", ""))
    return [
        item
        for _, item in items
        if item is not None
        and namespace in {None, item["metadata"]["namespace"]}
        and matches(item["metadata"]["labels"])
    ]


def _node_metrics(node: str, items: list[tuple[PodRunner, Object | None]]) -> list[Object]:
    """The sum of the pods: what else the machine does is not the node's."""
    known = [item for _, item in items if item is not None]
    if not known:
        return []
    usages = [container["usage"] for item in known for container in item["containers"]]
    cpu = sum(int(entry["cpu"].removesuffix("n")) for entry in usages)
    memory = sum(int(entry["memory"].removesuffix("Ki")) for entry in usages)
    total = {"cpu": f"{cpu}n", "memory": f"{memory}Ki"}
    return [
        {"metadata": {"name": node}, "timestamp": known[0]["timestamp"], "window": known[0]["window"], "usage": total}
    ]


def _usage(usage: Usage) -> dict[str, str]:
    return {"cpu": f"{int(usage.cpu_cores * 1e9)}n", "memory": f"{usage.memory_bytes // 1024}Ki"}


def _container(pod: PodRunner, container: Container) -> list[Sample]:
    meta = pod.pod["metadata"]
    labels = {"namespace": meta["namespace"], "pod": meta["name"], "container": container.name}
    samples: list[Sample] = [
        ("kube_pod_container_status_restarts_total", labels, container.restart_count),
        ("kube_pod_container_status_ready", labels, container.ready),
    ]
    for kind, name in (
        ("limits", "kube_pod_container_resource_limits"),
        ("requests", "kube_pod_container_resource_requests"),
    ):
        for resource, unit in (("cpu", "core"), ("memory", "byte")):
            amount = container.amount(kind, resource)
            if amount is not None:
                samples.append((name, {**labels, "resource": resource, "unit": unit, "node": _node(pod)}, amount))
    waiting = container.state.get("waiting")
    if waiting:
        samples.append(("kube_pod_container_status_waiting_reason", {**labels, "reason": waiting["reason"]}, 1))
    process, quota = container.process, container.quota
    cpu = group_cpu_seconds(process.pid) if process else None
    if process is not None and cpu is not None:
        samples.append(("container_cpu_usage_seconds_total", labels, cpu))
        samples.append(("container_memory_working_set_bytes", labels, memory_bytes(process.pid)))
    if quota is not None:  # as in cAdvisor, no limit means no such series
        samples.append(("container_cpu_cfs_periods_total", labels, quota.periods))
        samples.append(("container_cpu_cfs_throttled_periods_total", labels, quota.throttled_periods))
        samples.append(("container_cpu_cfs_throttled_seconds_total", labels, quota.throttled_seconds))
    return samples


def _node(pod: PodRunner) -> str:
    return str(pod.pod["spec"].get("nodeName", ""))


def _deployment(deployment: Object) -> list[Sample]:
    meta, status = deployment["metadata"], deployment.get("status") or {}
    labels = {"namespace": meta["namespace"], "deployment": meta["name"]}
    return [
        ("kube_deployment_spec_replicas", labels, deployment["spec"].get("replicas", 1)),
        ("kube_deployment_status_replicas", labels, status.get("replicas", 0)),
        ("kube_deployment_status_replicas_available", labels, status.get("availableReplicas", 0)),
        ("kube_deployment_status_replicas_unavailable", labels, status.get("unavailableReplicas", 0)),
        ("kube_deployment_status_replicas_updated", labels, status.get("updatedReplicas", 0)),
    ]


def _text(samples: list[Sample]) -> str:
    lines: list[str] = []
    for name, (kind, text) in _HELP.items():
        mine = [sample for sample in samples if sample[0] == name]
        if mine:
            lines += [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
        for _, labels, value in mine:
            inside = ",".join(f'{key}="{_escape(word)}"' for key, word in labels.items())
            lines.append(f"{name}{{{inside}}} {float(value)}" if inside else f"{name} {float(value)}")
    return "\n".join([*lines, ""])


def _escape(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
