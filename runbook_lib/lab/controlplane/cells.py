"""What stands in the cells of each kind's table."""

from __future__ import annotations

from typing import Any

from runbook_lib.lab.controlplane import clock, selectors
from runbook_lib.lab.controlplane.store import Object

Row = list[Any]


def age(item: Object) -> str:
    """Age of an object, for a person."""
    return clock.age(item["metadata"].get("creationTimestamp"))


def _images(template: Object) -> tuple[str, str]:
    containers = template.get("containers") or []
    return ",".join(row["name"] for row in containers), ",".join(row.get("image", "") for row in containers)


def deployment(item: Object) -> Row:
    """Cells of a deployment."""
    spec, status = item["spec"], item["status"]
    names, images = _images(spec["template"]["spec"])
    return [
        item["metadata"]["name"],
        f"{status.get('readyReplicas', 0)}/{spec.get('replicas', 0)}",
        status.get("updatedReplicas", 0),
        status.get("availableReplicas", 0),
        age(item),
        names,
        images,
        selectors.selector_text(spec.get("selector")),
    ]


def replica_set(item: Object) -> Row:
    """Cells of a replica set."""
    spec, status = item["spec"], item["status"]
    names, images = _images(spec["template"]["spec"])
    return [
        item["metadata"]["name"],
        spec.get("replicas", 0),
        status.get("replicas", 0),
        status.get("readyReplicas", 0),
        age(item),
        names,
        images,
        selectors.selector_text(spec.get("selector")),
    ]


def pod_reason(item: Object) -> str:
    """The word in the STATUS column."""
    status = item.get("status") or {}
    reason = status.get("reason") or status.get("phase") or "Unknown"
    running = False
    for row in reversed(status.get("containerStatuses") or []):
        state = row.get("state") or {}
        waiting, ended = state.get("waiting") or {}, state.get("terminated")
        if waiting.get("reason"):
            reason = waiting["reason"]
        elif ended is not None:
            reason = ended.get("reason") or (
                f"Signal:{ended['signal']}" if ended.get("signal") else f"ExitCode:{ended.get('exitCode', 0)}"
            )
        elif row.get("ready") and state.get("running") is not None:
            running = True
    if reason == "Completed" and running:
        reason = "Running"
    if item["metadata"].get("deletionTimestamp"):
        reason = "Terminating" if status.get("reason") != "NodeLost" else "Unknown"
    return str(reason)


def pod(item: Object) -> Row:
    """Cells of a pod."""
    spec, status = item["spec"], item["status"]
    rows = status.get("containerStatuses") or []
    restarts: Any = sum(row.get("restartCount", 0) for row in rows)
    ended = [((row.get("lastState") or {}).get("terminated") or {}).get("finishedAt") for row in rows]
    if restarts and any(ended):
        restarts = f"{restarts} ({clock.age(max(filter(None, ended)))} ago)"
    gates = spec.get("readinessGates") or []
    met = {row["type"] for row in status.get("conditions") or [] if row["status"] == "True"}
    ready_gates = f"{sum(row['conditionType'] in met for row in gates)}/{len(gates)}" if gates else "<none>"
    return [
        item["metadata"]["name"],
        f"{sum(bool(row.get('ready')) for row in rows)}/{len(spec.get('containers') or [])}",
        pod_reason(item),
        restarts if isinstance(restarts, str) else str(restarts),
        age(item),
        status.get("podIP") or "<none>",
        spec.get("nodeName") or "<none>",
        status.get("nominatedNodeName") or "<none>",
        ready_gates,
    ]


def service(item: Object) -> Row:
    """Cells of a service."""
    spec = item["spec"]
    ports = ",".join(
        f"{row['port']}{':' + str(row['nodePort']) if row.get('nodePort') else ''}/{row.get('protocol', 'TCP')}"
        for row in spec.get("ports") or []
    )
    selector = ",".join(f"{key}={value}" for key, value in sorted((spec.get("selector") or {}).items()))
    external = {"LoadBalancer": "<pending>", "ExternalName": spec.get("externalName", "")}.get(
        spec.get("type", ""), "<none>"
    )
    if spec.get("externalIPs"):
        external = ",".join(spec["externalIPs"])
    return [
        item["metadata"]["name"],
        spec.get("type", ""),
        spec.get("clusterIP") or "<none>",
        external,
        ports or "<none>",
        age(item),
        selector or "<none>",
    ]


def node(item: Object) -> Row:
    """Cells of a node."""
    status, labels = item.get("status") or {}, item["metadata"].get("labels") or {}
    ready = next((row["status"] for row in status.get("conditions") or [] if row["type"] == "Ready"), "")
    words = [{"True": "Ready"}.get(ready, "NotReady" if ready else "Unknown")]
    if item["spec"].get("unschedulable"):
        words.append("SchedulingDisabled")
    prefix = "node-role.kubernetes.io/"
    roles = ",".join(sorted(key.removeprefix(prefix) for key in labels if key.startswith(prefix)))
    addresses = {row["type"]: row["address"] for row in status.get("addresses") or []}
    info = status.get("nodeInfo") or {}
    return [
        item["metadata"]["name"],
        ",".join(words),
        roles or "<none>",
        age(item),
        info.get("kubeletVersion", ""),
        addresses.get("InternalIP", "<none>"),
        addresses.get("ExternalIP", "<none>"),
        info.get("osImage") or "<unknown>",
        info.get("kernelVersion") or "<unknown>",
        info.get("containerRuntimeVersion") or "<unknown>",
    ]


def event(item: Object) -> Row:
    """Cells of a event."""
    involved = item["involvedObject"]
    source = ", ".join(
        filter(None, ((item.get("source") or {}).get("component"), (item.get("source") or {}).get("host")))
    )
    first, last = (
        item.get("firstTimestamp") or item.get("eventTime"),
        item.get("lastTimestamp") or item.get("eventTime"),
    )
    count = item.get("count") or (item.get("series") or {}).get("count") or 1
    return [
        clock.age(last),
        item.get("type", ""),
        item.get("reason", ""),
        f"{involved.get('kind', '').lower()}/{involved.get('name', '')}",
        involved.get("fieldPath", ""),
        source or item.get("reportingComponent", ""),
        item.get("message", "").strip(),
        clock.age(first),
        count,
        item["metadata"]["name"],
    ]


def job(item: Object) -> Row:
    """Cells of a job."""
    spec, status = item["spec"], item["status"]
    words = {
        "Complete": "Complete",
        "Failed": "Failed",
        "Suspended": "Suspended",
        "FailureTarget": "FailureTarget",
        "SuccessCriteriaMet": "SuccessCriteriaMet",
    }
    met = [row["type"] for row in status.get("conditions") or [] if row.get("status") == "True"]
    state = next(
        (
            words[name]
            for name in ("Complete", "Failed", "Suspended", "FailureTarget", "SuccessCriteriaMet")
            if name in met
        ),
        "",
    )
    if not state:
        state = "Terminating" if item["metadata"].get("deletionTimestamp") else "Running"
    length = ""
    if status.get("startTime"):
        end = clock.parse(status["completionTime"]) if status.get("completionTime") else clock.now()
        length = clock.duration((end - clock.parse(status["startTime"])).total_seconds())
    names, images = _images(spec["template"]["spec"])
    wanted = spec.get("completions", 1)
    return [
        item["metadata"]["name"],
        state,
        f"{status.get('succeeded', 0)}/{wanted}",
        length,
        age(item),
        names,
        images,
        selectors.selector_text(spec.get("selector")),
    ]


def autoscaler(item: Object) -> Row:
    """Cells of a autoscaler."""
    spec, status = item["spec"], item["status"]
    target = spec["scaleTargetRef"]
    texts = []
    for metric in spec.get("metrics") or []:
        if metric.get("type") == "Resource":
            goal = metric["resource"]["target"]
            now: Object = next(
                (row["resource"]["current"] for row in status.get("currentMetrics") or [] if row.get("resource")), {}
            )
            if "averageUtilization" in goal:
                current = f"{now['averageUtilization']}%" if "averageUtilization" in now else "<unknown>"
                texts.append(f"{metric['resource']['name']}: {current}/{goal['averageUtilization']}%")
            else:
                texts.append(
                    f"{metric['resource']['name']}: {now.get('averageValue', '<unknown>')}/{goal.get('averageValue')}"
                )
    return [
        item["metadata"]["name"],
        f"{target['kind']}/{target['name']}",
        ", ".join(texts) or "<none>",
        str(spec.get("minReplicas", "<unset>")),
        spec.get("maxReplicas", 0),
        status.get("currentReplicas", 0),
        age(item),
    ]


def _endpoints_text(pairs: list[str]) -> str:
    if not pairs:
        return "<none>"
    more = f" + {len(pairs) - 3} more..." if len(pairs) > 3 else ""
    return ",".join(pairs[:3]) + more


def endpoints(item: Object) -> Row:
    """Cells of a endpoints."""
    pairs = [
        f"{address['ip']}:{port['port']}"
        for subset in item.get("subsets") or []
        for port in subset.get("ports") or []
        for address in subset.get("addresses") or []
    ]
    return [item["metadata"]["name"], _endpoints_text(pairs), age(item)]


def endpoint_slice(item: Object) -> Row:
    """Cells of a endpoint slice."""
    ports = ",".join(str(port.get("port", "*")) for port in item.get("ports") or []) or "<unset>"
    addresses = [address for row in item.get("endpoints") or [] for address in row.get("addresses") or []]
    shown = ",".join(addresses[:3]) + (f" + {len(addresses) - 3} more..." if len(addresses) > 3 else "")
    return [item["metadata"]["name"], item.get("addressType", ""), ports, shown or "<unset>", age(item)]


def budget(item: Object) -> Row:
    """Cells of a budget."""
    spec = item["spec"]
    return [
        item["metadata"]["name"],
        str(spec.get("minAvailable", "N/A")),
        str(spec.get("maxUnavailable", "N/A")),
        item["status"].get("disruptionsAllowed", 0),
        age(item),
    ]


def role_binding(item: Object) -> Row:
    """Cells of a role binding."""
    found: dict[str, list[str]] = {"User": [], "Group": [], "ServiceAccount": []}
    for row in item.get("subjects") or []:
        name = f"{row.get('namespace')}/{row['name']}" if row["kind"] == "ServiceAccount" else row["name"]
        found.setdefault(row["kind"], []).append(name)
    role = item["roleRef"]
    return [
        item["metadata"]["name"],
        f"{role['kind']}/{role['name']}",
        age(item),
        ", ".join(found["User"]),
        ", ".join(found["Group"]),
        ", ".join(found["ServiceAccount"]),
    ]


def ingress(item: Object) -> Row:
    """Cells of a ingress."""
    hosts = [rule.get("host") for rule in item["spec"].get("rules") or [] if rule.get("host")]
    return [
        item["metadata"]["name"],
        item["spec"].get("ingressClassName") or "<none>",
        ",".join(hosts) or "*",
        "",
        "80, 443" if item["spec"].get("tls") else "80",
        age(item),
    ]


def api_service(item: Object) -> Row:
    """Cells of a api service."""
    service = item["spec"].get("service")
    state: Object = next(
        (row for row in (item.get("status") or {}).get("conditions") or [] if row["type"] == "Available"), {}
    )
    text = state.get("status", "Unknown") + (f" ({state['reason']})" if state.get("status") == "False" else "")
    return [
        item["metadata"]["name"],
        f"{service['namespace']}/{service['name']}" if service else "Local",
        text,
        age(item),
    ]
