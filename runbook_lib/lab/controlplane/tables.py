"""``Table`` answers: the columns that ``kubectl get`` prints."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from runbook_lib.lab.controlplane import clock, selectors
from runbook_lib.lab.controlplane.kinds import Kind
from runbook_lib.lab.controlplane.store import Object

Row = list[Any]
NAME_TEXT = (
    "Name must be unique within a namespace. Is required when creating resources, although some resources may allow a client "
    "to request the generation of an appropriate name automatically."
)


def _column(name: str, priority: int = 0, kind: str = "string") -> Object:
    text = {"Name": "Name of the object.", "Age": "Time since the object was created."}.get(
        name, f"{name} of the object."
    )
    return {
        "name": name,
        "type": kind,
        "format": "name" if name == "Name" else "",
        "description": text,
        "priority": priority,
    }


def _age(item: Object) -> str:
    return clock.age(item["metadata"].get("creationTimestamp"))


def _images(template: Object) -> tuple[str, str]:
    containers = template.get("containers") or []
    return ",".join(row["name"] for row in containers), ",".join(row.get("image", "") for row in containers)


def _deployment(item: Object) -> Row:
    spec, status = item["spec"], item["status"]
    names, images = _images(spec["template"]["spec"])
    return [
        item["metadata"]["name"],
        f"{status.get('readyReplicas', 0)}/{spec.get('replicas', 0)}",
        status.get("updatedReplicas", 0),
        status.get("availableReplicas", 0),
        _age(item),
        names,
        images,
        selectors.selector_text(spec.get("selector")),
    ]


def _replica_set(item: Object) -> Row:
    spec, status = item["spec"], item["status"]
    names, images = _images(spec["template"]["spec"])
    return [
        item["metadata"]["name"],
        spec.get("replicas", 0),
        status.get("replicas", 0),
        status.get("readyReplicas", 0),
        _age(item),
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


def _pod(item: Object) -> Row:
    spec, status = item["spec"], item["status"]
    rows = status.get("containerStatuses") or []
    restarts: Any = sum(row.get("restartCount", 0) for row in rows)
    ended = [((row.get("lastState") or {}).get("terminated") or {}).get("finishedAt") for row in rows]
    if restarts and any(ended):
        restarts = f"{restarts} ({clock.age(max(filter(None, ended)))} ago)"
    gates = spec.get("readinessGates") or []
    ready_gates = f"{sum(1 for _ in gates if False)}/{len(gates)}" if gates else "<none>"
    return [
        item["metadata"]["name"],
        f"{sum(bool(row.get('ready')) for row in rows)}/{len(spec.get('containers') or [])}",
        pod_reason(item),
        restarts if isinstance(restarts, str) else str(restarts),
        _age(item),
        status.get("podIP") or "<none>",
        spec.get("nodeName") or "<none>",
        status.get("nominatedNodeName") or "<none>",
        ready_gates,
    ]


def _service(item: Object) -> Row:
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
        _age(item),
        selector or "<none>",
    ]


def _node(item: Object) -> Row:
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
        _age(item),
        info.get("kubeletVersion", ""),
        addresses.get("InternalIP", "<none>"),
        addresses.get("ExternalIP", "<none>"),
        info.get("osImage") or "<unknown>",
        info.get("kernelVersion") or "<unknown>",
        info.get("containerRuntimeVersion") or "<unknown>",
    ]


def _event(item: Object) -> Row:
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


def _job(item: Object) -> Row:
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
        _age(item),
        names,
        images,
        selectors.selector_text(spec.get("selector")),
    ]


def _autoscaler(item: Object) -> Row:
    spec, status = item["spec"], item["status"]
    target = spec["scaleTargetRef"]
    texts = []
    for metric in spec.get("metrics") or []:
        if metric.get("type") == "Resource":
            goal = metric["resource"]["target"]
            now = next(
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
        _age(item),
    ]


def _endpoints_text(pairs: list[str]) -> str:
    if not pairs:
        return "<none>"
    more = f" + {len(pairs) - 3} more..." if len(pairs) > 3 else ""
    return ",".join(pairs[:3]) + more


def _endpoints(item: Object) -> Row:
    pairs = [
        f"{address['ip']}:{port['port']}"
        for subset in item.get("subsets") or []
        for port in subset.get("ports") or []
        for address in subset.get("addresses") or []
    ]
    return [item["metadata"]["name"], _endpoints_text(pairs), _age(item)]


def _endpoint_slice(item: Object) -> Row:
    ports = ",".join(str(port.get("port", "*")) for port in item.get("ports") or []) or "<unset>"
    addresses = [address for row in item.get("endpoints") or [] for address in row.get("addresses") or []]
    shown = ",".join(addresses[:3]) + (f" + {len(addresses) - 3} more..." if len(addresses) > 3 else "")
    return [item["metadata"]["name"], item.get("addressType", ""), ports, shown or "<unset>", _age(item)]


def _budget(item: Object) -> Row:
    spec = item["spec"]
    return [
        item["metadata"]["name"],
        str(spec.get("minAvailable", "N/A")),
        str(spec.get("maxUnavailable", "N/A")),
        item["status"].get("disruptionsAllowed", 0),
        _age(item),
    ]


def _role_binding(item: Object) -> Row:
    found: dict[str, list[str]] = {"User": [], "Group": [], "ServiceAccount": []}
    for row in item.get("subjects") or []:
        name = f"{row.get('namespace')}/{row['name']}" if row["kind"] == "ServiceAccount" else row["name"]
        found.setdefault(row["kind"], []).append(name)
    role = item["roleRef"]
    return [
        item["metadata"]["name"],
        f"{role['kind']}/{role['name']}",
        _age(item),
        ", ".join(found["User"]),
        ", ".join(found["Group"]),
        ", ".join(found["ServiceAccount"]),
    ]


def _ingress(item: Object) -> Row:
    hosts = [rule.get("host") for rule in item["spec"].get("rules") or [] if rule.get("host")]
    return [
        item["metadata"]["name"],
        item["spec"].get("ingressClassName") or "<none>",
        ",".join(hosts) or "*",
        "",
        "80, 443" if item["spec"].get("tls") else "80",
        _age(item),
    ]


def _api_service(item: Object) -> Row:
    service = item["spec"].get("service")
    state = next((row for row in (item.get("status") or {}).get("conditions") or [] if row["type"] == "Available"), {})
    text = state.get("status", "Unknown") + (f" ({state['reason']})" if state.get("status") == "False" else "")
    return [
        item["metadata"]["name"],
        f"{service['namespace']}/{service['name']}" if service else "Local",
        text,
        _age(item),
    ]


def _columns(text: str) -> list[Object]:
    """``Name Ready Age +Images`` with ``+`` for columns that only the wide form shows and ``#`` for numbers."""
    columns = []
    for word in text.split():
        columns.append(
            _column(word.strip("+#").replace("_", " "), int("+" in word), "integer" if "#" in word else "string")
        )
    return columns


TABLES: dict[str, tuple[list[Object], Callable[[Object], Row]]] = {
    "apps/deployments": (_columns("Name Ready Up-to-date Available Age +Containers +Images +Selector"), _deployment),
    "apps/replicasets": (_columns("Name Desired# Current# Ready# Age +Containers +Images +Selector"), _replica_set),
    "/pods": (_columns("Name Ready Status Restarts Age +IP +Node +Nominated_Node +Readiness_Gates"), _pod),
    "/services": (_columns("Name Type Cluster-IP External-IP Port(s) Age +Selector"), _service),
    "/nodes": (
        _columns(
            "Name Status Roles Age Version +Internal-IP +External-IP +OS-Image +Kernel-Version +Container-Runtime"
        ),
        _node,
    ),
    "/namespaces": (
        _columns("Name Status Age"),
        lambda item: [item["metadata"]["name"], item["status"].get("phase", ""), _age(item)],
    ),
    "/events": (_columns("Last_Seen Type Reason Object +Subobject +Source Message +First_Seen +Count +Name"), _event),
    "/secrets": (
        _columns("Name Type Data Age"),
        lambda item: [item["metadata"]["name"], item.get("type", ""), len(item.get("data") or {}), _age(item)],
    ),
    "/configmaps": (
        _columns("Name Data Age"),
        lambda item: [
            item["metadata"]["name"],
            len(item.get("data") or {}) + len(item.get("binaryData") or {}),
            _age(item),
        ],
    ),
    "/serviceaccounts": (
        _columns("Name Secrets# Age"),
        lambda item: [item["metadata"]["name"], len(item.get("secrets") or []), _age(item)],
    ),
    "/endpoints": (_columns("Name Endpoints Age"), _endpoints),
    "discovery.k8s.io/endpointslices": (_columns("Name AddressType Ports Endpoints Age"), _endpoint_slice),
    "batch/jobs": (_columns("Name Status Completions Duration Age +Containers +Images +Selector"), _job),
    "autoscaling/horizontalpodautoscalers": (
        _columns("Name Reference Targets MinPods MaxPods Replicas Age"),
        _autoscaler,
    ),
    "policy/poddisruptionbudgets": (_columns("Name Min_Available Max_Unavailable Allowed_Disruptions# Age"), _budget),
    "coordination.k8s.io/leases": (
        _columns("Name Holder Age"),
        lambda item: [item["metadata"]["name"], (item.get("spec") or {}).get("holderIdentity", ""), _age(item)],
    ),
    "networking.k8s.io/ingresses": (_columns("Name Class Hosts Address Ports Age"), _ingress),
    "networking.k8s.io/networkpolicies": (
        _columns("Name Pod-Selector Age"),
        lambda item: [
            item["metadata"]["name"],
            selectors.selector_text(item["spec"].get("podSelector")) or "<none>",
            _age(item),
        ],
    ),
    "rbac.authorization.k8s.io/rolebindings": (
        _columns("Name Role Age +Users +Groups +ServiceAccounts"),
        _role_binding,
    ),
    "rbac.authorization.k8s.io/clusterrolebindings": (
        _columns("Name Role Age +Users +Groups +ServiceAccounts"),
        _role_binding,
    ),
    "apiregistration.k8s.io/apiservices": (_columns("Name Service Available Age"), _api_service),
}
CREATED = (
    [
        _column("Name"),
        {"name": "Created At", "type": "date", "format": "", "description": "Time of creation.", "priority": 0},
    ],
    lambda item: [item["metadata"]["name"], item["metadata"].get("creationTimestamp")],
)


def table(kind: Kind, items: Iterable[Object], metadata: Object, include: str) -> Object:
    """A ``Table`` of objects.

    Args:
        kind: the resource.
        items: the objects; each is one row.
        metadata: list metadata.
        include: ``Object``, ``Metadata`` (default) or ``None``: what each row carries besides its cells.
    """
    columns, cells = TABLES.get(kind.key, CREATED)
    rows: list[Object] = []
    for item in items:
        row: Object = {"cells": cells(item)}
        row["object"] = {"Object": item, "None": None}.get(include, partial(item))
        rows.append(row)
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": metadata,
        "columnDefinitions": columns,
        "rows": rows if rows or kind.key in TABLES else None,
    }


def partial(item: Object) -> Object:
    """Only the metadata of an object."""
    return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": item["metadata"]}
