"""Kubernetes objects as rows and documents: times in epoch seconds, processor time in cores, memory in bytes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from runbook_lib.model import Table
from runbook_lib.model.evidence import Scalar
from runbook_lib.model.times import parse_rfc3339

Object = Mapping[str, Any]
REVISION = "deployment.kubernetes.io/revision"
_REVISION_HISTORY = "deployment.kubernetes.io/revision-history"
_CHANGE_CAUSE = "kubernetes.io/change-cause"
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_HASH = "pod-template-hash"

ROLLOUT_COLUMNS = (
    "revision", "started_at", "image", "replicas", "ready", "available", "current", "template_hash", "change_cause",
    "replica_set",
)  # fmt: skip
POD_COLUMNS = (
    "name", "phase", "ready", "restarts", "reason", "last_reason", "last_exit_code", "image", "image_id", "node",
    "created_at", "started_at", "cpu_request_cores", "cpu_limit_cores", "memory_request_bytes", "memory_limit_bytes",
    "template_hash", "terminating", "ip",
)  # fmt: skip
_PARTS = ("containers", "initContainers")
EVENT_COLUMNS = ("at", "first_at", "type", "reason", "kind", "name", "count", "message")
_QUANTITY = re.compile(r"([+-]?\d*\.?\d+)(?:([eE][+-]?\d+)|(m|u|n|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?)")
_SUFFIXES = {
    "n": 1e-9, "u": 1e-6, "m": 1e-3, "": 1, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18,
    "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50, "Ei": 2**60,
}  # fmt: skip

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(h|ms|us|µs|ns|m|s)")
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}


def quantity(text: str | float) -> float:
    """A Kubernetes quantity as a number: ``"300m"`` is 0.3, ``"256Mi"`` is 268435456.

    Raises:
        ValueError: the text is none.
    """
    match = _QUANTITY.fullmatch(str(text))
    if not match:
        raise ValueError(f"{text!r} is no Kubernetes quantity")
    number, exponent, suffix = match.groups()
    return float(number + exponent) if exponent else float(number) * _SUFFIXES[suffix or ""]


def go_seconds(text: str) -> float:
    """A Go duration such as ``1m15.5s`` in seconds; 0 for an empty one."""
    return sum(float(number) * _UNITS[unit] for number, unit in _DURATION.findall(text))


def epoch(text: str | None) -> float | None:
    """A time of the API in epoch seconds; None where there is none."""
    return parse_rfc3339(text).timestamp() if text else None


def selector(labels: Mapping[str, Any]) -> str:
    """A label selector object as the text that lists take."""
    parts = [f"{key}={value}" for key, value in labels.get("matchLabels", {}).items()]
    for one in labels.get("matchExpressions", ()):
        key, values = one["key"], ",".join(one.get("values", ()))
        parts.append(
            {
                "In": f"{key} in ({values})",
                "NotIn": f"{key} notin ({values})",
                "Exists": key,
                "DoesNotExist": f"!{key}",
            }[one["operator"]]
        )
    return ",".join(parts)


def deployment(found: Object) -> dict[str, Any]:
    """The document of a deployment: its numbers in our words, and the object without values of variables."""
    meta, spec, status = found["metadata"], found["spec"], found.get("status", {})
    wanted, updated, available = (
        spec.get("replicas", 1),
        status.get("updatedReplicas", 0),
        status.get("availableReplicas", 0),
    )
    current = status.get("observedGeneration", 0) >= meta["generation"]
    conditions = {one["type"]: one.get("reason", "") for one in status.get("conditions", ())}
    annotations = {key: value for key, value in meta.get("annotations", {}).items() if key != _LAST_APPLIED}
    return {
        "replicas": wanted,
        "total": status.get("replicas", 0),
        "updated": updated,
        "ready": status.get("readyReplicas", 0),
        "available": available,
        "unavailable": status.get("unavailableReplicas", 0),
        "paused": bool(spec.get("paused", False)),
        # Every clause matters: kubectl rollout status passes 0 replicas and a generation it has not seen yet.
        "complete": current
        and not spec.get("paused")
        and 0 < wanted == updated == available == status.get("replicas", 0)
        and conditions.get("Progressing") == "NewReplicaSetAvailable",
        "progress": conditions.get("Progressing", ""),
        "images": {one["name"]: one.get("image", "") for one in spec["template"]["spec"]["containers"]},
        "pod_takes": pod_takes(spec["template"]["spec"]),
        "replicas_managers": sorted(_managers(meta, ("f:spec", "f:replicas"))),
        "metadata": {
            **{key: value for key, value in meta.items() if key != "managedFields"},
            "annotations": annotations,
        },
        "spec": {**spec, "template": _without_values(spec["template"])},
        "status": dict(status),
    }


def pod_takes(spec: Object) -> dict[str, float]:
    """What one pod takes of a quota: pods, cores and bytes, by the quota's name of the resource.

    Init containers run before the others, one at a time, so a pod takes the larger of the two.
    """
    taken: dict[str, float] = {"pods": 1, "count/pods": 1}
    for kind in ("requests", "limits"):
        for name in ("cpu", "memory"):
            amounts = [[_asked(one, kind, name) for one in spec.get(part) or ()] for part in _PARTS]
            taken[f"{kind}.{name}"] = max(sum(amounts[0]), max(amounts[1], default=0.0))
    return {**taken, "cpu": taken["requests.cpu"], "memory": taken["requests.memory"]}


def _asked(container: Object, kind: str, name: str) -> float:
    """A container's request or limit; the API server takes a limit for the request that is not there."""
    resources = container.get("resources") or {}
    found = _amount(resources.get(kind) or {}, name)
    if found is None and kind == "requests":
        found = _amount(resources.get("limits") or {}, name)
    return found or 0.0


def _managers(meta: Object, field: Sequence[str]) -> set[str]:
    """Field managers that own a field, as ``manager`` or ``manager (subresource)``."""
    owners = set()
    for entry in meta.get("managedFields", ()):
        inner: Any = entry.get("fieldsV1", {})
        for name in field:
            inner = inner.get(name) if isinstance(inner, dict) else None
        if inner is not None:
            place = f" ({entry['subresource']})" if entry.get("subresource") else ""
            owners.add(f"{entry.get('manager', '')}{place}")
    return owners


def _without_values(template: Object) -> dict[str, Any]:
    """A pod template whose environment variables show their names only: their values hold passwords."""
    spec = dict(template["spec"])
    for kind in ("containers", "initContainers"):
        if kind in spec:
            spec[kind] = [
                {**one, "env": [{"name": variable["name"]} for variable in one["env"]]} if "env" in one else dict(one)
                for one in spec[kind]
            ]
    return {**template, "spec": spec}


def owned(objects: Iterable[Object], uid: str) -> list[Object]:
    """Those objects whose controller has this uid."""
    return [
        one
        for one in objects
        if any(owner.get("controller") and owner["uid"] == uid for owner in one["metadata"].get("ownerReferences", ()))
    ]


def rollouts(found: Object, replica_sets: Sequence[Object], pods: Sequence[Object], container: str) -> Table:
    """The revisions of a deployment from its replica sets, newest last."""
    current = found["metadata"].get("annotations", {}).get(REVISION)
    rows: list[dict[str, Scalar]] = []
    for one in replica_sets:
        meta, status = one["metadata"], one.get("status", {})
        notes = meta.get("annotations", {})
        started = epoch(meta["creationTimestamp"])
        if notes.get(_REVISION_HISTORY):
            # The set was made for an earlier revision and taken up again: its pods say when.
            made = [epoch(pod["metadata"]["creationTimestamp"]) for pod in owned(pods, meta["uid"])]
            started = min((moment for moment in made if moment is not None), default=started)
        revision = notes.get(REVISION, "")
        rows.append(
            {
                "revision": int(revision) if revision.isdigit() else None,
                "started_at": started,
                "image": _container(one["spec"]["template"]["spec"]["containers"], container).get("image", ""),
                "replicas": one["spec"].get("replicas", 0),
                "ready": status.get("readyReplicas", 0),
                "available": status.get("availableReplicas", 0),
                "current": revision == current,
                "template_hash": meta.get("labels", {}).get(_HASH, ""),
                "change_cause": notes.get(_CHANGE_CAUSE, ""),
                "replica_set": meta["name"],
            }
        )
    rows.sort(key=lambda row: (int(row["revision"] or 0), float(row["started_at"] or 0)))
    return Table.of(rows, ROLLOUT_COLUMNS)


def pods(found: Sequence[Object], container: str) -> Table:
    """The pods of a deployment, oldest first."""
    rows = [_pod(one, container) for one in found]
    rows.sort(key=lambda row: (float(row["created_at"] or 0), str(row["name"])))
    return Table.of(rows, POD_COLUMNS)


def _pod(one: Object, container: str) -> dict[str, Scalar]:
    meta, spec, status = one["metadata"], one["spec"], one.get("status", {})
    states = [*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())]
    main = _container(spec["containers"], container)
    state = _container(status.get("containerStatuses", ()), container)
    ended: Object = next((s["lastState"]["terminated"] for s in states if s.get("lastState", {}).get("terminated")), {})
    limits, requests = (main.get("resources", {}).get(kind, {}) for kind in ("limits", "requests"))
    return {
        "name": meta["name"],
        "phase": status.get("phase", ""),
        "ready": any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions", ())),
        "restarts": sum(s.get("restartCount", 0) for s in states),
        "reason": _reason(status, states),
        "last_reason": ended.get("reason", ""),
        "last_exit_code": ended.get("exitCode"),
        "image": main.get("image", ""),
        "image_id": state.get("imageID", ""),
        "node": spec.get("nodeName", ""),
        "created_at": epoch(meta["creationTimestamp"]),
        "started_at": epoch(state.get("state", {}).get("running", {}).get("startedAt")),
        "cpu_request_cores": _amount(requests, "cpu"),
        "cpu_limit_cores": _amount(limits, "cpu"),
        "memory_request_bytes": _amount(requests, "memory"),
        "memory_limit_bytes": _amount(limits, "memory"),
        "template_hash": meta.get("labels", {}).get(_HASH, ""),
        "terminating": "deletionTimestamp" in meta,
        "ip": status.get("podIP", ""),
    }


def _reason(status: Object, states: Sequence[Object]) -> str:
    """Why a pod does not run, in the API's own word; empty when it does."""
    if status.get("reason"):
        return str(status["reason"])
    for state in states:
        now = state.get("state", {})
        kind = "waiting" if "waiting" in now else "terminated"
        word = now.get(kind, {}).get("reason", "")
        # An init container that has done its work is terminated with reason Completed.
        if word and word != "Completed":
            return str(word)
    for one in status.get("conditions", ()):
        if one["type"] == "PodScheduled" and one["status"] == "False":
            return str(one.get("reason", ""))
    return ""


def events(found: Iterable[Object], name: str, start: float, end: float) -> Table:
    """Events of a deployment, its replica sets, pods and autoscaler between two moments, oldest first.

    Args:
        found: events of the namespace.
        name: the deployment.
        start: epoch seconds.
        end: epoch seconds.
    """
    rows = []
    for one in found:
        about = one.get("involvedObject", {})
        series = one.get("series") or {}
        first = epoch(one.get("firstTimestamp") or one.get("eventTime") or one["metadata"]["creationTimestamp"])
        last = epoch(one.get("lastTimestamp") or series.get("lastObservedTime")) or first
        ours = about.get("name") == name or str(about.get("name", "")).startswith(f"{name}-")
        if ours and last is not None and start <= last < end:
            rows.append(
                {
                    "at": last,
                    "first_at": first,
                    "type": one.get("type", ""),
                    "reason": one.get("reason", ""),
                    "kind": about.get("kind", ""),
                    "name": about.get("name", ""),
                    "count": one.get("count") or series.get("count") or 1,
                    "message": " ".join(str(one.get("message", "")).split())[:300],
                }
            )
    rows.sort(key=lambda row: row["at"])
    return Table.of(rows, EVENT_COLUMNS)


def _container(containers: Iterable[Object], name: str) -> Object:
    """The container of that name, else the first one."""
    known = list(containers)
    return next((one for one in known if one.get("name") == name), known[0] if known else {})


def _amount(resources: Object, name: str) -> float | None:
    return quantity(resources[name]) if name in resources else None
