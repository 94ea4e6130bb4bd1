"""Status of a Deployment: counts, and the conditions Available, Progressing and ReplicaFailure."""

from __future__ import annotations

from runbook_lib.lab.controlplane import clock
from runbook_lib.lab.controlplane.controllers import base, rollouts
from runbook_lib.lab.controlplane.resources import Resources
from runbook_lib.lab.controlplane.store import Object

TIMED_OUT, COMPLETE, UPDATED = "ProgressDeadlineExceeded", "NewReplicaSetAvailable", "ReplicaSetUpdated"


def is_saturated(deployment: Object, current: Object) -> bool:
    """Whether the current ReplicaSet has all pods that the Deployment wants."""
    wanted = deployment["spec"].get("replicas", 1)
    desired = (current["metadata"].get("annotations") or {}).get(rollouts.DESIRED)
    return bool(
        current["spec"].get("replicas", 0) == wanted
        and desired == str(wanted)
        and current["status"].get("availableReplicas", 0) == wanted
    )


def counts(deployment: Object, current: Object | None, owned: list[Object]) -> Object:
    """Pod counts of the status; zeros are left out, as on the wire."""
    total = sum(item["status"].get("replicas", 0) for item in owned)
    available = sum(item["status"].get("availableReplicas", 0) for item in owned)
    ready = sum(item["status"].get("readyReplicas", 0) for item in owned)
    wanted = sum(item["spec"].get("replicas", 0) for item in owned)
    rows = {
        "replicas": total,
        "updatedReplicas": current["status"].get("replicas", 0) if current else 0,
        "readyReplicas": ready,
        "availableReplicas": available,
        "unavailableReplicas": max(0, wanted - available),
    }
    del deployment
    return {key: value for key, value in rows.items() if value}


def is_complete(deployment: Object, current: Object | None, owned: list[Object]) -> bool:
    """Whether every pod is of the current template and available."""
    rows = counts(deployment, current, owned)
    wanted = deployment["spec"].get("replicas", 1)
    numbers = [rows.get(name, 0) for name in ("updatedReplicas", "replicas", "availableReplicas")]
    observed = (deployment["status"].get("observedGeneration") or 0) >= deployment["metadata"].get("generation", 1)
    return numbers == [wanted] * 3 and observed


def report(resources: Resources, deployment: Object, current: Object | None, owned: list[Object]) -> float | None:
    """Write the status; returns seconds until the progress deadline has to be looked at again."""
    rows = counts(deployment, current, owned)
    old = deployment["status"]
    status: Object = {"observedGeneration": deployment["metadata"].get("generation", 1), **rows}
    if old.get("collisionCount"):
        status["collisionCount"] = old["collisionCount"]
    conditions = {row["type"]: row for row in old.get("conditions") or []}
    again = _progressing(deployment, current, owned, rows, conditions)
    _available(deployment, rows, conditions)
    _failure(owned, conditions)
    status["conditions"] = list(conditions.values())
    if not status["conditions"]:
        del status["conditions"]
    base.write_status(resources, base.DEPLOYMENT, deployment, status)
    return again


def _set(
    conditions: dict[str, Object], kind: str, status: str, reason: str, message: str, *, touch: bool = False
) -> None:
    """Set a condition; the transition time moves with the status, the update time with any change."""
    old = conditions.get(kind)
    now = clock.now_text()
    if old and (old["status"], old["reason"], old["message"]) == (status, reason, message) and not touch:
        return
    since = old["lastTransitionTime"] if old and old["status"] == status else now
    conditions[kind] = {
        "type": kind,
        "status": status,
        "lastUpdateTime": now,
        "lastTransitionTime": since,
        "reason": reason,
        "message": message,
    }


def _available(deployment: Object, rows: Object, conditions: dict[str, Object]) -> None:
    _, unavailable = rollouts.limits(deployment)
    enough = rows.get("availableReplicas", 0) >= deployment["spec"].get("replicas", 1) - unavailable
    if enough:
        _set(conditions, "Available", "True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
    else:
        _set(
            conditions,
            "Available",
            "False",
            "MinimumReplicasUnavailable",
            "Deployment does not have minimum availability.",
        )


def _failure(owned: list[Object], conditions: dict[str, Object]) -> None:
    for item in owned:
        found = base.condition(item, "ReplicaFailure")
        if found:
            _set(conditions, "ReplicaFailure", found["status"], found["reason"], found["message"])
            return
    conditions.pop("ReplicaFailure", None)


def _progressing(
    deployment: Object, current: Object | None, owned: list[Object], rows: Object, conditions: dict[str, Object]
) -> float | None:
    deadline = deployment["spec"].get("progressDeadlineSeconds")
    name = current["metadata"]["name"] if current else deployment["metadata"]["name"]
    what = "ReplicaSet" if current else "Deployment"
    old = conditions.get("Progressing")
    if deployment["spec"].get("paused"):
        _set(conditions, "Progressing", "Unknown", "DeploymentPaused", "Deployment is paused")
        return None
    if old and old["reason"] == "DeploymentPaused":
        _set(conditions, "Progressing", "Unknown", "DeploymentResumed", "Deployment is resumed")
        old = conditions["Progressing"]
    if deadline is None:
        conditions.pop("Progressing", None)
        return None
    numbers = [rows.get(key, 0) for key in ("updatedReplicas", "replicas", "availableReplicas")]
    if numbers == [deployment["spec"].get("replicas", 1)] * 3 and current is not None:
        _set(conditions, "Progressing", "True", COMPLETE, f'{what} "{name}" has successfully progressed.')
        return None
    before = deployment["status"]
    moved = (
        rows.get("updatedReplicas", 0) > before.get("updatedReplicas", 0)
        or rows.get("readyReplicas", 0) > before.get("readyReplicas", 0)
        or rows.get("availableReplicas", 0) > before.get("availableReplicas", 0)
        or _old(rows) < _old(before)
    )
    observed = before.get("observedGeneration") == deployment["metadata"].get("generation")
    started = old is None or (old["reason"] == COMPLETE and (not observed or _is_new(current, owned)))
    if started and current is not None and old is None:
        _set(conditions, "Progressing", "True", "NewReplicaSetCreated", f'Created new replica set "{name}"')
    elif moved or started:
        _set(conditions, "Progressing", "True", UPDATED, f'{what} "{name}" is progressing.', touch=True)
    found = conditions.get("Progressing")
    if found is None or found["reason"] in (TIMED_OUT, COMPLETE):
        return None
    passed = (clock.now() - clock.parse(found["lastUpdateTime"])).total_seconds()
    if passed >= deadline:
        _set(conditions, "Progressing", "False", TIMED_OUT, f'{what} "{name}" has timed out progressing.')
        return None
    return float(deadline - passed + 0.1)


def _old(rows: Object) -> int:
    return int(rows.get("replicas", 0) - rows.get("updatedReplicas", 0))


def _is_new(current: Object | None, owned: list[Object]) -> bool:
    """Whether the current set still has to take over."""
    return current is None or any(item is not current and item["spec"].get("replicas", 0) for item in owned)
