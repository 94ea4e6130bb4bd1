"""Rules of pods and pod templates."""

from __future__ import annotations

import copy
from typing import Any

from runbook_lib.lab.controlplane.quantity import quantity
from runbook_lib.lab.controlplane.rules import names
from runbook_lib.lab.controlplane.status import Cause
from runbook_lib.lab.controlplane.store import Object

PORT_TEXT = "must be between 1 and 65535, inclusive"
PULL_POLICIES = ["Always", "IfNotPresent", "Never"]
PROTOCOLS = ["SCTP", "TCP", "UDP"]


def check_pod(item: Object) -> list[Cause]:
    """Broken rules of a new pod."""
    return check_spec(item["spec"], "spec")


def check_spec(
    spec: Object, path: str, restart_policies: tuple[str, ...] = ("Always", "OnFailure", "Never")
) -> list[Cause]:
    """Broken rules of a pod specification."""
    causes: list[Cause] = []
    volumes = {volume.get("name", "") for volume in spec.get("volumes") or []}
    if not spec.get("containers"):
        causes.append(names.required(f"{path}.containers"))
    seen: set[str] = set()
    for group in ("containers", "initContainers"):
        for i, container in enumerate(spec.get(group) or []):
            here = f"{path}.{group}[{i}]"
            causes.extend(_container(container, here, volumes))
            if container.get("name") in seen:
                causes.append(names.duplicate(f"{here}.name", container["name"]))
            seen.add(container.get("name", ""))
    for i, volume in enumerate(spec.get("volumes") or []):
        causes.extend(_volume_name(volume.get("name", ""), f"{path}.volumes[{i}].name"))
    if spec.get("restartPolicy") not in restart_policies:
        causes.append(names.unsupported(f"{path}.restartPolicy", spec.get("restartPolicy"), list(restart_policies)))
    if spec.get("dnsPolicy") not in ("ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"):
        allowed = ["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"]
        causes.append(names.unsupported(f"{path}.dnsPolicy", spec.get("dnsPolicy"), allowed))
    grace = spec.get("terminationGracePeriodSeconds")
    if grace is not None and grace < 0:
        causes.append(names.wrong(f"{path}.terminationGracePeriodSeconds", grace, "must be greater than or equal to 0"))
    return causes


def _volume_name(name: str, path: str) -> list[Cause]:
    if not name:
        return [names.required(path)]
    return [names.wrong(path, name, problem) for problem in names.label_problems(name)]


def _container(container: Object, path: str, volumes: set[str]) -> list[Cause]:
    causes: list[Cause] = []
    name = container.get("name", "")
    if not name:
        causes.append(names.required(f"{path}.name"))
    else:
        causes.extend(names.wrong(f"{path}.name", name, problem) for problem in names.label_problems(name))
    if not container.get("image"):
        causes.append(names.required(f"{path}.image"))
    elif container["image"].strip() != container["image"]:
        causes.append(names.wrong(f"{path}.image", container["image"], "must not have leading or trailing whitespace"))
    if container.get("imagePullPolicy") not in PULL_POLICIES:
        causes.append(names.unsupported(f"{path}.imagePullPolicy", container.get("imagePullPolicy"), PULL_POLICIES))
    causes.extend(_ports(container.get("ports") or [], f"{path}.ports"))
    causes.extend(_env(container.get("env") or [], f"{path}.env"))
    causes.extend(check_resources(container.get("resources") or {}, f"{path}.resources"))
    for i, mount in enumerate(container.get("volumeMounts") or []):
        if not mount.get("name"):
            causes.append(names.required(f"{path}.volumeMounts[{i}].name"))
        elif mount["name"] not in volumes:
            causes.append(
                Cause(
                    f"{path}.volumeMounts[{i}].name", "FieldValueNotFound", f"Not found: {names.shown(mount['name'])}"
                )
            )
        if not mount.get("mountPath"):
            causes.append(names.required(f"{path}.volumeMounts[{i}].mountPath"))
    for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
        if probe in container:
            causes.extend(_probe(container[probe], f"{path}.{probe}"))
    return causes


def _ports(ports: list[Object], path: str) -> list[Cause]:
    causes: list[Cause] = []
    seen: set[str] = set()
    for i, port in enumerate(ports):
        here = f"{path}[{i}]"
        name = port.get("name", "")
        if name and (len(name) > 15 or not any(letter.isalpha() for letter in name)):
            causes.append(
                names.wrong(
                    f"{here}.name",
                    name,
                    "must be no more than 15 characters"
                    if len(name) > 15
                    else "must contain at least one letter (a-z)",
                )
            )
        if name and name in seen:
            causes.append(names.duplicate(f"{here}.name", name))
        seen.add(name)
        number = port.get("containerPort", 0)
        if number == 0:
            causes.append(names.required(f"{here}.containerPort"))
        elif not 1 <= number <= 65535:
            causes.append(names.wrong(f"{here}.containerPort", number, PORT_TEXT))
        if port.get("protocol") not in PROTOCOLS:
            causes.append(names.unsupported(f"{here}.protocol", port.get("protocol"), PROTOCOLS))
    return causes


def _env(variables: list[Object], path: str) -> list[Cause]:
    causes: list[Cause] = []
    for i, variable in enumerate(variables):
        if not variable.get("name"):
            causes.append(names.required(f"{path}[{i}].name"))
        if variable.get("value") and variable.get("valueFrom"):
            causes.append(names.wrong(f"{path}[{i}].valueFrom", "", "may not be specified when `value` is not empty"))
    return causes


def check_resources(resources: Object, path: str) -> list[Cause]:
    """Requests above limits and negative amounts."""
    causes: list[Cause] = []
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    for group, rows in (("limits", limits), ("requests", requests)):
        for name, amount in sorted(rows.items()):
            here = f"{path}.{group}[{name}]"
            if (
                name not in ("cpu", "memory", "ephemeral-storage")
                and "/" not in name
                and not name.startswith("hugepages-")
            ):
                for message in (
                    "must be a standard resource type or fully qualified",
                    "must be a standard resource for containers",
                ):
                    causes.append(names.wrong(f"{path}.{group}[{name}]", name, message))
            if quantity(amount) < 0:
                causes.append(names.wrong(here, amount, "must be greater than or equal to 0"))
    for name, amount in sorted(requests.items()):
        limit = limits.get(name)
        if limit is not None and quantity(amount) > quantity(limit):
            message = f"must be less than or equal to {name} limit of {limit}"
            causes.append(names.wrong(f"{path}.requests", amount, message))
    return causes


def _probe(probe: Object, path: str) -> list[Cause]:
    causes: list[Cause] = []
    handlers = [name for name in ("exec", "httpGet", "tcpSocket", "grpc") if name in probe]
    if not handlers:
        causes.append(names.required(path, "must specify a handler type"))
    for handler in handlers[1:]:
        causes.append(names.forbidden(f"{path}.{handler}", "may not specify more than 1 handler type"))
    port: Any = (probe.get("httpGet") or probe.get("tcpSocket") or {}).get("port")
    if isinstance(port, int) and not 1 <= port <= 65535:
        causes.append(names.wrong(f"{path}.{handlers[0]}.port", port, PORT_TEXT))
    for name in ("initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"):
        if probe.get(name, 0) < 0:
            causes.append(names.wrong(f"{path}.{name}", probe[name], "must be greater than or equal to 0"))
    return causes


MUTABLE_TEXT = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)


def check_pod_update(live: Object, item: Object) -> list[Cause]:
    """Broken rules of a changed pod: all but a few fields are immutable."""
    causes = check_spec(item["spec"], "spec")
    if causes:
        return causes
    munged = copy.deepcopy(item["spec"])
    for group in ("containers", "initContainers"):
        old = {container["name"]: container for container in live["spec"].get(group) or []}
        for container in munged.get(group) or []:
            if container["name"] in old:
                container["image"] = old[container["name"]]["image"]
    for key in ("activeDeadlineSeconds", "tolerations"):
        munged.pop(key, None)
        if key in live["spec"]:
            munged[key] = live["spec"][key]
    if munged != live["spec"]:
        return [names.forbidden("spec", MUTABLE_TEXT)]
    return []
