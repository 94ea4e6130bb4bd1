"""Objects that a fresh cluster has: namespaces, the ``kubernetes`` service, and the default roles."""

from __future__ import annotations

from typing import Any

from runbook_lib.lab.controlplane import kinds
from runbook_lib.lab.controlplane.resources import Resources, Write

READ = ["get", "list", "watch"]
WRITE = ["create", "delete", "deletecollection", "patch", "update"]
VIEW: list[dict[str, Any]] = [
    {
        "apiGroups": [""],
        "verbs": READ,
        "resources": [
            "configmaps",
            "endpoints",
            "events",
            "limitranges",
            "namespaces",
            "namespaces/status",
            "pods",
            "pods/log",
            "pods/status",
            "resourcequotas",
            "resourcequotas/status",
            "serviceaccounts",
            "services",
            "services/status",
        ],
    },
    {
        "apiGroups": ["apps"],
        "verbs": READ,
        "resources": [
            "deployments",
            "deployments/scale",
            "deployments/status",
            "replicasets",
            "replicasets/scale",
            "replicasets/status",
        ],
    },
    {
        "apiGroups": ["autoscaling"],
        "verbs": READ,
        "resources": ["horizontalpodautoscalers", "horizontalpodautoscalers/status"],
    },
    {"apiGroups": ["batch"], "verbs": READ, "resources": ["jobs", "jobs/status"]},
    {"apiGroups": ["discovery.k8s.io"], "verbs": READ, "resources": ["endpointslices"]},
    {"apiGroups": ["metrics.k8s.io"], "verbs": READ, "resources": ["pods", "nodes"]},
    {
        "apiGroups": ["networking.k8s.io"],
        "verbs": READ,
        "resources": ["ingresses", "ingresses/status", "networkpolicies"],
    },
    {"apiGroups": ["policy"], "verbs": READ, "resources": ["poddisruptionbudgets", "poddisruptionbudgets/status"]},
]
EDIT: list[dict[str, Any]] = [
    {
        "apiGroups": [""],
        "verbs": WRITE,
        "resources": ["configmaps", "events", "pods", "secrets", "serviceaccounts", "services"],
    },
    {"apiGroups": [""], "verbs": READ, "resources": ["secrets", "pods/exec"]},
    {"apiGroups": [""], "verbs": ["create"], "resources": ["pods/eviction", "pods/exec"]},
    {
        "apiGroups": ["apps"],
        "verbs": WRITE,
        "resources": ["deployments", "deployments/scale", "replicasets", "replicasets/scale"],
    },
    {"apiGroups": ["autoscaling"], "verbs": WRITE, "resources": ["horizontalpodautoscalers"]},
    {"apiGroups": ["batch"], "verbs": WRITE, "resources": ["jobs"]},
    {"apiGroups": ["coordination.k8s.io"], "verbs": [*READ, *WRITE], "resources": ["leases"]},
    {"apiGroups": ["networking.k8s.io"], "verbs": WRITE, "resources": ["ingresses", "networkpolicies"]},
    {"apiGroups": ["policy"], "verbs": WRITE, "resources": ["poddisruptionbudgets"]},
]
ADMIN: list[dict[str, Any]] = [
    {"apiGroups": [kinds.RBAC], "verbs": [*READ, *WRITE], "resources": ["rolebindings", "roles"]},
    {"apiGroups": ["authorization.k8s.io"], "verbs": ["create"], "resources": ["localsubjectaccessreviews"]},
]
ROLES: dict[str, list[dict[str, Any]]] = {
    "cluster-admin": [
        {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]},
        {"nonResourceURLs": ["*"], "verbs": ["*"]},
    ],
    "admin": VIEW + EDIT + ADMIN,
    "edit": VIEW + EDIT,
    "view": VIEW,
    "system:discovery": [
        {
            "verbs": ["get"],
            "nonResourceURLs": [
                "/api",
                "/api/*",
                "/apis",
                "/apis/*",
                "/healthz",
                "/livez",
                "/openapi",
                "/openapi/*",
                "/readyz",
                "/version",
                "/version/",
            ],
        },
    ],
    "system:basic-user": [
        {
            "apiGroups": ["authorization.k8s.io"],
            "verbs": ["create"],
            "resources": ["selfsubjectaccessreviews", "selfsubjectrulesreviews"],
        },
        {"apiGroups": ["authentication.k8s.io"], "verbs": ["create"], "resources": ["selfsubjectreviews"]},
    ],
    "system:public-info-viewer": [
        {"verbs": ["get"], "nonResourceURLs": ["/healthz", "/livez", "/readyz", "/version", "/version/"]},
    ],
}
BINDINGS = {
    "cluster-admin": ("system:masters",),
    "system:discovery": ("system:authenticated",),
    "system:basic-user": ("system:authenticated",),
    "system:public-info-viewer": ("system:authenticated", "system:unauthenticated"),
}
LABELS = {"kubernetes.io/bootstrapping": "rbac-defaults"}


def populate(resources: Resources) -> None:
    """Create the objects of a fresh cluster."""
    write = Write("kube-apiserver")
    for name in ("default", "kube-node-lease", "kube-public", "kube-system"):
        resources.create(kinds.get("namespaces"), "", {"metadata": {"name": name}}, write)
    for name, rules in ROLES.items():
        metadata = {
            "name": name,
            "labels": LABELS,
            "annotations": {"rbac.authorization.kubernetes.io/autoupdate": "true"},
        }
        resources.create(kinds.get("clusterroles", kinds.RBAC), "", {"metadata": metadata, "rules": rules}, write)
        groups = BINDINGS.get(name)
        if groups:
            binding = {
                "metadata": metadata,
                "roleRef": {"apiGroup": kinds.RBAC, "kind": "ClusterRole", "name": name},
                "subjects": [{"apiGroup": kinds.RBAC, "kind": "Group", "name": group} for group in groups],
            }
            resources.create(kinds.get("clusterrolebindings", kinds.RBAC), "", binding, write)
    service = {
        "metadata": {"name": "kubernetes", "labels": {"component": "apiserver", "provider": "kubernetes"}},
        "spec": {
            "clusterIP": "10.96.0.1",
            "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": 6443}],
        },
    }
    resources.create(kinds.get("services"), "default", service, write)
