"""Tell where each Service's pods are: EndpointSlices and the older Endpoints."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from runbook_lib.lab.controlplane import kinds, selectors
from runbook_lib.lab.controlplane.controllers import base
from runbook_lib.lab.controlplane.controllers.runner import Key
from runbook_lib.lab.controlplane.resources import Resources, Write
from runbook_lib.lab.controlplane.store import Change, Object

SLICE = kinds.get("endpointslices", "discovery.k8s.io")
ENDPOINTS = kinds.get("endpoints")
SERVICE_NAME = "kubernetes.io/service-name"
MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
CONTROLLER = "endpointslice-controller.k8s.io"


class EndpointsController:
    """Keeps one slice and one Endpoints object per Service with a selector."""

    name = "endpointslice-controller"

    def __init__(self, resources: Resources) -> None:
        self._resources = resources

    def concerned(self, change: Change) -> Iterable[Key]:
        """Services, and the Services that select a pod or selected it before the change."""
        metadata = change.object["metadata"]
        if change.key == base.SERVICE.key:
            yield metadata["namespace"], metadata["name"]
        elif change.key == SLICE.key and (metadata.get("labels") or {}).get(SERVICE_NAME):
            yield metadata["namespace"], metadata["labels"][SERVICE_NAME]
        elif change.key == base.POD.key:
            labels = [metadata.get("labels") or {}]
            if change.before is not None:
                labels.append(change.before["metadata"].get("labels") or {})
            for service in self._resources.store.list(base.SERVICE, metadata["namespace"]):
                selector = service["spec"].get("selector")
                if selector and any(selector.items() <= row.items() for row in labels):
                    yield metadata["namespace"], service["metadata"]["name"]

    def reconcile(self, key: Key) -> float | None:
        """Write the slice and the Endpoints of one Service."""
        service = self._resources.find(base.SERVICE, *key)
        if service is None or service["metadata"].get("deletionTimestamp"):
            if self._resources.find(ENDPOINTS, *key):
                self._resources.delete(ENDPOINTS, *key, {})
            return None
        selector = service["spec"].get("selector")
        if not selector or service["spec"].get("type") == "ExternalName":
            return None
        matches = selectors.selector_of({"matchLabels": selector})
        pods = [
            pod
            for pod in self._resources.store.list(base.POD, key[0])
            if matches(pod["metadata"].get("labels") or {})
            and pod["status"].get("podIP")
            and pod["status"].get("phase") not in ("Succeeded", "Failed")
        ]
        self._write_slice(service, pods)
        self._write_endpoints(service, pods)
        return None

    def _write_slice(self, service: Object, pods: list[Object]) -> None:
        metadata = service["metadata"]
        found = [
            item
            for item in self._resources.store.list(SLICE, metadata["namespace"])
            if (item["metadata"].get("labels") or {}).get(SERVICE_NAME) == metadata["name"]
            and (item["metadata"].get("labels") or {}).get(MANAGED_BY) == CONTROLLER
            and not item["metadata"].get("deletionTimestamp")
        ]
        endpoints = [_endpoint(pod, service) for pod in pods]
        ports = _ports(service, pods)
        labels = (metadata.get("labels") or {}) | {SERVICE_NAME: metadata["name"], MANAGED_BY: CONTROLLER}
        if service["spec"].get("clusterIP") == "None":
            labels["service.kubernetes.io/headless"] = ""
        if not found:
            draft = {
                "metadata": {
                    "generateName": f"{metadata['name']}-",
                    "labels": labels,
                    "ownerReferences": [base.owner_reference(service)],
                },
                "addressType": "IPv4",
                "endpoints": endpoints,
                "ports": ports,
            }
            self._resources.create(SLICE, metadata["namespace"], draft, Write(base.MANAGER))
            return
        current = found[0]

        def change(target: Object) -> None:
            # Endpoints that stay keep their place, so that a slice changes by what changed.
            known = {row["targetRef"]["uid"]: i for i, row in enumerate(target.get("endpoints") or [])}
            endpoints.sort(key=lambda row: known.get(row["targetRef"]["uid"], len(known)))
            target["endpoints"], target["ports"] = endpoints, ports
            target["metadata"]["labels"] = labels

        self._resources.modify(SLICE, metadata["namespace"], current["metadata"]["name"], change, Write(base.MANAGER))

    def _write_endpoints(self, service: Object, pods: list[Object]) -> None:
        metadata = service["metadata"]
        ready = [pod for pod in pods if base.is_ready(pod) and not pod["metadata"].get("deletionTimestamp")]
        waiting = [pod for pod in pods if not base.is_ready(pod) and not pod["metadata"].get("deletionTimestamp")]
        ports = [{key: value for key, value in row.items() if value != ""} for row in _ports(service, pods)]
        subset: Object = {}
        if ready:
            subset["addresses"] = [_address(pod) for pod in ready]
        if waiting:
            subset["notReadyAddresses"] = [_address(pod) for pod in waiting]
        subsets = [subset | ({"ports": ports} if ports else {})] if subset else []
        labels = (metadata.get("labels") or {}) | {"endpoints.kubernetes.io/managed-by": "endpoint-controller"}
        if not self._resources.find(ENDPOINTS, metadata["namespace"], metadata["name"]):
            draft = {"metadata": {"name": metadata["name"], "labels": labels}, "subsets": subsets}
            self._resources.create(ENDPOINTS, metadata["namespace"], draft, Write(base.MANAGER))
            return

        def change(target: Object) -> None:
            target["subsets"] = subsets

        self._resources.modify(ENDPOINTS, metadata["namespace"], metadata["name"], change, Write(base.MANAGER))


def _endpoint(pod: Object, service: Object) -> Object:
    ready, going = base.is_ready(pod), bool(pod["metadata"].get("deletionTimestamp"))
    publish = bool(service["spec"].get("publishNotReadyAddresses"))
    row: Object = {
        "addresses": [pod["status"]["podIP"]],
        "conditions": {"ready": publish or (ready and not going), "serving": ready, "terminating": going},
        "targetRef": _target(pod),
    }
    if pod["spec"].get("nodeName"):
        row["nodeName"] = pod["spec"]["nodeName"]
    return row


def _target(pod: Object) -> Object:
    metadata = pod["metadata"]
    return {"kind": "Pod", "namespace": metadata["namespace"], "name": metadata["name"], "uid": metadata["uid"]}


def _address(pod: Object) -> Object:
    row: Object = {"ip": pod["status"]["podIP"], "targetRef": _target(pod)}
    if pod["spec"].get("nodeName"):
        row["nodeName"] = pod["spec"]["nodeName"]
    return row


def _ports(service: Object, pods: list[Object]) -> list[Object]:
    rows = []
    for port in service["spec"].get("ports") or []:
        target: Any = port.get("targetPort", port["port"])
        if isinstance(target, str):
            named = [
                row["containerPort"]
                for pod in pods
                for container in pod["spec"]["containers"]
                for row in container.get("ports") or []
                if row.get("name") == target
            ]
            if not named:
                continue
            target = named[0]
        rows.append({"name": port.get("name", ""), "port": target, "protocol": port.get("protocol", "TCP")})
    return rows
