"""Rules of Deployments, ReplicaSets and Jobs."""

from __future__ import annotations

import re
from typing import Any

from runbook_lib.lab.controlplane.rules import names, pods
from runbook_lib.lab.controlplane.selectors import selector_of
from runbook_lib.lab.controlplane.status import Cause
from runbook_lib.lab.controlplane.store import Object

IMMUTABLE = "field is immutable"
NEGATIVE = "must be greater than or equal to 0"


def not_negative(spec: Object, path: str, *keys: str) -> list[Cause]:
    """Counts below zero."""
    return [names.wrong(f"{path}.{key}", spec[key], NEGATIVE) for key in keys if (spec.get(key) or 0) < 0]


def check_selector(selector: Object | None, path: str) -> list[Cause]:
    """Broken rules of a label selector."""
    causes: list[Cause] = names.check_labels((selector or {}).get("matchLabels"), f"{path}.matchLabels")
    for i, row in enumerate((selector or {}).get("matchExpressions") or []):
        here = f"{path}.matchExpressions[{i}]"
        operator, values = row.get("operator"), row.get("values")
        if operator in ("In", "NotIn") and not values:
            causes.append(names.required(f"{here}.values", "must be specified when `operator` is 'In' or 'NotIn'"))
        elif operator in ("Exists", "DoesNotExist") and values:
            causes.append(
                names.forbidden(f"{here}.values", "may not be specified when `operator` is 'Exists' or 'DoesNotExist'")
            )
        elif operator not in ("In", "NotIn", "Exists", "DoesNotExist"):
            causes.append(names.wrong(f"{here}.operator", operator, "not a valid selector operator"))
    return causes


def _selector_and_template(spec: Object, path: str = "spec") -> list[Cause]:
    causes: list[Cause] = []
    selector = spec.get("selector")
    if selector is None:
        causes.append(names.required(f"{path}.selector"))
    else:
        causes.extend(check_selector(selector, f"{path}.selector"))
        if causes:
            causes.append(names.wrong(f"{path}.selector", selector, "invalid label selector"))
        if not selector.get("matchLabels") and not selector.get("matchExpressions"):
            causes.append(names.wrong(f"{path}.selector", selector, "empty selector is invalid for deployment"))
    return causes


def _template(spec: Object, path: str = "spec") -> list[Cause]:
    template, selector = spec["template"], spec.get("selector")
    labels = template["metadata"].get("labels") or {}
    causes: list[Cause] = []
    usable = (
        selector
        and (selector.get("matchLabels") or selector.get("matchExpressions"))
        and not check_selector(selector, "")
    )
    if (usable or selector is None) and not selector_of(selector)(labels):
        causes.append(
            names.wrong(
                f"{path}.template.metadata.labels", labels or None, "`selector` does not match template `labels`"
            )
        )
    causes.extend(names.check_labels(labels, f"{path}.template.labels"))
    # Two lists of rules see the template, so a wrong restart policy is all that the second one adds.
    causes.extend(pods.check_spec(template["spec"], f"{path}.template.spec"))
    policy = template["spec"].get("restartPolicy")
    if policy in ("OnFailure", "Never"):
        causes.append(names.unsupported(f"{path}.template.spec.restartPolicy", policy, ["Always"]))
    return causes


def check_deployment(item: Object) -> list[Cause]:
    """Broken rules of a Deployment."""
    spec = item["spec"]
    causes = not_negative(spec, "spec", "replicas")
    causes.extend(_selector_and_template(spec))
    causes.extend(_template(spec))
    causes.extend(_strategy(spec["strategy"]))
    causes.extend(not_negative(spec, "spec", "minReadySeconds", "revisionHistoryLimit"))
    deadline = spec.get("progressDeadlineSeconds")
    if deadline is not None:
        causes.extend(not_negative(spec, "spec", "progressDeadlineSeconds"))
        if deadline <= spec.get("minReadySeconds", 0):
            causes.append(names.wrong("spec.progressDeadlineSeconds", deadline, "must be greater than minReadySeconds"))
    return causes


def _strategy(strategy: Object) -> list[Cause]:
    kind, path = strategy.get("type"), "spec.strategy"
    if kind == "Recreate":
        if "rollingUpdate" in strategy:
            return [names.forbidden(f"{path}.rollingUpdate", "may not be specified when strategy `type` is 'Recreate'")]
        return []
    if kind != "RollingUpdate":
        shown = {"Type": kind, "RollingUpdate": strategy.get("rollingUpdate")}
        return [names.unsupported(path, shown, ["Recreate", "RollingUpdate"])]
    rolling = strategy.get("rollingUpdate") or {}
    causes: list[Cause] = []
    for key in ("maxUnavailable", "maxSurge"):
        causes.extend(_count_or_percent(rolling.get(key), f"{path}.rollingUpdate.{key}"))
    if not causes and _is_zero(rolling.get("maxUnavailable")) and _is_zero(rolling.get("maxSurge")):
        causes.append(
            names.wrong(
                f"{path}.rollingUpdate.maxUnavailable", rolling["maxUnavailable"], "may not be 0 when `maxSurge` is 0"
            )
        )
    percent = rolling.get("maxUnavailable")
    if isinstance(percent, str) and re.fullmatch(r"\d+%", percent) and int(percent[:-1]) > 100:
        causes.append(names.wrong(f"{path}.rollingUpdate.maxUnavailable", percent, "must not be greater than 100%"))
    return causes


def _count_or_percent(value: Any, path: str) -> list[Cause]:
    if isinstance(value, str) and not re.fullmatch(r"\d+%", value):
        return [
            names.wrong(
                path,
                value,
                "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  "
                "or '93%', regex used for validation is '[0-9]+%')",
            )
        ]
    if isinstance(value, int) and value < 0:
        return [names.wrong(path, value, NEGATIVE)]
    return []


def _is_zero(value: Any) -> bool:
    return value in (0, "0%", None)


def check_deployment_update(live: Object, item: Object) -> list[Cause]:
    """Broken rules of a changed Deployment."""
    causes = check_deployment(item)
    return causes + _immutable_selector(live, item)


def _immutable_selector(live: Object, item: Object) -> list[Cause]:
    if live["spec"].get("selector") != item["spec"].get("selector"):
        return [names.wrong("spec.selector", item["spec"].get("selector"), IMMUTABLE)]
    return []


def check_replica_set(item: Object) -> list[Cause]:
    """Broken rules of a ReplicaSet."""
    spec = item["spec"]
    causes = not_negative(spec, "spec", "replicas", "minReadySeconds")
    return causes + _selector_and_template(spec) + _template(spec)


def check_replica_set_update(live: Object, item: Object) -> list[Cause]:
    """Broken rules of a changed ReplicaSet."""
    return check_replica_set(item) + _immutable_selector(live, item)


def check_job(item: Object) -> list[Cause]:
    """Broken rules of a Job."""
    spec = item["spec"]
    causes = not_negative(
        spec, "spec", "parallelism", "completions", "activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished"
    )
    policies = ("Always", "OnFailure", "Never")
    causes.extend(pods.check_spec(spec["template"]["spec"], "spec.template.spec", policies))
    policy = spec["template"]["spec"].get("restartPolicy")
    if policy == "Always":
        causes.append(
            Cause(
                "spec.template.spec.restartPolicy",
                "FieldValueRequired",
                'Required value: valid values: "OnFailure", "Never"',
            )
        )
    return causes


def check_job_update(live: Object, item: Object) -> list[Cause]:
    """Broken rules of a changed Job."""
    causes = check_job(item) + _immutable_selector(live, item)
    if live["spec"].get("completions") != item["spec"].get("completions"):
        causes.append(names.wrong("spec.completions", item["spec"].get("completions"), IMMUTABLE))
    if live["spec"]["template"] != item["spec"]["template"]:
        causes.append(names.wrong("spec.template", item["spec"]["template"], IMMUTABLE))
    return causes


def check_deployment_status(item: Object) -> list[Cause]:
    """Broken rules of a Deployment's status: counts below zero, or parts above the whole."""
    status = item["status"]
    keys = ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas", "unavailableReplicas")
    causes = not_negative(status, "status", *keys)
    total = status.get("replicas", 0)
    for key in ("updatedReplicas", "readyReplicas", "availableReplicas"):
        if status.get(key, 0) > total:
            causes.append(names.wrong(f"status.{key}", status.get(key, 0), "cannot be greater than status.replicas"))
    if status.get("availableReplicas", 0) > status.get("readyReplicas", 0):
        causes.append(
            names.wrong("status.availableReplicas", status["availableReplicas"], "cannot be greater than readyReplicas")
        )
    return causes
