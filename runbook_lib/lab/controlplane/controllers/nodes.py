"""Watch over nodes: taints by readiness, a node that stops reporting, pods of a node that is gone."""

from __future__ import annotations

from collections.abc import Iterable

from runbook_lib.lab.controlplane import clock, kinds
from runbook_lib.lab.controlplane.controllers import base
from runbook_lib.lab.controlplane.controllers.runner import Key
from runbook_lib.lab.controlplane.resources import Resources, Write
from runbook_lib.lab.controlplane.store import Change, Object

LEASE = kinds.get("leases", "coordination.k8s.io")
LEASE_NAMESPACE = "kube-node-lease"
GRACE_SECONDS = 50.0
"""The real controller manager's default: a node that has not reported for this long is Unknown."""
CHECK_SECONDS = 5.0
NOT_READY, UNREACHABLE = "node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"


class NodeController:
    """Keeps taints and readiness of nodes true."""

    name = "node-controller"

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._seen: dict[str, tuple[str, float]] = {}

    def concerned(self, change: Change) -> Iterable[Key]:
        """Nodes."""
        if change.key == base.NODE.key:
            yield "", change.object["metadata"]["name"]

    def reconcile(self, key: Key) -> float | None:
        """Check one node; looked at again while it exists."""
        name = key[1]
        node = self._resources.find(base.NODE, "", name)
        if node is None:
            self._seen.pop(name, None)
            self._delete_pods(name)
            return None
        ready = base.condition(node, "Ready")
        if ready is not None and ready["status"] != "Unknown" and self._silent_seconds(node) > GRACE_SECONDS:
            node = self._lose(node)
            ready = base.condition(node, "Ready")
        state = ready["status"] if ready else "False"
        wanted = {"True": set[str](), "False": {NOT_READY}, "Unknown": {UNREACHABLE}}[state]
        taints = node["spec"].get("taints") or []
        kept = [row for row in taints if row["key"] not in (NOT_READY, UNREACHABLE)]
        goal = kept + [{"key": key, "effect": "NoSchedule"} for key in sorted(wanted)]
        if [(row["key"], row["effect"]) for row in taints] != [(row["key"], row["effect"]) for row in goal]:

            def change(target: Object) -> None:
                target["spec"]["taints"] = goal

            self._resources.modify(base.NODE, "", name, change, Write(base.MANAGER))
        return CHECK_SECONDS

    def _silent_seconds(self, node: Object) -> float:
        """Seconds since the node was last heard of, by this server's clock and not by the node's."""
        name = node["metadata"]["name"]
        lease = self._resources.find(LEASE, LEASE_NAMESPACE, name)
        ready = base.condition(node, "Ready") or {}
        sign = f"{((lease or {}).get('spec') or {}).get('renewTime')} {ready.get('lastHeartbeatTime')}"
        now = clock.now().timestamp()
        if name not in self._seen or self._seen[name][0] != sign:
            self._seen[name] = (sign, now)
        return now - self._seen[name][1]

    def _lose(self, node: Object) -> Object:
        def change(target: Object) -> None:
            for row in target["status"].get("conditions") or []:
                row |= {
                    "status": "Unknown",
                    "reason": "NodeStatusUnknown",
                    "message": "Kubelet stopped posting node status.",
                    "lastTransitionTime": clock.now_text(),
                }

        return self._resources.modify(base.NODE, "", node["metadata"]["name"], change, Write(base.MANAGER), "status")

    def _delete_pods(self, node_name: str) -> None:
        """Nobody is left to end the pods of a removed node, so they go at once."""
        for pod in self._resources.store.list(base.POD):
            if pod["spec"].get("nodeName") == node_name:
                metadata = pod["metadata"]
                self._resources.delete(base.POD, metadata["namespace"], metadata["name"], {"gracePeriodSeconds": 0})
