"""The node agent: registers the node, keeps its lease, runs its pods, and balances one Service."""

from __future__ import annotations

import logging
import os
import threading
import zlib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from runbook_lib.lab.balancer import Balancer, Endpoint
from runbook_lib.lab.node import metrics
from runbook_lib.lab.node.api import STRATEGIC, ApiError, Informer, KubeApi
from runbook_lib.lab.node.container import Container, timestamp
from runbook_lib.lab.node.events import Events
from runbook_lib.lab.node.pod import PodRunner
from runbook_lib.lab.node.server import NodeServer, self_signed
from runbook_lib.lab.throttle import Throttle

LOG = logging.getLogger("node")
Object = dict[str, Any]
# The kubelet renews every 10 s a lease that is valid for 40 s.
LEASE_SECONDS, LEASE_RENEW_SECONDS = 40, 10.0
_SHUTDOWN_SECONDS = 5.0


class Agent:
    """One node.

    Args:
        api: the API server.
        name: name of the node.
        port: port of the node's own server.
        balancer_port: fixed port of the Service.
        directory: takes logs and the node's certificate.
        service: ``namespace/name`` of the balanced Service.
        callers: PEM file with the client certificate that may run commands in the pods; None lets nobody.
    """

    def __init__(
        self,
        api: KubeApi,
        name: str,
        port: int,
        balancer_port: int,
        directory: Path,
        service: str = "production/api",
        callers: Path | None = None,
    ) -> None:
        self.name, self.directory = name, directory
        self._api, self._port = api, port
        self._pods: dict[str, PodRunner] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._next_ip = 1
        self._throttle = Throttle()
        self._events = Events(api, name)
        self._sampler = metrics.Sampler(self.pods)
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        certificate = self_signed(directory, name) if api.server.startswith("https") else None
        self._server = NodeServer(
            port, self._find_log, self._render, self._usage, certificate, self._find_running, callers
        )
        self.balancer = Balancer(balancer_port)
        namespace, _, service_name = service.partition("/")
        slices = f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"
        selector = {"labelSelector": f"kubernetes.io/service-name={service_name}"}
        self._slices = Informer(api, slices, selector, lambda _uid, _item: self._balance())
        mine = {"fieldSelector": f"spec.nodeName={name}"}
        self._pod_informer = Informer(api, "/api/v1/pods", mine, self._pod_changed)
        self._deployments = Informer(api, "/apis/apps/v1/deployments", {}, lambda _uid, _item: None)

    def pods(self) -> list[PodRunner]:
        """The pods that run here now."""
        with self._lock:
            return list(self._pods.values())

    def run(self) -> None:
        """Work until ``stop``; everything keeps running while the API is down."""
        self._server.start()
        self._sampler.start()
        registered = False
        while not self._stop.is_set():
            try:
                if not registered:
                    self._register()
                    registered = True
                    for informer in (self._pod_informer, self._slices, self._deployments):
                        informer.start()
                self._renew_lease()
                self._heartbeat()
            except ApiError as error:
                LOG.warning("%s", error)
                if error.status == 404 and registered:  # somebody deleted the node or the whole store is new
                    self._try_to_register()
            self._stop.wait(LEASE_RENEW_SECONDS if registered else 0.5)
        self._close()

    def stop(self) -> None:
        """End soon; the pods' processes end with the node."""
        self._stop.set()

    def _close(self) -> None:
        for informer in (self._pod_informer, self._slices, self._deployments):
            informer.stop()
        closing = [threading.Thread(target=pod.close, args=(_SHUTDOWN_SECONDS,)) for pod in self.pods()]
        for thread in closing:
            thread.start()
        for thread in closing:
            thread.join(_SHUTDOWN_SECONDS)
        self._sampler.stop()
        self._throttle.close()
        self.balancer.close()
        self._server.shutdown()
        self._server.server_close()

    def _try_to_register(self) -> None:
        try:
            self._register()
        except ApiError as error:
            LOG.warning("%s", error)

    def _register(self) -> None:
        labels = {
            "kubernetes.io/hostname": self.name,
            "kubernetes.io/os": "linux",
            "kubernetes.io/arch": {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine),
            "node-role.kubernetes.io/worker": "",
        }
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": self.name, "labels": labels}}
        try:
            self._api.request("POST", "/api/v1/nodes", node)
        except ApiError as error:
            if error.status != 409:  # it is there already
                raise
        self._heartbeat()

    def _heartbeat(self) -> None:
        self._api.request(
            "PATCH", f"/api/v1/nodes/{self.name}/status", {"status": self._node_status()}, content_type=STRATEGIC
        )

    def _node_status(self) -> Object:
        pages, page_bytes = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
        capacity = {"cpu": str(os.cpu_count() or 1), "memory": f"{pages * page_bytes // 1024}Ki", "pods": "110"}
        now = timestamp()
        conditions = [
            {"type": kind, "status": status, "reason": reason, "message": message, "lastHeartbeatTime": now}
            for kind, status, reason, message in (
                ("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
                ("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
                ("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
                ("Ready", "True", "KubeletReady", "the node agent is posting ready status"),
            )
        ]
        uname = os.uname()
        return {
            "capacity": capacity,
            "allocatable": capacity,
            "conditions": conditions,
            # Only an InternalIP: an API server would dial a Hostname instead, which no one here resolves.
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": self._port}},
            "nodeInfo": {
                "machineID": self.name,
                "systemUUID": self.name,
                "bootID": self.name,
                "kernelVersion": uname.release,
                "osImage": "processes of this machine",
                "containerRuntimeVersion": "process://1",
                "kubeletVersion": "v1.35.0-lab",
                "kubeProxyVersion": "",
                "operatingSystem": "linux",
                "architecture": uname.machine,
            },
        }

    def _renew_lease(self) -> None:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        path = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
        spec = {"holderIdentity": self.name, "leaseDurationSeconds": LEASE_SECONDS, "renewTime": now}
        try:
            self._api.request("PATCH", f"{path}/{self.name}", {"spec": spec}, content_type=STRATEGIC)
        except ApiError as error:
            if error.status != 404:
                raise
            meta = {"name": self.name, "namespace": "kube-node-lease"}
            lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": meta, "spec": spec}
            self._api.request("POST", path, lease)

    def _pod_changed(self, uid: str, pod: Object | None) -> None:
        with self._lock:
            runner = self._pods.get(uid)
            if runner is not None and pod is None:
                del self._pods[uid]
            if runner is None and pod is not None and not _ended(pod):
                runner = self._pods[uid] = self._runner(pod)
                runner.start()
        if runner is not None:
            runner.update(pod)
        self._balance()

    def _runner(self, pod: Object) -> PodRunner:
        meta = pod["metadata"]
        folder = self.directory / "pods" / f"{meta['namespace']}_{meta['name']}_{meta['uid']}"
        return PodRunner(pod, self._free_ip(), folder, self._api, self._throttle, self._events)

    def _free_ip(self) -> str:
        """An address that only names the pod: EndpointSlices leave loopback addresses out."""
        third = zlib.crc32(self.name.encode()) % 256
        taken = {runner.ip for runner in self._pods.values()}
        while True:
            self._next_ip = self._next_ip % 254 + 1
            ip = f"10.244.{third}.{self._next_ip}"
            if ip not in taken:
                return ip

    def _balance(self) -> None:
        """Give the balancer the ready endpoints that run here."""
        addresses = {runner.ip: runner.address for runner in self.pods()}
        ready: set[Endpoint] = set()
        for item in list(self._slices.objects.values()):
            for endpoint in item.get("endpoints") or []:
                if (endpoint.get("conditions") or {}).get("ready", True):
                    ready |= {addresses[ip] for ip in endpoint.get("addresses") or [] if ip in addresses}
        self.balancer.set_endpoints(ready)

    def _find_log(self, namespace: str, pod: str, container: str, previous: bool) -> tuple[Path, Any] | None:
        for runner in self.pods():
            meta = runner.pod["metadata"]
            if (meta["namespace"], meta["name"]) != (namespace, pod):
                continue
            for candidate in runner.init_containers + runner.containers:
                path = candidate.log_path(previous=previous)
                if candidate.name == container and path.exists():
                    return path, _growing(candidate, previous=previous)
        return None

    def _find_running(self, namespace: str, pod: str) -> list[Container]:
        for runner in self.pods():
            meta = runner.pod["metadata"]
            if (meta["namespace"], meta["name"]) == (namespace, pod):
                return [one for one in runner.init_containers + runner.containers if one.running]
        return []

    def _render(self) -> str:
        return metrics.render(self.pods(), list(self._deployments.objects.values()), self.balancer)

    def _usage(self, path: str, query: dict[str, str]) -> Object | None:
        return metrics.usage(path, query, self.pods(), self.name, self._sampler)


def _growing(container: Container, *, previous: bool) -> Callable[[], bool]:
    """Whether the log that is current now may still grow."""
    count = container.restart_count
    return lambda: container.running and container.restart_count == count and not previous


def _ended(pod: Object) -> bool:
    return (pod.get("status") or {}).get("phase") in {"Succeeded", "Failed"} and "deletionTimestamp" not in pod[
        "metadata"
    ]
