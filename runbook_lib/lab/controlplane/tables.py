"""``Table`` answers: the columns that ``kubectl get`` prints."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from runbook_lib.lab.controlplane import cells, selectors
from runbook_lib.lab.controlplane.kinds import Kind
from runbook_lib.lab.controlplane.store import Object


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


def _columns(text: str) -> list[Object]:
    """``Name Ready Age +Images`` with ``+`` for columns that only the wide form shows and ``#`` for numbers."""
    columns = []
    for word in text.split():
        columns.append(
            _column(word.strip("+#").replace("_", " "), int("+" in word), "integer" if "#" in word else "string")
        )
    return columns


TABLES: dict[str, tuple[list[Object], Callable[[Object], list[Any]]]] = {
    "apps/deployments": (
        _columns("Name Ready Up-to-date Available Age +Containers +Images +Selector"),
        cells.deployment,
    ),
    "apps/replicasets": (
        _columns("Name Desired# Current# Ready# Age +Containers +Images +Selector"),
        cells.replica_set,
    ),
    "/pods": (_columns("Name Ready Status Restarts Age +IP +Node +Nominated_Node +Readiness_Gates"), cells.pod),
    "/services": (_columns("Name Type Cluster-IP External-IP Port(s) Age +Selector"), cells.service),
    "/nodes": (
        _columns(
            "Name Status Roles Age Version +Internal-IP +External-IP +OS-Image +Kernel-Version +Container-Runtime"
        ),
        cells.node,
    ),
    "/namespaces": (
        _columns("Name Status Age"),
        lambda item: [item["metadata"]["name"], item["status"].get("phase", ""), cells.age(item)],
    ),
    "/events": (
        _columns("Last_Seen Type Reason Object +Subobject +Source Message +First_Seen +Count +Name"),
        cells.event,
    ),
    "/secrets": (
        _columns("Name Type Data Age"),
        lambda item: [item["metadata"]["name"], item.get("type", ""), len(item.get("data") or {}), cells.age(item)],
    ),
    "/configmaps": (
        _columns("Name Data Age"),
        lambda item: [
            item["metadata"]["name"],
            len(item.get("data") or {}) + len(item.get("binaryData") or {}),
            cells.age(item),
        ],
    ),
    "/serviceaccounts": (
        _columns("Name Secrets# Age"),
        lambda item: [item["metadata"]["name"], len(item.get("secrets") or []), cells.age(item)],
    ),
    "/endpoints": (_columns("Name Endpoints Age"), cells.endpoints),
    "discovery.k8s.io/endpointslices": (_columns("Name AddressType Ports Endpoints Age"), cells.endpoint_slice),
    "batch/jobs": (_columns("Name Status Completions Duration Age +Containers +Images +Selector"), cells.job),
    "autoscaling/horizontalpodautoscalers": (
        _columns("Name Reference Targets MinPods MaxPods Replicas Age"),
        cells.autoscaler,
    ),
    "policy/poddisruptionbudgets": (
        _columns("Name Min_Available Max_Unavailable Allowed_Disruptions# Age"),
        cells.budget,
    ),
    "coordination.k8s.io/leases": (
        _columns("Name Holder Age"),
        lambda item: [item["metadata"]["name"], (item.get("spec") or {}).get("holderIdentity", ""), cells.age(item)],
    ),
    "networking.k8s.io/ingresses": (_columns("Name Class Hosts Address Ports Age"), cells.ingress),
    "networking.k8s.io/networkpolicies": (
        _columns("Name Pod-Selector Age"),
        lambda item: [
            item["metadata"]["name"],
            selectors.selector_text(item["spec"].get("podSelector")) or "<none>",
            cells.age(item),
        ],
    ),
    "rbac.authorization.k8s.io/rolebindings": (
        _columns("Name Role Age +Users +Groups +ServiceAccounts"),
        cells.role_binding,
    ),
    "rbac.authorization.k8s.io/clusterrolebindings": (
        _columns("Name Role Age +Users +Groups +ServiceAccounts"),
        cells.role_binding,
    ),
    "apiregistration.k8s.io/apiservices": (_columns("Name Service Available Age"), cells.api_service),
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
    columns, row_of = TABLES.get(kind.key, CREATED)
    rows: list[Object] = []
    for item in items:
        row: Object = {"cells": row_of(item)}
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
