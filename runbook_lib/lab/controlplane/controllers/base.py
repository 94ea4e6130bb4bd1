"""What controllers share: kinds, owner references, readiness, events."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from runbook_lib.lab.controlplane import clock, kinds, strategy
from runbook_lib.lab.controlplane.kinds import Kind
from runbook_lib.lab.controlplane.resources import Resources, Write, random_suffix
from runbook_lib.lab.controlplane.status import ApiError
from runbook_lib.lab.controlplane.store import Object

POD = kinds.get("pods")
NODE = kinds.get("nodes")
SERVICE = kinds.get("services")
EVENT = kinds.get("events")
NAMESPACE = kinds.get("namespaces")
DEPLOYMENT = kinds.get("deployments", "apps")
REPLICA_SET = kinds.get("replicasets", "apps")
JOB = kinds.get("jobs", "batch")
MANAGER = "kube-controller-manager"


def owner_reference(owner: Object) -> Object:
    """The reference by which an owner controls a dependent."""
    metadata = owner["metadata"]
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": metadata["name"],
        "uid": metadata["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def controller_of(item: Object) -> Object | None:
    """The owner reference of the controlling owner."""
    return next((row for row in item["metadata"].get("ownerReferences") or [] if row.get("controller")), None)


def controls(owner: Object, item: Object) -> bool:
    """Whether ``owner`` is the controlling owner of ``item``."""
    reference = controller_of(item)
    return reference is not None and reference["uid"] == owner["metadata"]["uid"]


def condition(item: Object, kind: str) -> Object | None:
    """The condition of a type in an object's status."""
    return next((row for row in (item.get("status") or {}).get("conditions") or [] if row["type"] == kind), None)


def is_ready(pod: Object) -> bool:
    """Whether a pod is ready to serve."""
    found = condition(pod, "Ready")
    return found is not None and found["status"] == "True"


def seconds_until_available(pod: Object, min_ready_seconds: int) -> float | None:
    """0 for a pod that has been ready long enough, the seconds to wait, or None when it is not ready."""
    found = condition(pod, "Ready")
    if found is None or found["status"] != "True":
        return None
    if not min_ready_seconds:
        return 0.0
    since = found.get("lastTransitionTime")
    if not since:
        return None
    passed = (clock.now() - clock.parse(since)).total_seconds()
    return max(0.0, min_ready_seconds - passed)


def is_active(pod: Object) -> bool:
    """Whether a pod counts: not ended and not being deleted."""
    return pod["status"].get("phase") not in ("Succeeded", "Failed") and not pod["metadata"].get("deletionTimestamp")


def record_event(
    resources: Resources, item: Object, component: str, reason: str, message: str, kind: str = "Normal"
) -> None:
    """Tell about an object; equal events within the hour are one with a count."""
    namespace = item["metadata"].get("namespace") or "default"
    reference = strategy.reference(item)
    identity = json.dumps([reference.get("uid"), component, reason, message, kind])
    suffix = hashlib.blake2b(identity.encode(), digest_size=8).hexdigest()
    name = f"{item['metadata']['name']}.{suffix}"
    now = clock.now_text()
    known = resources.find(EVENT, namespace, name)
    write = Write(MANAGER)
    if known:

        def count(event: Object) -> None:
            event["count"] = event.get("count", 1) + 1
            event["lastTimestamp"] = now

        resources.modify(EVENT, namespace, name, count, write)
        return
    event: dict[str, Any] = {
        "metadata": {"name": name},
        "involvedObject": reference,
        "reason": reason,
        "message": message,
        "source": {"component": component},
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
        "type": kind,
        "reportingComponent": component,
    }
    try:
        resources.create(EVENT, namespace, event, write)
    except ApiError:
        return  # the namespace is going; an event about that is not worth a failure


def create_pod(resources: Resources, owner: Object, component: str, template: Object, prefix: str) -> Object:
    """Create a pod from a template, owned by ``owner``.

    Raises:
        ApiError: the server refused the pod.
    """
    metadata = {
        key: value for key, value in template["metadata"].items() if key in ("labels", "annotations", "finalizers")
    }
    pod = {
        "metadata": metadata
        | {
            "generateName": f"{prefix}-",
            "name": f"{prefix}-{random_suffix()}",
            "ownerReferences": [owner_reference(owner)],
        },
        "spec": template["spec"],
    }
    try:
        created = resources.create(POD, owner["metadata"]["namespace"], pod, Write(MANAGER))
    except ApiError as error:
        record_event(resources, owner, component, "FailedCreate", f"Error creating: {error.message}", "Warning")
        raise
    record_event(resources, owner, component, "SuccessfulCreate", f"Created pod: {created['metadata']['name']}")
    return created


def delete_pod(resources: Resources, owner: Object, component: str, pod: Object) -> None:
    """Delete a pod and tell about it."""
    resources.delete(POD, pod["metadata"]["namespace"], pod["metadata"]["name"], {"propagationPolicy": "Background"})
    record_event(resources, owner, component, "SuccessfulDelete", f"Deleted pod: {pod['metadata']['name']}")


def write_status(resources: Resources, kind: Kind, item: Object, status: Object) -> Object:
    """Store a status when it differs."""
    if item.get("status") == status:
        return item
    return resources.commit(
        kind, item, {**item, "metadata": dict(item["metadata"]), "status": status}, Write(MANAGER), "status"
    )
