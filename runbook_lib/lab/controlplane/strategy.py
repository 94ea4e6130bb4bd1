"""What each kind does around a write: fields the server sets, allocations, generations, deletion."""

from __future__ import annotations

import copy
from datetime import timedelta
from typing import Any

from runbook_lib.lab.controlplane import clock, status
from runbook_lib.lab.controlplane.kinds import Kind
from runbook_lib.lab.controlplane.status import ApiError
from runbook_lib.lab.controlplane.store import Object, Store

SERVICE_NETWORK = "10.96"
SYSTEM_NAMESPACES = ("default", "kube-system", "kube-public")
# Renamed fields between the two versions of events that share one storage.
EVENT_NAMES = {
    "involvedObject": "regarding",
    "message": "note",
    "source": "deprecatedSource",
    "firstTimestamp": "deprecatedFirstTimestamp",
    "lastTimestamp": "deprecatedLastTimestamp",
    "count": "deprecatedCount",
    "reportingComponent": "reportingController",
}


def shown(kind: Kind, item: Object) -> Object:
    """The stored object in the version of ``kind``; only events have two."""
    if item["apiVersion"] == kind.api_version:
        return item
    renamed = {EVENT_NAMES.get(key, key): value for key, value in item.items()}
    renamed = {key: value for key, value in renamed.items() if value != ""}
    return renamed | {"apiVersion": kind.api_version, "kind": kind.kind}


def stored(kind: Kind, item: Object) -> Object:
    """The object as it is kept."""
    if not kind.storage:
        return item
    back = {value: key for key, value in EVENT_NAMES.items()}
    renamed = {back.get(key, key): value for key, value in item.items()}
    filled = {"source": {}, "firstTimestamp": None, "lastTimestamp": None, "reportingInstance": ""} | renamed
    return filled | {"apiVersion": "v1", "kind": "Event"}


def before_create(kind: Kind, item: Object) -> None:
    """Reset and set what clients do not decide."""
    match kind.resource:
        case "pods":
            item["status"] = {"phase": "Pending", "qosClass": qos_class(item["spec"])}
        case "namespaces":
            item["status"] = {"phase": "Active"}
            finalizers = item.setdefault("spec", {}).setdefault("finalizers", [])
            if "kubernetes" not in finalizers:
                finalizers.append("kubernetes")
        case "services":
            item["status"] = {"loadBalancer": {}}
        case "jobs":
            item["status"] = {}
            label_job(item)
        case "replicasets":
            item["status"] = {"replicas": 0}
        case "apiservices":
            item["status"] = {}
        case _ if kind.has_status and kind.resource != "nodes":  # a node may register with its status
            item["status"] = {}


def label_job(item: Object) -> None:
    """Give a Job its selector and its template the labels that the selector asks for."""
    spec = item["spec"]
    if spec.get("manualSelector"):
        return
    uid, name = item["metadata"]["uid"], item["metadata"]["name"]
    labels = spec["template"]["metadata"].setdefault("labels", {})
    for prefix in ("batch.kubernetes.io/", ""):
        labels[f"{prefix}controller-uid"] = uid
        labels[f"{prefix}job-name"] = name
    item["metadata"].setdefault("labels", {}).update(labels)
    spec["selector"] = {"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}


def admit(kind: Kind, item: Object) -> None:
    """What the admission plugins that are on by default add."""
    if kind.resource == "pods":
        spec = item["spec"]
        spec.setdefault("priority", 0)
        spec.setdefault("preemptionPolicy", "PreemptLowerPriority")
        tolerations = spec.setdefault("tolerations", [])
        for name in ("not-ready", "unreachable"):
            key = f"node.kubernetes.io/{name}"
            if not any(
                row.get("key") in (key, None) and row.get("effect") in ("NoExecute", None) for row in tolerations
            ):
                tolerations.append({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300})
    if kind.resource == "nodes":
        taints = item["spec"].setdefault("taints", [])
        if not any(taint["key"] == "node.kubernetes.io/not-ready" for taint in taints):
            taints.append({"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"})


def qos_class(spec: Object) -> str:
    """``Guaranteed``, ``Burstable`` or ``BestEffort`` from requests and limits."""
    rows = [
        container.get("resources") or {}
        for container in [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]
    ]
    if not any(row.get("requests") or row.get("limits") for row in rows):
        return "BestEffort"
    for row in rows:
        limits, requests = row.get("limits") or {}, row.get("requests") or {}
        if set(limits) < {"cpu", "memory"} or any(
            requests.get(name, limits.get(name)) != limits.get(name) for name in ("cpu", "memory")
        ):
            return "Burstable"
    return "Guaranteed"


def allocate(kind: Kind, item: Object, store: Store) -> None:
    """Give a Service its address and node ports."""
    if kind.resource != "services":
        return
    spec = item["spec"]
    if spec.get("type") == "ExternalName":
        return
    others = [other["spec"] for other in store.list(kind) if other["metadata"]["uid"] != item["metadata"]["uid"]]
    if not spec.get("clusterIP"):
        taken = {other.get("clusterIP") for other in others}
        spec["clusterIP"] = next(
            ip for ip in (f"{SERVICE_NETWORK}.{i // 250}.{i % 250 + 2}" for i in range(60000)) if ip not in taken
        )
    spec["clusterIPs"] = spec.get("clusterIPs") or [spec["clusterIP"]]
    spec.setdefault("ipFamilies", ["IPv4"])
    spec.setdefault("ipFamilyPolicy", "SingleStack")
    if spec.get("type") in ("NodePort", "LoadBalancer"):
        used = {port.get("nodePort") for other in others for port in other.get("ports") or []}
        for port in spec.get("ports") or []:
            if not port.get("nodePort"):
                port["nodePort"] = next(number for number in range(30000, 32768) if number not in used)
                used.add(port["nodePort"])


def keep_system_fields(live: Object, item: Object) -> None:
    """A write never changes the object's identity."""
    old, new = live["metadata"], item["metadata"]
    for key in (
        "uid",
        "creationTimestamp",
        "generation",
        "selfLink",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generateName",
        "resourceVersion",
        "namespace",
        "name",
    ):
        if key in old:
            new[key] = old[key]
        else:
            new.pop(key, None)


def before_update(kind: Kind, live: Object, item: Object, subresource: str) -> None:
    """Keep the half of the object that the path does not write."""
    if subresource == "status":
        for key in set(live) | set(item):
            if key not in ("status", "metadata", "apiVersion", "kind"):
                item.pop(key, None)
                if key in live:
                    item[key] = live[key]
        if kind.resource not in ("pods", "nodes"):
            _carry(live["metadata"], item["metadata"], "labels")
        if kind.resource in ("pods",):
            _carry(live["metadata"], item["metadata"], "ownerReferences")
    elif kind.has_status:
        _carry(live, item, "status")
    if kind.resource == "namespaces" and subresource != "finalize":
        _carry(live, item, "spec")
    if kind.resource == "services" and not subresource:
        _keep_addresses(live["spec"], item["spec"])


def _keep_addresses(old: Object, new: Object) -> None:
    """An update that leaves out what was allocated keeps it."""
    if new.get("type") == "ExternalName" or old.get("type") == "ExternalName":
        return
    for key in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"):
        if not new.get(key) and old.get(key):
            new[key] = old[key]
    if new.get("type") in ("NodePort", "LoadBalancer"):
        by_port = {(port["port"], port.get("protocol")): port.get("nodePort") for port in old.get("ports") or []}
        for port in new.get("ports") or []:
            known = by_port.get((port["port"], port.get("protocol")))
            if known and not port.get("nodePort"):
                port["nodePort"] = known


def _carry(source: Object, target: Object, key: str) -> None:
    target.pop(key, None)
    if key in source:
        target[key] = source[key]


def bump_generation(kind: Kind, live: Object, item: Object, subresource: str) -> None:
    """Count a change of the desired state."""
    if not kind.generation or subresource == "status":
        return
    skip = ("metadata", "status", "apiVersion", "kind")
    changed = any(live.get(key) != item.get(key) for key in (set(live) | set(item)) - set(skip))
    if kind.resource == "deployments":
        changed = changed or live["metadata"].get("annotations") != item["metadata"].get("annotations")
    if changed:
        item["metadata"]["generation"] = live["metadata"].get("generation", 0) + 1


def wrong_uid(kind: Kind, live: Object, uid: str) -> ApiError:
    """An update that means another object of the same name; the words are those of the storage layer."""
    metadata = live["metadata"]
    place = "/".join(filter(None, (kind.resource, metadata.get("namespace"), metadata["name"])))
    why = (
        f"StorageError: invalid object, Code: 4, Key: /registry/{place}, ResourceVersion: 0, AdditionalErrorMsg: "
        f"Precondition failed: UID in precondition: {uid}, UID in object meta: {metadata['uid']}"
    )
    return status.conflict(kind, metadata["name"], why)


def not_in_schema(kind: Kind, raw: Object, unknown: list[str]) -> ApiError:
    """An applied configuration with fields that the kind does not have."""
    metadata = raw.get("metadata") or {}
    group = f"{kind.group}/{kind.version}, Kind={kind.kind}"
    place = f"{metadata.get('namespace', '')}/{metadata.get('name', '')}; {group}"
    texts = [f".{path}: field not declared in schema" for path in unknown]
    listed = texts[0] if len(texts) == 1 else "errors:\n" + "\n".join(f"  {text}" for text in texts)
    return ApiError(500, "", f"failed to create typed patch object ({place}): {listed}")


def check_preconditions(kind: Kind, live: Object, preconditions: Object) -> None:
    """Refuse a deletion that names another object or version.

    Raises:
        ApiError: 409.
    """
    metadata = live["metadata"]
    wanted = preconditions.get("uid")
    if wanted and wanted != metadata["uid"]:
        why = f"the UID in the precondition ({wanted}) does not match the UID in record ({metadata['uid']}). "
        raise status.failed_precondition(
            kind, metadata["name"], why + "The object might have been deleted and then recreated"
        )
    wanted = preconditions.get("resourceVersion")
    if wanted and wanted != metadata["resourceVersion"]:
        why = (
            f"the ResourceVersion in the precondition ({wanted}) does not match the ResourceVersion in record "
            f"({metadata['resourceVersion']}). The object might have been modified"
        )
        raise status.failed_precondition(kind, metadata["name"], why)


def check_delete(kind: Kind, live: Object) -> None:
    """Refuse to delete what the cluster cannot be without.

    Raises:
        ApiError: 403.
    """
    name = live["metadata"]["name"]
    if kind.resource == "namespaces" and name in SYSTEM_NAMESPACES:
        raise status.forbidden("", "namespaces", name, "this namespace may not be deleted")


def held(kind: Kind, item: Object) -> bool:
    """Whether something other than ``metadata.finalizers`` keeps a deleted object."""
    return kind.resource == "namespaces" and bool((item.get("spec") or {}).get("finalizers"))


def mark_deleted(kind: Kind, live: Object, options: Object) -> Object | None:
    """The object marked for deletion, or None when it can go at once."""
    metadata = live["metadata"]
    grace = _grace_seconds(kind, live, options)
    finalizers = _finalizers(metadata, options)
    if not finalizers and not grace and not held(kind, live):
        return None
    item = copy.deepcopy(live)
    marks = item["metadata"]
    if finalizers:
        marks["finalizers"] = finalizers
    else:
        marks.pop("finalizers", None)
    if metadata.get("deletionTimestamp"):
        granted = metadata.get("deletionGracePeriodSeconds") or 0
        if not grace and not finalizers and not held(kind, live):
            return None
        if grace < granted:
            began = clock.parse(metadata["deletionTimestamp"]) - timedelta(seconds=granted)
            marks["deletionTimestamp"] = clock.text(began + timedelta(seconds=grace))
            marks["deletionGracePeriodSeconds"] = grace
        return item
    marks["deletionTimestamp"] = clock.now_text(grace)
    if kind.resource != "namespaces":
        marks["deletionGracePeriodSeconds"] = grace
    if metadata.get("generation"):
        marks["generation"] = metadata["generation"] + 1
    if kind.resource == "namespaces":
        item["status"] = (item.get("status") or {}) | {"phase": "Terminating"}
    return item


def last_state(kind: Kind, live: Object) -> Object:
    """What the answer to a deletion at once shows: a pod as it would have been marked, anything else as it was."""
    if kind.resource != "pods":
        return live
    metadata = dict(live["metadata"])
    metadata["deletionTimestamp"] = metadata.get("deletionTimestamp") or clock.now_text()
    metadata["deletionGracePeriodSeconds"] = 0
    if not live["metadata"].get("deletionTimestamp"):
        metadata["generation"] = metadata.get("generation", 0) + 1
    return live | {"metadata": metadata}


def _grace_seconds(kind: Kind, live: Object, options: Object) -> int:
    if kind.resource != "pods":
        return 0
    given = options.get("gracePeriodSeconds")
    grace = live["spec"].get("terminationGracePeriodSeconds", 30) if given is None else given
    # Nothing runs: no node took the pod yet, or all of it ended.
    idle = not live["spec"].get("nodeName") or live["status"].get("phase") in ("Succeeded", "Failed")
    return 0 if idle else max(int(grace), 0)


def _finalizers(metadata: Object, options: Object) -> list[str]:
    kept = [name for name in metadata.get("finalizers") or [] if name not in ("foregroundDeletion", "orphan")]
    current = [name for name in metadata.get("finalizers") or [] if name in ("foregroundDeletion", "orphan")]
    policy = options.get("propagationPolicy")
    if options.get("orphanDependents") is True:
        policy = "Orphan"
    wanted = {"Foreground": ["foregroundDeletion"], "Orphan": ["orphan"], "Background": []}
    return kept + wanted.get(str(policy), current)


def reference(item: Object) -> Object:
    """An ``ObjectReference`` to an object."""
    metadata = item["metadata"]
    pairs: dict[str, Any] = {
        "kind": item["kind"],
        "namespace": metadata.get("namespace"),
        "name": metadata["name"],
        "uid": metadata["uid"],
        "apiVersion": item["apiVersion"],
        "resourceVersion": metadata["resourceVersion"],
    }
    return {key: value for key, value in pairs.items() if value}
