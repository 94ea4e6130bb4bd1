"""Arithmetic of a rolling update: how many pods each ReplicaSet may have."""

from __future__ import annotations

import math
from typing import Any

from runbook_lib.lab.controlplane.store import Object

REVISION = "deployment.kubernetes.io/revision"
HISTORY = "deployment.kubernetes.io/revision-history"
DESIRED = "deployment.kubernetes.io/desired-replicas"
MAX_REPLICAS = "deployment.kubernetes.io/max-replicas"
HASH_LABEL = "pod-template-hash"


def count_of(value: Any, total: int, *, up: bool) -> int:
    """A count or a percentage of ``total``, rounded up for surge and down for unavailability."""
    if isinstance(value, str):
        share = total * int(value.rstrip("%")) / 100
        return math.ceil(share) if up else math.floor(share)
    return int(value or 0)


def limits(deployment: Object) -> tuple[int, int]:
    """``maxSurge`` and ``maxUnavailable`` in pods."""
    spec = deployment["spec"]
    total = spec.get("replicas", 1)
    if spec["strategy"]["type"] == "Recreate":
        return 0, 0
    rolling = spec["strategy"].get("rollingUpdate") or {}
    surge = count_of(rolling.get("maxSurge", "25%"), total, up=True)
    unavailable = count_of(rolling.get("maxUnavailable", "25%"), total, up=False)
    if surge == 0 and unavailable == 0:
        unavailable = 1  # percentages of few pods round to nothing, and the rollout must still move
    return surge, min(unavailable, total)


def new_replicas(deployment: Object, replica_sets: list[Object], current: Object) -> int:
    """Size of the current ReplicaSet while the rollout goes on."""
    wanted = deployment["spec"].get("replicas", 1)
    size = current["spec"].get("replicas", 0)
    if deployment["spec"]["strategy"]["type"] == "Recreate":
        return int(wanted)
    surge, _ = limits(deployment)
    total = sum(item["spec"].get("replicas", 0) for item in replica_sets)
    room = wanted + surge - total
    if room <= 0:
        return int(size)
    return int(size + min(room, wanted - size))


def template_of(replica_set: Object) -> Object:
    """The ReplicaSet's template without the label that the controller adds."""
    template: Object = replica_set["spec"]["template"]
    labels = {key: value for key, value in (template["metadata"].get("labels") or {}).items() if key != HASH_LABEL}
    metadata = {key: value for key, value in template["metadata"].items() if key != "labels"}
    return template | {"metadata": metadata | ({"labels": labels} if labels else {})}


def revision_of(item: Object) -> int:
    """Revision number of a ReplicaSet or Deployment; 0 without one."""
    text = (item["metadata"].get("annotations") or {}).get(REVISION, "0")
    return int(text) if text.isdigit() else 0


def proportions(replica_sets: list[Object], deployment: Object) -> dict[str, int]:
    """New sizes by ReplicaSet name after the Deployment was scaled in the middle of a rollout."""
    wanted = deployment["spec"].get("replicas", 1)
    active = [item for item in replica_sets if item["spec"].get("replicas", 0) > 0]
    surge, _ = limits(deployment)
    allowed = wanted + surge if wanted else 0
    total = sum(item["spec"]["replicas"] for item in active)
    to_add = allowed - total
    sizes = {item["metadata"]["name"]: item["spec"]["replicas"] for item in active}
    # Larger sets first; among equals the newest when growing, the oldest when shrinking.
    ordered = sorted(active, key=lambda item: item["metadata"]["creationTimestamp"], reverse=to_add > 0)
    ordered.sort(key=lambda item: -item["spec"]["replicas"])
    rest = to_add
    for item in ordered:
        if not rest:
            break
        annotations = item["metadata"].get("annotations") or {}
        before = int(annotations.get(MAX_REPLICAS) or 0) or total or 1
        share = round(item["spec"]["replicas"] * allowed / before) - item["spec"]["replicas"]
        step = max(min(share, rest), 0) if to_add > 0 else min(max(share, rest), 0)
        sizes[item["metadata"]["name"]] += step
        rest -= step
    if rest and ordered:
        name = ordered[0]["metadata"]["name"]
        sizes[name] = max(0, sizes[name] + rest)
    return sizes
