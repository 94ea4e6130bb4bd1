"""Assign pods to nodes that are ready and have room."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction

from runbook_lib.lab.controlplane import clock
from runbook_lib.lab.controlplane.controllers import base
from runbook_lib.lab.controlplane.controllers.runner import Key
from runbook_lib.lab.controlplane.quantity import quantity
from runbook_lib.lab.controlplane.requests import Target
from runbook_lib.lab.controlplane.resources import Resources, Write
from runbook_lib.lab.controlplane.store import Change, Object
from runbook_lib.lab.controlplane.subresources import bind

COMPONENT = "default-scheduler"
MANAGER = "kube-scheduler"
RETRY_SECONDS = 5.0
FULL = ("Insufficient cpu", "Insufficient memory", "Too many pods")
"""Problems that the end of other pods would solve."""


class Scheduler:
    """Binds pending pods; a pod that fits nowhere says why and is tried again when the cluster changes."""

    name = COMPONENT

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._waiting: set[Key] = set()

    def concerned(self, change: Change) -> Iterable[Key]:
        """Unassigned pods; and all that wait when a node changes or a pod leaves room."""
        metadata = change.object["metadata"]
        if change.key == base.POD.key and change.type != "DELETED":
            if not change.object["spec"].get("nodeName") and not metadata.get("deletionTimestamp"):
                yield metadata["namespace"], metadata["name"]
        elif change.key in (base.NODE.key, base.POD.key):
            yield from list(self._waiting)

    def reconcile(self, key: Key) -> float | None:
        """Bind one pod, or report why it cannot be."""
        pod = self._resources.find(base.POD, *key)
        self._waiting.discard(key)
        if pod is None or pod["spec"].get("nodeName") or pod["metadata"].get("deletionTimestamp"):
            return None
        if pod["spec"].get("schedulerName") != COMPONENT:
            return None
        nodes = self._resources.store.list(base.NODE)
        problems: dict[str, int] = {}
        fits: list[tuple[Fraction, str]] = []
        for node in nodes:
            problem, free = self._judge(pod, node)
            if problem:
                problems[problem] = problems.get(problem, 0) + 1
            else:
                fits.append((free, node["metadata"]["name"]))
        if not fits:
            self._report(pod, len(nodes), problems)
            self._waiting.add(key)
            return RETRY_SECONDS
        # The node with the most free processor time, and by name among equals.
        name = max(fits, key=lambda row: (row[0], row[1]))[1]
        target = Target("", "v1", "pods", key[0], key[1], "binding")
        bind(self._resources, target, base.POD, {"target": {"name": name}}, Write(MANAGER))
        text = f"Successfully assigned {key[0]}/{key[1]} to {name}"
        base.record_event(self._resources, pod, COMPONENT, "Scheduled", text)
        return None

    def _judge(self, pod: Object, node: Object) -> tuple[str, Fraction]:
        """Why the pod cannot run on the node, or an empty text and the processor time that stays free."""
        zero = Fraction(0)
        spec = node["spec"]
        if spec.get("unschedulable"):
            return "node(s) were unschedulable", zero
        for taint in spec.get("taints") or []:
            if taint["effect"] in ("NoSchedule", "NoExecute") and not any(
                _tolerates(row, taint) for row in pod["spec"].get("tolerations") or []
            ):
                return "node(s) had untolerated taint(s)", zero
        labels = node["metadata"].get("labels") or {}
        wanted = pod["spec"].get("nodeSelector") or {}
        if not wanted.items() <= labels.items():
            return "node(s) didn't match Pod's node affinity/selector", zero
        allocatable = (node.get("status") or {}).get("allocatable") or {}
        others = [
            row
            for row in self._resources.store.list(base.POD)
            if row["spec"].get("nodeName") == node["metadata"]["name"]
            and row["status"].get("phase") not in ("Succeeded", "Failed")
        ]
        if len(others) + 1 > quantity(allocatable.get("pods", "110")):
            return "Too many pods", zero
        free_cpu = zero
        for name, title in (("cpu", "Insufficient cpu"), ("memory", "Insufficient memory")):
            capacity = quantity(allocatable.get(name, "0"))
            used = sum((requested(row, name) for row in others), zero)
            need = requested(pod, name)
            if need > capacity:
                return f"{title} ", zero  # even an empty node would not do
            if need > 0 and used + need > capacity:
                return title, zero
            if name == "cpu":
                free_cpu = capacity - used - need
        return "", free_cpu

    def _report(self, pod: Object, nodes: int, problems: dict[str, int]) -> None:
        if not nodes:
            message = "no nodes available to schedule pods"
        else:
            listed = ", ".join(f"{count} {problem.strip()}" for problem, count in sorted(problems.items()))
            # No pod has a priority here, so evicting others never helps; which of two sentences says so depends on
            # whether an empty node would do.
            full = sum(count for problem, count in problems.items() if problem in FULL)
            whys = [
                (full, "No preemption victims found for incoming pod"),
                (nodes - full, "Preemption is not helpful for scheduling"),
            ]
            helps = ", ".join(f"{count} {why}" for count, why in whys if count)
            tail = f"preemption: 0/{nodes} nodes are available: {helps}."
            message = f"0/{nodes} nodes are available: {listed}. no new claims to deallocate, {tail}"
        old = base.condition(pod, "PodScheduled")
        if old and old["status"] == "False" and old.get("message") == message:
            return

        def change(target: Object) -> None:
            rows = [row for row in target["status"].get("conditions") or [] if row["type"] != "PodScheduled"]
            since = old["lastTransitionTime"] if old else clock.now_text()
            rows.append(
                {
                    "type": "PodScheduled",
                    "status": "False",
                    "reason": "Unschedulable",
                    "message": message,
                    "lastProbeTime": None,
                    "lastTransitionTime": since,
                }
            )
            target["status"]["conditions"] = rows

        metadata = pod["metadata"]
        self._resources.modify(base.POD, metadata["namespace"], metadata["name"], change, Write(MANAGER), "status")
        base.record_event(self._resources, pod, COMPONENT, "FailedScheduling", message, "Warning")


def requested(pod: Object, name: str) -> Fraction:
    """Amount of a resource that a pod asks for."""
    rows = [
        ((container.get("resources") or {}).get("requests") or {}).get(name, "0")
        for container in pod["spec"]["containers"]
    ]
    return sum((quantity(row) for row in rows), Fraction(0))


def _tolerates(toleration: Object, taint: Object) -> bool:
    if toleration.get("effect") and toleration["effect"] != taint["effect"]:
        return False
    if not toleration.get("key"):
        return bool(toleration.get("operator") == "Exists")
    if toleration["key"] != taint["key"]:
        return False
    return toleration.get("operator") == "Exists" or toleration.get("value", "") == taint.get("value", "")
