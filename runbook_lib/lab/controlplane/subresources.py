"""Paths below an object: scale, eviction, binding and access reviews."""

from __future__ import annotations

import copy
import secrets
from typing import Any

from runbook_lib.lab.controlplane import bodies, clock, selectors, status, writes
from runbook_lib.lab.controlplane.access import Attributes, Authorizer, User, service_account_user
from runbook_lib.lab.controlplane.fields import managed
from runbook_lib.lab.controlplane.kinds import Kind
from runbook_lib.lab.controlplane.requests import Target
from runbook_lib.lab.controlplane.resources import APPLY_TYPE, Resources, Write
from runbook_lib.lab.controlplane.status import ApiError
from runbook_lib.lab.controlplane.store import Object

SCALE = Kind("autoscaling", "v1", "scales", "Scale", "autoscaling.v1.Scale")
EVICTION = Kind("policy", "v1", "evictions", "Eviction", "policy.v1.Eviction")
TOKEN_REQUEST = Kind("authentication.k8s.io", "v1", "tokenrequests", "TokenRequest", "authentication.v1.TokenRequest")
DEFAULT_TOKEN_SECONDS = 3600
ISSUER = "https://kubernetes.default.svc"
BINDING = Kind("", "v1", "bindings", "Binding", "core.v1.Binding")


def scale_of(item: Object) -> Object:
    """The ``Scale`` of a Deployment or ReplicaSet."""
    metadata = item["metadata"]
    kept = {key: metadata[key] for key in ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")}
    spec = {"replicas": item["spec"].get("replicas", 0)} if item["spec"].get("replicas") else {}
    state: Object = {"replicas": item["status"].get("replicas", 0)}
    selector = selectors.selector_text(item["spec"].get("selector"))
    if selector:
        state["selector"] = selector
    return {"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": kept, "spec": spec, "status": state}


def put_scale(resources: Resources, kind: Kind, target: Target, document: Object, write: Write) -> Object:
    """Set the replicas of an object from a ``Scale``.

    Raises:
        ApiError: 404, 409 for a stale resource version, 422 for a negative number.
    """
    live = resources.get(kind, target.namespace, target.name)
    scale = resources.decode(SCALE, document, write)
    replicas = scale["spec"].get("replicas", 0)
    if replicas < 0:
        cause = status.Cause(
            "spec.replicas", "FieldValueInvalid", f"Invalid value: {replicas}: must be greater than or equal to 0"
        )
        raise status.invalid(SCALE, target.name, [cause])
    version = scale["metadata"].get("resourceVersion")
    if version and version != live["metadata"]["resourceVersion"]:
        raise status.conflict(kind, target.name)
    item = copy.deepcopy(live)
    item["spec"]["replicas"] = replicas
    return scale_of(resources.commit(kind, live, item, write, "scale"))


def patch_scale(
    resources: Resources, kind: Kind, target: Target, body: bytes, content_type: str, write: Write
) -> Object:
    """Patch the ``Scale`` of an object.

    Raises:
        ApiError: as :func:`put_scale`, and 400, 415, 422 for the patch itself.
    """
    live = resources.get(kind, target.namespace, target.name)
    media = bodies.media_type(content_type)
    if media == APPLY_TYPE:
        document = bodies.read_yaml(body)
        writes.check_applied_kind(document, SCALE)
        manager = managed.Manager(write.manager, "Apply", kind.api_version, "scale")
        size = resources.decode(SCALE, document, write)["spec"].get("replicas", 0)
        item = managed.apply_scale(live, size, manager, force=write.force)
        return scale_of(resources.commit(kind, live, copy.deepcopy(item), write, "scale", applied=True))
    patched = writes.patched_document(scale_of(live), body, media, SCALE)
    writes.decode_patched(resources, SCALE, patched, write)
    return put_scale(resources, kind, target, patched, write)


def bind(resources: Resources, target: Target, kind: Kind, document: Object, write: Write) -> Object:
    """Assign a pod to a node.

    Raises:
        ApiError: 404, 409 when it is assigned already.
    """
    node = (document.get("target") or {}).get("name", "")

    def assign(pod: Object) -> None:
        if pod["spec"].get("nodeName"):
            why = f'pod {target.name} is already assigned to node "{pod["spec"]["nodeName"]}"'
            raise ApiError(
                409,
                "Conflict",
                f'Operation cannot be fulfilled on pods/binding "{target.name}": {why}',
                {"name": target.name, "kind": "pods/binding"},
            )
        pod["spec"]["nodeName"] = node
        conditions = pod["status"].setdefault("conditions", [])
        conditions[:] = [row for row in conditions if row["type"] != "PodScheduled"]
        conditions.append(
            {"type": "PodScheduled", "status": "True", "lastProbeTime": None, "lastTransitionTime": clock.now_text()}
        )

    assign_pod(resources, kind, target, assign, write)
    return success(201)


def assign_pod(resources: Resources, kind: Kind, target: Target, change: Any, write: Write) -> None:
    """Store a binding: the one write that may set a pod's node."""
    live = resources.get(kind, target.namespace, target.name)
    item = copy.deepcopy(live)
    change(item)
    if not write.dry_run:
        resources.store.put(kind, resources.settle(kind, item))


def evict(resources: Resources, target: Target, kind: Kind, document: Object) -> Object:
    """Delete a pod unless a disruption budget forbids it.

    Raises:
        ApiError: 404, 429 when the budget is used up.
    """
    from runbook_lib.lab.controlplane.controllers.budgets import budget_of

    pod = resources.get(kind, target.namespace, target.name)
    budget = budget_of(resources, pod)
    if budget is not None and budget["status"].get("disruptionsAllowed", 0) < 1:
        name = budget["metadata"]["name"]
        state = budget["status"]
        text = (
            f"The disruption budget {name} needs {state.get('desiredHealthy', 0)} healthy pods and has "
            f"{state.get('currentHealthy', 0)} currently"
        )
        raise ApiError(
            429,
            "TooManyRequests",
            "Cannot evict pod as it would violate the pod's disruption budget.",
            {"causes": [{"reason": "DisruptionBudget", "message": text}]},
        )
    options = document.get("deleteOptions") or {}
    resources.delete(kind, target.namespace, target.name, options, dry_run=bool(options.get("dryRun")))
    return success(201)


def issue_token(resources: Resources, target: Target, kind: Kind, document: Object, tokens: dict[str, User]) -> Object:
    """A new token of a service account; it is good until the server ends.

    Raises:
        ApiError: 404.
    """
    resources.get(kind, target.namespace, target.name)
    token = secrets.token_urlsafe(32)
    tokens[token] = service_account_user(target.namespace, target.name)
    seconds = (document.get("spec") or {}).get("expirationSeconds") or DEFAULT_TOKEN_SECONDS
    return {
        "kind": "TokenRequest",
        "apiVersion": "authentication.k8s.io/v1",
        "metadata": {"name": target.name, "namespace": target.namespace, "creationTimestamp": clock.now_text()},
        "spec": {"audiences": [ISSUER], "expirationSeconds": seconds, "boundObjectRef": None},
        "status": {"token": token, "expirationTimestamp": clock.now_text(seconds)},
    }


def success(code: int) -> Object:
    """A ``Status`` that says only that it worked."""
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": code}


def review(authorizer: Authorizer, kind: Kind, document: Object, user: User) -> Object:
    """Answer an access review.

    Raises:
        ApiError: 422 for a review that names neither a resource nor a path.
    """
    spec = document.get("spec") or {}
    answer: Object = {"kind": kind.kind, "apiVersion": kind.api_version, "metadata": {}}
    if kind.kind == "SelfSubjectReview":
        info = {"username": user.name, "uid": user.uid, "groups": list(user.groups)}
        return answer | {"metadata": {"creationTimestamp": clock.now_text()}, "status": {"userInfo": info}}
    if kind.kind == "SelfSubjectRulesReview":
        return answer | {"spec": {}, "status": _rules(authorizer, user, spec.get("namespace", ""))}
    if not spec.get("resourceAttributes") and not spec.get("nonResourceAttributes"):
        message = "Invalid value: null: exactly one of nonResourceAttributes or resourceAttributes must be specified"
        cause = status.Cause("spec.resourceAttributes", "FieldValueInvalid", message)
        nameless = Kind(kind.group, kind.version, kind.resource, "", kind.type_name)
        raise status.invalid(nameless, "", [cause])
    subject = user
    if kind.kind in ("SubjectAccessReview", "LocalSubjectAccessReview"):
        subject = User(spec.get("user", ""), groups=tuple(spec.get("groups") or ()))
    why = authorizer.allows(subject, _attributes(spec))
    state: Object = {"allowed": why is not None} | ({"reason": why} if why else {})
    return answer | {"spec": spec, "status": state}


def _attributes(spec: Object) -> Attributes:
    wanted = spec.get("resourceAttributes")
    if wanted is None:
        path = spec["nonResourceAttributes"]
        return Attributes(path.get("verb", ""), path=path.get("path", ""))
    return Attributes(
        wanted.get("verb", ""),
        wanted.get("group", ""),
        wanted.get("resource", ""),
        wanted.get("subresource", ""),
        wanted.get("namespace", ""),
        wanted.get("name", ""),
    )


def _rules(authorizer: Authorizer, user: User, namespace: str) -> Object:
    resource_rules, path_rules = [], []
    for rule, _ in authorizer.rules(user, namespace):
        if rule.get("nonResourceURLs"):
            path_rules.append({"verbs": rule["verbs"], "nonResourceURLs": rule["nonResourceURLs"]})
        else:
            keys = ("verbs", "apiGroups", "resources", "resourceNames")
            resource_rules.append({key: rule[key] for key in keys if rule.get(key)})
    return {"resourceRules": resource_rules, "nonResourceRules": path_rules, "incomplete": False}
