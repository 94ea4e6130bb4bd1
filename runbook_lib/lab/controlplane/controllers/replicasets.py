"""Keep as many pods as a ReplicaSet asks for."""

from __future__ import annotations

from collections.abc import Iterable

from runbook_lib.lab.controlplane import cells, clock, selectors
from runbook_lib.lab.controlplane.controllers import base
from runbook_lib.lab.controlplane.controllers.runner import Key
from runbook_lib.lab.controlplane.resources import Resources, Write
from runbook_lib.lab.controlplane.status import ApiError
from runbook_lib.lab.controlplane.store import Change, Object

COMPONENT = "replicaset-controller"
BURST = 500


class ReplicaSetController:
    """Creates and deletes pods, adopts orphans, reports status."""

    name = COMPONENT

    def __init__(self, resources: Resources) -> None:
        self._resources = resources

    def concerned(self, change: Change) -> Iterable[Key]:
        """ReplicaSets themselves, and the owner of a pod."""
        metadata = change.object["metadata"]
        if change.key == base.REPLICA_SET.key:
            yield metadata["namespace"], metadata["name"]
        elif change.key == base.POD.key:
            owner = base.controller_of(change.object)
            if owner and owner["kind"] == "ReplicaSet":
                yield metadata["namespace"], owner["name"]
            elif not owner:
                labels = metadata.get("labels") or {}
                for item in self._resources.store.list(base.REPLICA_SET, metadata["namespace"]):
                    if selectors.selector_of(item["spec"]["selector"])(labels):
                        yield metadata["namespace"], item["metadata"]["name"]

    def reconcile(self, key: Key) -> float | None:
        """Create or delete pods until there are as many as asked for."""
        item = self._resources.find(base.REPLICA_SET, *key)
        if item is None:
            return None
        pods = self._pods(item)
        active = [pod for pod in pods if base.is_active(pod)]
        problem = ""
        if not item["metadata"].get("deletionTimestamp"):
            try:
                self._scale(item, active)
            except ApiError as error:
                problem = error.message
        again = self._report(item, problem)
        if problem:
            return 1.0
        return again

    def _pods(self, item: Object) -> list[Object]:
        matches = selectors.selector_of(item["spec"]["selector"])
        found = []
        for pod in self._resources.store.list(base.POD, item["metadata"]["namespace"]):
            if base.controls(item, pod):
                if matches(pod["metadata"].get("labels") or {}):
                    found.append(pod)
                else:
                    self._release(item, pod)
            elif base.controller_of(pod) is None and self._wants(item, pod, matches):
                found.append(self._adopt(item, pod))
        return found

    @staticmethod
    def _wants(item: Object, pod: Object, matches: selectors.Matcher) -> bool:
        alive = base.is_active(pod) and not item["metadata"].get("deletionTimestamp")
        return alive and matches(pod["metadata"].get("labels") or {})

    def _adopt(self, item: Object, pod: Object) -> Object:
        def change(target: Object) -> None:
            target["metadata"].setdefault("ownerReferences", []).append(base.owner_reference(item))

        return self._resources.modify(
            base.POD, pod["metadata"]["namespace"], pod["metadata"]["name"], change, Write(base.MANAGER)
        )

    def _release(self, item: Object, pod: Object) -> None:
        def change(target: Object) -> None:
            rows = [row for row in target["metadata"]["ownerReferences"] if row["uid"] != item["metadata"]["uid"]]
            target["metadata"]["ownerReferences"] = rows

        self._resources.modify(
            base.POD, pod["metadata"]["namespace"], pod["metadata"]["name"], change, Write(base.MANAGER)
        )

    def _scale(self, item: Object, active: list[Object]) -> None:
        wanted = item["spec"].get("replicas", 1)
        for _ in range(min(wanted - len(active), BURST)):
            base.create_pod(self._resources, item, COMPONENT, item["spec"]["template"], item["metadata"]["name"])
        surplus = len(active) - wanted
        if surplus > 0:
            for pod in sorted(active, key=_worth)[:surplus]:
                base.delete_pod(self._resources, item, COMPONENT, pod)

    def _report(self, item: Object, problem: str) -> float | None:
        namespace, name = item["metadata"]["namespace"], item["metadata"]["name"]
        fresh = self._resources.find(base.REPLICA_SET, namespace, name)
        if fresh is None:
            return None
        pods = [pod for pod in self._pods(fresh) if base.is_active(pod)]
        template_labels = fresh["spec"]["template"]["metadata"].get("labels") or {}
        minimum = fresh["spec"].get("minReadySeconds", 0)
        waits = [base.seconds_until_available(pod, minimum) for pod in pods]
        full = sum(template_labels.items() <= (pod["metadata"].get("labels") or {}).items() for pod in pods)
        counts = {
            "fullyLabeledReplicas": full,
            "readyReplicas": sum(wait is not None for wait in waits),
            "availableReplicas": sum(wait == 0 for wait in waits),
        }
        status: Object = {"replicas": len(pods), **{key: value for key, value in counts.items() if value}}
        if self._resources.store.list(base.POD, namespace):
            going = sum(bool(pod["metadata"].get("deletionTimestamp")) for pod in self._pods(fresh))
            status |= {"terminatingReplicas": going} if going else {}
        status["observedGeneration"] = fresh["metadata"].get("generation", 1)
        if problem:
            old = base.condition(fresh, "ReplicaFailure")
            since = old["lastTransitionTime"] if old and old["status"] == "True" else clock.now_text()
            status["conditions"] = [
                {
                    "type": "ReplicaFailure",
                    "status": "True",
                    "lastTransitionTime": since,
                    "reason": "FailedCreate",
                    "message": problem,
                }
            ]
        base.write_status(self._resources, base.REPLICA_SET, fresh, status)
        rest = [wait for wait in waits if wait]
        return min(rest) + 0.05 if rest else None


def _worth(pod: Object) -> tuple[bool, int, bool, float, float]:
    """Order in which surplus pods go: unassigned, pending, not ready, restarted, youngest."""
    phases = {"Pending": 0, "Unknown": 1, "Running": 2}
    restarts = sum(row.get("restartCount", 0) for row in pod["status"].get("containerStatuses") or [])
    born = clock.parse(pod["metadata"]["creationTimestamp"]).timestamp()
    crashing = cells.pod_reason(pod) == "CrashLoopBackOff"
    return (
        bool(pod["spec"].get("nodeName")),
        phases.get(pod["status"].get("phase", ""), 1),
        base.is_ready(pod) and not crashing,
        -restarts,
        -born,
    )
