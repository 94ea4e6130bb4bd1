"""How many pods a disruption budget lets go."""

from __future__ import annotations

from collections.abc import Iterable

from runbook_lib.lab.controlplane import clock, kinds, selectors
from runbook_lib.lab.controlplane.controllers import base, rollouts
from runbook_lib.lab.controlplane.controllers.runner import Key
from runbook_lib.lab.controlplane.resources import Resources
from runbook_lib.lab.controlplane.store import Change, Object

BUDGET = kinds.get("poddisruptionbudgets", "policy")


class BudgetController:
    """Counts healthy pods against each budget."""

    name = "disruption-controller"

    def __init__(self, resources: Resources) -> None:
        self._resources = resources

    def concerned(self, change: Change) -> Iterable[Key]:
        """Budgets, and all budgets of the namespace of a pod or a workload."""
        metadata = change.object["metadata"]
        if change.key == BUDGET.key:
            yield metadata["namespace"], metadata["name"]
        elif change.key in (base.POD.key, base.REPLICA_SET.key, base.DEPLOYMENT.key):
            for item in self._resources.store.list(BUDGET, metadata["namespace"]):
                yield metadata["namespace"], item["metadata"]["name"]

    def reconcile(self, key: Key) -> float | None:
        """Write the status of one budget."""
        item = self._resources.find(BUDGET, *key)
        if item is None:
            return None
        pods = [pod for pod in _selected(self._resources, item) if base.is_active(pod)]
        healthy = sum(base.is_ready(pod) for pod in pods)
        expected = self._expected(pods)
        spec = item["spec"]
        if "maxUnavailable" in spec:
            desired = max(0, expected - rollouts.count_of(spec["maxUnavailable"], expected, up=True))
        else:
            desired = rollouts.count_of(spec.get("minAvailable", 1), expected, up=True)
        allowed = max(0, healthy - desired) if pods else 0
        old = base.condition(item, "DisruptionAllowed")
        word = "True" if allowed else "False"
        since = old["lastTransitionTime"] if old and old["status"] == word else clock.now_text()
        status: Object = {
            "currentHealthy": healthy,
            "desiredHealthy": desired,
            "disruptionsAllowed": allowed,
            "expectedPods": expected,
            "observedGeneration": item["metadata"].get("generation", 1),
            "conditions": [
                {
                    "type": "DisruptionAllowed",
                    "status": word,
                    "message": "",
                    "lastTransitionTime": since,
                    "reason": "SufficientPods" if allowed else "InsufficientPods",
                    "observedGeneration": item["metadata"].get("generation", 1),
                }
            ],
        }
        base.write_status(self._resources, BUDGET, item, status)
        return None

    def _expected(self, pods: list[Object]) -> int:
        """Sum of the sizes that the pods' controllers ask for."""
        total, seen = 0, set[str]()
        for pod in pods:
            owner = base.controller_of(pod)
            if owner is None:
                total += 1
                continue
            parent = self._resources.find(base.REPLICA_SET, pod["metadata"]["namespace"], owner["name"])
            above = base.controller_of(parent) if parent else None
            if parent and above:
                parent = self._resources.find(base.DEPLOYMENT, pod["metadata"]["namespace"], above["name"]) or parent
            if parent and parent["metadata"]["uid"] not in seen:
                seen.add(parent["metadata"]["uid"])
                total += parent["spec"].get("replicas", 1)
        return total


def _selected(resources: Resources, budget: Object) -> list[Object]:
    matches = selectors.selector_of(budget["spec"].get("selector"))
    return [
        pod
        for pod in resources.store.list(base.POD, budget["metadata"]["namespace"])
        if matches(pod["metadata"].get("labels") or {})
    ]


def budget_of(resources: Resources, pod: Object) -> Object | None:
    """The budget that covers a pod, or None."""
    labels = pod["metadata"].get("labels") or {}
    for item in resources.store.list(BUDGET, pod["metadata"]["namespace"]):
        if selectors.selector_of(item["spec"].get("selector"))(labels):
            return item
    return None
