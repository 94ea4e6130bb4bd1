"""Rules of the remaining kinds."""

from __future__ import annotations

import re
from collections.abc import Callable

from runbook_lib.lab.controlplane.rules import names
from runbook_lib.lab.controlplane.rules.workloads import IMMUTABLE, not_negative
from runbook_lib.lab.controlplane.status import Cause
from runbook_lib.lab.controlplane.store import Object

SERVICE_TYPES = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"]
PORT_TEXT = "must be between 1 and 65535, inclusive"


def _service(item: Object) -> list[Cause]:
    spec = item["spec"]
    causes: list[Cause] = []
    ports = spec.get("ports") or []
    headless = spec.get("clusterIP") == "None"
    if not ports and not headless and spec.get("type") != "ExternalName":
        causes.append(names.required("spec.ports"))
    seen: set[tuple[int, str]] = set()
    for i, port in enumerate(ports):
        here = f"spec.ports[{i}]"
        name = port.get("name", "")
        if not name and len(ports) > 1:
            causes.append(names.required(f"{here}.name"))
        elif name:
            causes.extend(names.wrong(f"{here}.name", name, problem) for problem in names.label_problems(name))
        if not 1 <= port.get("port", 0) <= 65535:
            causes.append(names.wrong(f"{here}.port", port.get("port", 0), PORT_TEXT))
        if port.get("protocol") not in ("TCP", "UDP", "SCTP"):
            causes.append(names.unsupported(f"{here}.protocol", port.get("protocol"), ["SCTP", "TCP", "UDP"]))
        target = port.get("targetPort")
        if isinstance(target, int) and not 1 <= target <= 65535:
            causes.append(names.wrong(f"{here}.targetPort", target, PORT_TEXT))
        key = (port.get("port", 0), port.get("protocol", ""))
        if key in seen:
            causes.append(names.duplicate(here, {"port": key[0], "protocol": key[1]}))
        seen.add(key)
    causes.extend(names.check_labels(spec.get("selector"), "spec.selector"))
    if spec.get("sessionAffinity") not in ("None", "ClientIP"):
        causes.append(names.unsupported("spec.sessionAffinity", spec.get("sessionAffinity"), ["ClientIP", "None"]))
    if spec.get("type") not in SERVICE_TYPES:
        causes.append(names.unsupported("spec.type", spec.get("type"), SERVICE_TYPES))
    return causes


def _service_update(live: Object, item: Object) -> list[Cause]:
    causes: list[Cause] = []
    old, new = live["spec"], item["spec"]
    if (
        old.get("type") != "ExternalName"
        and new.get("type") != "ExternalName"
        and old.get("clusterIP") != new.get("clusterIP")
    ):
        causes.append(names.wrong("spec.clusterIPs[0]", [new.get("clusterIP")], "may not change once set"))
    return causes + _service(item)


def _data_keys(item: Object) -> list[Cause]:
    causes: list[Cause] = []
    for group in ("data", "binaryData"):
        for key in sorted(item.get(group) or {}):
            if not re.fullmatch(names.CONFIG_KEY, key):
                causes.append(names.wrong(f"{group}[{key}]", key, names.CONFIG_KEY_TEXT))
    return causes


def _immutable_data(live: Object, item: Object) -> list[Cause]:
    causes: list[Cause] = []
    if live.get("immutable"):
        if not item.get("immutable"):
            causes.append(names.forbidden("immutable", "field is immutable when `immutable` is set"))
        if any(live.get(key) != item.get(key) for key in ("data", "binaryData")):
            causes.append(names.forbidden("data", "field is immutable when `immutable` is set"))
    return causes


def _secret_update(live: Object, item: Object) -> list[Cause]:
    causes = [] if live.get("type") == item.get("type") else [names.wrong("type", item.get("type"), IMMUTABLE)]
    return causes + _immutable_data(live, item) + _data_keys(item)


def _config_map_update(live: Object, item: Object) -> list[Cause]:
    return _immutable_data(live, item) + _data_keys(item)


def _binding(item: Object) -> list[Cause]:
    causes: list[Cause] = []
    reference = item["roleRef"]
    kinds = ["Role", "ClusterRole"] if item["kind"] == "RoleBinding" else ["ClusterRole"]
    if reference.get("apiGroup") != "rbac.authorization.k8s.io":
        causes.append(names.unsupported("roleRef.apiGroup", reference.get("apiGroup"), ["rbac.authorization.k8s.io"]))
    if reference.get("kind") not in kinds:
        causes.append(names.unsupported("roleRef.kind", reference.get("kind"), kinds))
    if not reference.get("name"):
        causes.append(names.required("roleRef.name"))
    for i, subject in enumerate(item.get("subjects") or []):
        if not subject.get("name"):
            causes.append(names.required(f"subjects[{i}].name"))
        if (
            subject.get("kind") == "ServiceAccount"
            and not subject.get("namespace")
            and item["kind"] == "ClusterRoleBinding"
        ):
            causes.append(names.required(f"subjects[{i}].namespace"))
        elif subject.get("kind") not in ("ServiceAccount", "User", "Group"):
            allowed = ["ServiceAccount", "User", "Group"]
            causes.append(names.unsupported(f"subjects[{i}].kind", subject.get("kind"), allowed))
    return causes


def _binding_update(live: Object, item: Object) -> list[Cause]:
    causes = _binding(item)
    if live["roleRef"] != item["roleRef"]:
        shown = {
            "APIGroup": item["roleRef"]["apiGroup"],
            "Kind": item["roleRef"]["kind"],
            "Name": item["roleRef"]["name"],
        }
        causes.append(names.wrong("roleRef", shown, "cannot change roleRef"))
    return causes


def _role(item: Object) -> list[Cause]:
    causes: list[Cause] = []
    for i, rule in enumerate(item.get("rules") or []):
        here = f"rules[{i}]"
        if not rule.get("verbs"):
            causes.append(names.required(f"{here}.verbs", "verbs must contain at least one value"))
        if rule.get("nonResourceURLs"):
            continue
        if not rule.get("apiGroups"):
            causes.append(names.required(f"{here}.apiGroups", "resource rules must supply at least one api group"))
        if not rule.get("resources"):
            causes.append(names.required(f"{here}.resources", "resource rules must supply at least one resource"))
    return causes


def _lease(item: Object) -> list[Cause]:
    spec = item.get("spec") or {}
    causes: list[Cause] = []
    if spec.get("leaseDurationSeconds") is not None and spec["leaseDurationSeconds"] <= 0:
        causes.append(names.wrong("spec.leaseDurationSeconds", spec["leaseDurationSeconds"], "must be greater than 0"))
    return causes + not_negative(spec, "spec", "leaseTransitions")


def _autoscaler(item: Object) -> list[Cause]:
    spec = item["spec"]
    causes: list[Cause] = []
    if (spec.get("minReplicas") or 0) < 1:
        causes.append(names.wrong("spec.minReplicas", spec.get("minReplicas", 0), "must be greater than or equal to 1"))
    if spec.get("maxReplicas", 0) < 1:
        causes.append(names.wrong("spec.maxReplicas", spec.get("maxReplicas", 0), "must be greater than 0"))
    if spec.get("maxReplicas", 0) < (spec.get("minReplicas") or 0):
        causes.append(
            names.wrong(
                "spec.maxReplicas", spec.get("maxReplicas", 0), "must be greater than or equal to `minReplicas`"
            )
        )
    for key in ("kind", "name"):
        if not spec["scaleTargetRef"].get(key):
            causes.append(names.required(f"spec.scaleTargetRef.{key}"))
    if not spec["scaleTargetRef"].get("apiVersion", "").count("/"):
        causes.append(names.wrong("spec.scaleTargetRef.apiVersion", "", "apiVersion must specify API group"))
    return causes


def _event(item: Object) -> list[Cause]:
    reference, namespace = item["involvedObject"], item["metadata"].get("namespace")
    if reference.get("namespace") and reference["namespace"] != namespace:
        return [names.wrong("involvedObject.namespace", reference["namespace"], "does not match event.namespace")]
    return []


CREATE: dict[str, Callable[[Object], list[Cause]]] = {
    "core.v1.Service": _service,
    "core.v1.Event": _event,
    "core.v1.Secret": _data_keys,
    "core.v1.ConfigMap": _data_keys,
    "rbac.v1.RoleBinding": _binding,
    "rbac.v1.ClusterRoleBinding": _binding,
    "rbac.v1.Role": _role,
    "rbac.v1.ClusterRole": _role,
    "coordination.v1.Lease": _lease,
    "autoscaling.v2.HorizontalPodAutoscaler": _autoscaler,
}
UPDATE: dict[str, Callable[[Object, Object], list[Cause]]] = {
    "core.v1.Service": _service_update,
    "core.v1.Secret": _secret_update,
    "core.v1.ConfigMap": _config_map_update,
    "rbac.v1.RoleBinding": _binding_update,
    "rbac.v1.ClusterRoleBinding": _binding_update,
}
