"""What the server serves: versions, groups and resources, plain and aggregated; and a sparse OpenAPI v3."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from runbook_lib.lab.controlplane.kinds import KINDS, REVIEWS, Kind

VERSION = {
    "major": "1",
    "minor": "35",
    "emulationMajor": "1",
    "emulationMinor": "35",
    "minCompatibilityMajor": "1",
    "minCompatibilityMinor": "34",
    "gitVersion": "v1.35.4+lab",
    "gitCommit": "",
    "gitTreeState": "",
    "buildDate": "1970-01-01T00:00:00Z",
    "goVersion": "",
    "compiler": "",
    "platform": "linux/amd64",
}
# Kinds of bodies and verbs of the paths below an object.
SUBRESOURCES = {
    "status": ("", "", "", ("get", "patch", "update")),
    "scale": ("autoscaling", "v1", "Scale", ("get", "patch", "update")),
    "binding": ("", "", "Binding", ("create",)),
    "eviction": ("policy", "v1", "Eviction", ("create",)),
    "token": ("authentication.k8s.io", "v1", "TokenRequest", ("create",)),
    "log": ("", "", "", ("get",)),
    "finalize": ("", "", "", ("update",)),
}
METRICS_GROUP = "metrics.k8s.io"


def group_versions() -> dict[str, list[str]]:
    """Versions per group, the core group under an empty name."""
    found: dict[str, list[str]] = {}
    for kind in (*KINDS, *REVIEWS):
        versions = found.setdefault(kind.group, [])
        if kind.version not in versions:
            versions.append(kind.version)
    return found


def of_group(group: str, version: str) -> list[Kind]:
    """Resources of one group and version, by name."""
    rows = [kind for kind in (*KINDS, *REVIEWS) if (kind.group, kind.version) == (group, version)]
    return sorted(rows, key=lambda kind: kind.resource)


def resource_list(group: str, version: str) -> dict[str, Any]:
    """``APIResourceList`` of one group and version."""
    rows: list[dict[str, Any]] = []
    for kind in of_group(group, version):
        row: dict[str, Any] = {
            "name": kind.resource,
            "singularName": kind.singular or kind.kind.lower(),
            "namespaced": kind.namespaced,
            "kind": kind.kind,
            "verbs": list(kind.verbs),
        }
        if kind.short_names:
            row["shortNames"] = list(kind.short_names)
        if kind.categories:
            row["categories"] = list(kind.categories)
        rows.append(row)
        for name in sorted(kind.subresources):
            if name not in SUBRESOURCES:
                continue
            sub_group, sub_version, sub_kind, verbs = SUBRESOURCES[name]
            sub: dict[str, Any] = {"name": f"{kind.resource}/{name}", "singularName": "", "namespaced": kind.namespaced}
            if sub_group or sub_version:
                sub |= {"group": sub_group, "version": sub_version}
            rows.append(sub | {"kind": sub_kind or kind.kind, "verbs": list(verbs)})
    title = f"{group}/{version}" if group else version
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": title, "resources": rows}


def metrics_resource_list() -> dict[str, Any]:
    """``APIResourceList`` of the pod metrics API, served by whoever the APIService names."""
    row = {"name": "pods", "singularName": "", "namespaced": True, "kind": "PodMetrics", "verbs": ["get", "list"]}
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": f"{METRICS_GROUP}/v1beta1",
        "resources": [row],
    }


def group(name: str, versions: Iterable[str]) -> dict[str, Any]:
    """``APIGroup``."""
    rows = [{"groupVersion": f"{name}/{version}", "version": version} for version in versions]
    return {"name": name, "versions": rows, "preferredVersion": rows[0]}


def group_list(aggregated: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """``APIGroupList``; ``aggregated`` are groups that an APIService adds."""
    rows = [group(name, versions) for name, versions in group_versions().items() if name]
    rows.extend(group(name, [version]) for name, version in aggregated)
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": rows}


def core_versions(address: str) -> dict[str, Any]:
    """``APIVersions`` of the core group."""
    addresses = [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}]
    return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": addresses}


def aggregated_discovery(names: Iterable[str], extra: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """``APIGroupDiscoveryList`` for ``/api`` or ``/apis``: everything in one answer."""
    items = []
    for name in names:
        versions = [
            {
                "version": version,
                "freshness": "Current",
                "resources": [_discovered(kind) for kind in of_group(name, version)],
            }
            for version in group_versions()[name]
        ]
        items.append(
            {
                "metadata": {"name": name, "creationTimestamp": None} if name else {"creationTimestamp": None},
                "versions": versions,
            }
        )
    for name, version in extra:
        row = {
            "resource": "pods",
            "responseKind": {"group": name, "version": version, "kind": "PodMetrics"},
            "scope": "Namespaced",
            "singularResource": "",
            "verbs": ["get", "list"],
        }
        versions = [{"version": version, "freshness": "Current", "resources": [row]}]
        items.append({"metadata": {"name": name, "creationTimestamp": None}, "versions": versions})
    return {"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items}


def _discovered(kind: Kind) -> dict[str, Any]:
    identity = {"group": kind.group, "version": kind.version, "kind": kind.kind}
    row: dict[str, Any] = {
        "resource": kind.resource,
        "responseKind": identity,
        "scope": "Namespaced" if kind.namespaced else "Cluster",
        "singularResource": kind.singular or kind.kind.lower(),
        "verbs": list(kind.verbs),
    }
    if kind.short_names:
        row["shortNames"] = list(kind.short_names)
    if kind.categories:
        row["categories"] = list(kind.categories)
    below = []
    for name in sorted(kind.subresources):
        if name in SUBRESOURCES:
            sub_group, sub_version, sub_kind, verbs = SUBRESOURCES[name]
            response = (
                {"group": sub_group, "version": sub_version, "kind": sub_kind}
                if sub_version
                else identity | ({"kind": sub_kind} if sub_kind else {})
            )
            below.append({"subresource": name, "responseKind": response, "verbs": list(verbs)})
    return row | ({"subresources": below} if below else {})


def openapi_index() -> dict[str, Any]:
    """Paths of the OpenAPI v3 documents."""
    paths = {}
    for name, versions in group_versions().items():
        for version in versions:
            path = f"apis/{name}/{version}" if name else f"api/{version}"
            paths[path] = {"serverRelativeURL": f"/openapi/v3/{path}?hash=1"}
    return {"paths": paths}


def openapi_document(group_name: str, version: str) -> dict[str, Any]:
    """The paths of one group and version.

    Clients look here for two things before they write: whether the kind exists, and whether the server validates
    fields and runs dry. Schemas are left out, so ``kubectl explain`` has nothing to tell.
    """
    paths: dict[str, Any] = {}
    parameters = [
        {"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": True}}
        for name in ("dryRun", "fieldManager", "fieldValidation")
    ]
    root = f"/apis/{group_name}/{version}" if group_name else f"/api/{version}"
    for kind in of_group(group_name, version):
        scope = "/namespaces/{namespace}" if kind.namespaced else ""
        mark = {"x-kubernetes-group-version-kind": {"group": kind.group, "version": kind.version, "kind": kind.kind}}
        force = {"name": "force", "in": "query", "schema": {"type": "boolean", "uniqueItems": True}}
        base = f"{root}{scope}/{kind.resource}"
        paths[base] = {"post": {"x-kubernetes-action": "post", "parameters": parameters} | mark}
        paths[base + "/{name}"] = {
            "put": {"x-kubernetes-action": "put", "parameters": parameters} | mark,
            "patch": {"x-kubernetes-action": "patch", "parameters": [*parameters, force]} | mark,
        }
    info = {"title": "Kubernetes", "version": VERSION["gitVersion"]}
    return {"openapi": "3.0.0", "info": info, "paths": paths, "components": {"schemas": {}}}
