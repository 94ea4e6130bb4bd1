"""Roll Deployments out: one ReplicaSet per template, moved step by step, with progress reported."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable

from runbook_lib.lab.controlplane import selectors
from runbook_lib.lab.controlplane.controllers import base, progress, rollouts
from runbook_lib.lab.controlplane.controllers.runner import Key
from runbook_lib.lab.controlplane.resources import SUFFIX_LETTERS, Resources, Write
from runbook_lib.lab.controlplane.store import Change, Object

COMPONENT = "deployment-controller"
SKIPPED_ANNOTATIONS = (
    "kubectl.kubernetes.io/last-applied-configuration",
    rollouts.REVISION,
    rollouts.HISTORY,
    rollouts.DESIRED,
    rollouts.MAX_REPLICAS,
    "deprecated.deployment.rollback.to",
)


class DeploymentController:
    """Creates ReplicaSets, moves pods between them, keeps revisions and status."""

    name = COMPONENT

    def __init__(self, resources: Resources) -> None:
        self._resources = resources

    def concerned(self, change: Change) -> Iterable[Key]:
        """Deployments themselves, the owner of a ReplicaSet, and for Recreate the grand-owner of a pod that went."""
        metadata = change.object["metadata"]
        if change.key == base.DEPLOYMENT.key:
            yield metadata["namespace"], metadata["name"]
        elif change.key == base.REPLICA_SET.key:
            owner = base.controller_of(change.object)
            if owner and owner["kind"] == "Deployment":
                yield metadata["namespace"], owner["name"]
        elif change.key == base.POD.key and change.type == "DELETED":
            for item in self._resources.store.list(base.DEPLOYMENT, metadata["namespace"]):
                if selectors.selector_of(item["spec"]["selector"])(metadata.get("labels") or {}):
                    yield metadata["namespace"], item["metadata"]["name"]

    def reconcile(self, key: Key) -> float | None:
        """One step of the rollout."""
        deployment = self._resources.find(base.DEPLOYMENT, *key)
        if deployment is None:
            return None
        owned = self._replica_sets(deployment)
        if deployment["metadata"].get("deletionTimestamp"):
            return progress.report(self._resources, deployment, self._current(deployment, owned), owned)
        paused = bool(deployment["spec"].get("paused"))
        current = self._current(deployment, owned)
        if paused or self._was_scaled(deployment, owned):
            self._scale_all(deployment, owned, current)
            return self._finish(deployment, paused=paused)
        if deployment["spec"]["strategy"]["type"] == "Recreate":
            self._recreate(deployment, owned, current)
        else:
            self._roll(deployment, owned, current)
        return self._finish(deployment, paused=paused)

    def _finish(self, deployment: Object, *, paused: bool) -> float | None:
        fresh = self._resources.find(
            base.DEPLOYMENT, deployment["metadata"]["namespace"], deployment["metadata"]["name"]
        )
        if fresh is None:
            return None
        owned = self._replica_sets(fresh)
        current = self._current(fresh, owned)
        if not paused and progress.is_complete(fresh, current, owned):
            self._drop_history(fresh, owned, current)
            owned = self._replica_sets(fresh)
        return progress.report(self._resources, fresh, current, owned)

    def _replica_sets(self, deployment: Object) -> list[Object]:
        matches = selectors.selector_of(deployment["spec"]["selector"])
        rows = []
        for item in self._resources.store.list(base.REPLICA_SET, deployment["metadata"]["namespace"]):
            if base.controls(deployment, item):
                rows.append(item)
            elif base.controller_of(item) is None and matches(item["metadata"].get("labels") or {}):
                rows.append(self._adopt(deployment, item))
        return rows

    def _adopt(self, deployment: Object, item: Object) -> Object:
        def change(target: Object) -> None:
            target["metadata"].setdefault("ownerReferences", []).append(base.owner_reference(deployment))

        return self._update(item, change)

    def _update(self, item: Object, change: object) -> Object:
        metadata = item["metadata"]
        return self._resources.modify(
            base.REPLICA_SET, metadata["namespace"], metadata["name"], change, Write(base.MANAGER)
        )

    def _current(self, deployment: Object, owned: list[Object]) -> Object | None:
        """The oldest ReplicaSet of the Deployment's template."""
        same = [item for item in owned if rollouts.template_of(item) == deployment["spec"]["template"]]
        return min(same, key=lambda item: item["metadata"]["creationTimestamp"]) if same else None

    def _was_scaled(self, deployment: Object, owned: list[Object]) -> bool:
        wanted = str(deployment["spec"].get("replicas", 1))
        for item in owned:
            if item["spec"].get("replicas", 0) == 0:
                continue
            desired = (item["metadata"].get("annotations") or {}).get(rollouts.DESIRED)
            if desired is not None and desired != wanted:
                return True
        return False

    def _scale_all(self, deployment: Object, owned: list[Object], current: Object | None) -> None:
        """A size change in the middle of a rollout keeps the proportions; otherwise only one set is concerned."""
        active = [item for item in owned if item["spec"].get("replicas", 0) > 0]
        latest = active[0] if len(active) == 1 else (current if not active else None)
        wanted = deployment["spec"].get("replicas", 1)
        if latest is not None:
            self._scale(deployment, latest, wanted)
        elif current is not None and progress.is_saturated(deployment, current):
            for item in owned:
                if item is not current:
                    self._scale(deployment, item, 0)
        elif deployment["spec"]["strategy"]["type"] == "RollingUpdate":
            sizes = rollouts.proportions(owned, deployment)
            for item in owned:
                if item["metadata"]["name"] in sizes:
                    self._scale(deployment, item, sizes[item["metadata"]["name"]])

    def _roll(self, deployment: Object, owned: list[Object], current: Object | None) -> None:
        if current is None:
            current = self._create(deployment, owned)
            owned = [*owned, current]
        else:
            current = self._refresh(deployment, owned, current)
            owned = [current if item["metadata"]["name"] == current["metadata"]["name"] else item for item in owned]
        size = current["spec"].get("replicas", 0)
        wanted = deployment["spec"].get("replicas", 1)
        goal = wanted if size > wanted else rollouts.new_replicas(deployment, owned, current)
        if goal != size:
            self._scale(deployment, current, goal)
            return
        self._scale_down_old(deployment, owned, current)

    def _scale_down_old(self, deployment: Object, owned: list[Object], current: Object) -> None:
        old = [
            item
            for item in owned
            if item["metadata"]["name"] != current["metadata"]["name"] and item["spec"].get("replicas", 0) > 0
        ]
        if not old:
            return
        _, unavailable = rollouts.limits(deployment)
        minimum = deployment["spec"].get("replicas", 1) - unavailable
        total = sum(item["spec"].get("replicas", 0) for item in owned)
        new_unavailable = current["spec"].get("replicas", 0) - current["status"].get("availableReplicas", 0)
        budget = total - minimum - new_unavailable
        if budget <= 0:
            return
        # Pods that do not serve go first: removing them costs no availability.
        sizes = {item["metadata"]["name"]: item["spec"]["replicas"] for item in old}
        old.sort(key=lambda item: item["metadata"]["creationTimestamp"])
        for item in old:
            idle = item["spec"]["replicas"] - item["status"].get("availableReplicas", 0)
            step = max(0, min(budget, idle))
            sizes[item["metadata"]["name"]] -= step
            budget -= step
        spare = sum(item["status"].get("availableReplicas", 0) for item in owned) - minimum
        for item in old:
            step = max(0, min(spare, sizes[item["metadata"]["name"]]))
            sizes[item["metadata"]["name"]] -= step
            spare -= step
        for item in old:
            self._scale(deployment, item, sizes[item["metadata"]["name"]])

    def _recreate(self, deployment: Object, owned: list[Object], current: Object | None) -> None:
        old = [item for item in owned if item is not current]
        busy = [item for item in old if item["spec"].get("replicas", 0) > 0]
        for item in busy:
            self._scale(deployment, item, 0)
        uids = {item["metadata"]["uid"] for item in old}
        running = [
            pod
            for pod in self._resources.store.list(base.POD, deployment["metadata"]["namespace"])
            if (base.controller_of(pod) or {}).get("uid") in uids
            and pod["status"].get("phase") not in ("Succeeded", "Failed")
        ]
        if busy or running:
            return
        if current is None:
            self._create(deployment, owned)
        else:
            current = self._refresh(deployment, owned, current)
            self._scale(deployment, current, deployment["spec"].get("replicas", 1))

    def _scale(self, deployment: Object, item: Object, size: int) -> None:
        surge, _ = rollouts.limits(deployment)
        wanted = deployment["spec"].get("replicas", 1)
        marks = {rollouts.DESIRED: str(wanted), rollouts.MAX_REPLICAS: str(wanted + surge)}
        annotations = item["metadata"].get("annotations") or {}
        before = item["spec"].get("replicas", 0)
        if before == size and marks.items() <= annotations.items():
            return

        def change(target: Object) -> None:
            target["spec"]["replicas"] = size
            target["metadata"].setdefault("annotations", {}).update(marks)

        self._update(item, change)
        if before != size:
            direction = "up" if size > before else "down"
            name = item["metadata"]["name"]
            text = f"Scaled {direction} replica set {name} from {before} to {size}"
            base.record_event(self._resources, deployment, COMPONENT, "ScalingReplicaSet", text)

    def _create(self, deployment: Object, owned: list[Object]) -> Object:
        """The ReplicaSet of a new template, at its first size."""
        template = deployment["spec"]["template"]
        metadata = deployment["metadata"]
        digest = template_hash(template, 0)
        collisions = 0
        while self._resources.find(base.REPLICA_SET, metadata["namespace"], f"{metadata['name']}-{digest}"):
            collisions += 1
            digest = template_hash(template, collisions)
        labels = (template["metadata"].get("labels") or {}) | {rollouts.HASH_LABEL: digest}
        selector = dict(deployment["spec"]["selector"])
        selector["matchLabels"] = (selector.get("matchLabels") or {}) | {rollouts.HASH_LABEL: digest}
        revision = max((rollouts.revision_of(item) for item in owned), default=0) + 1
        kept = {
            key: value for key, value in (metadata.get("annotations") or {}).items() if key not in SKIPPED_ANNOTATIONS
        }
        surge, _ = rollouts.limits(deployment)
        wanted = deployment["spec"].get("replicas", 1)
        marks = {
            rollouts.REVISION: str(revision),
            rollouts.DESIRED: str(wanted),
            rollouts.MAX_REPLICAS: str(wanted + surge),
        }
        draft: Object = {
            "metadata": {
                "name": f"{metadata['name']}-{digest}",
                "labels": labels,
                "annotations": kept | marks,
                "ownerReferences": [base.owner_reference(deployment)],
            },
            "spec": {
                "replicas": 0,
                "selector": selector,
                "minReadySeconds": deployment["spec"].get("minReadySeconds", 0),
                "template": template | {"metadata": template["metadata"] | {"labels": labels}},
            },
        }
        draft["spec"]["replicas"] = rollouts.new_replicas(deployment, [*owned, draft], draft)
        created = self._resources.create(base.REPLICA_SET, metadata["namespace"], draft, Write(base.MANAGER))
        size = draft["spec"]["replicas"]
        if size:
            text = f"Scaled up replica set {created['metadata']['name']} from 0 to {size}"
            base.record_event(self._resources, deployment, COMPONENT, "ScalingReplicaSet", text)
        self._mark_revision(deployment, revision)
        return created

    def _refresh(self, deployment: Object, owned: list[Object], current: Object) -> Object:
        """Give the current ReplicaSet the newest revision and the Deployment's annotations and timing."""
        others = [
            rollouts.revision_of(item) for item in owned if item["metadata"]["name"] != current["metadata"]["name"]
        ]
        revision = max(others, default=0) + 1
        annotations = dict(current["metadata"].get("annotations") or {})
        old = rollouts.revision_of(current)
        if old < revision:
            if old:
                history = annotations.get(rollouts.HISTORY)
                annotations[rollouts.HISTORY] = f"{history},{old}" if history else str(old)
            annotations[rollouts.REVISION] = str(revision)
        for key, value in (deployment["metadata"].get("annotations") or {}).items():
            if key not in SKIPPED_ANNOTATIONS:
                annotations[key] = value
        minimum = deployment["spec"].get("minReadySeconds", 0)
        if (
            annotations != (current["metadata"].get("annotations") or {})
            or current["spec"].get("minReadySeconds", 0) != minimum
        ):

            def change(target: Object) -> None:
                target["metadata"]["annotations"] = annotations
                target["spec"]["minReadySeconds"] = minimum

            current = self._update(current, change)
        self._mark_revision(deployment, rollouts.revision_of(current))
        return current

    def _mark_revision(self, deployment: Object, revision: int) -> None:
        if rollouts.revision_of(deployment) == revision:
            return

        def change(target: Object) -> None:
            target["metadata"].setdefault("annotations", {})[rollouts.REVISION] = str(revision)

        metadata = deployment["metadata"]
        self._resources.modify(base.DEPLOYMENT, metadata["namespace"], metadata["name"], change, Write(base.MANAGER))

    def _drop_history(self, deployment: Object, owned: list[Object], current: Object | None) -> None:
        limit = deployment["spec"].get("revisionHistoryLimit", 10)
        old = [
            item
            for item in owned
            if (current is None or item["metadata"]["name"] != current["metadata"]["name"])
            and item["spec"].get("replicas", 0) == 0
            and item["status"].get("replicas", 0) == 0
            and not item["metadata"].get("deletionTimestamp")
        ]
        old.sort(key=rollouts.revision_of)
        for item in old[: max(0, len(old) - limit)]:
            self._resources.delete(base.REPLICA_SET, item["metadata"]["namespace"], item["metadata"]["name"], {})


def template_hash(template: Object, collisions: int) -> str:
    """Short name of a pod template."""
    text = json.dumps([template, collisions], sort_keys=True)
    number = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
    letters = ""
    for _ in range(10):
        number, index = divmod(number, len(SUFFIX_LETTERS))
        letters += SUFFIX_LETTERS[index]
    return letters
