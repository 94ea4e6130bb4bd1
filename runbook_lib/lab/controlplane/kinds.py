"""The resources that the API serves."""

from __future__ import annotations

from dataclasses import dataclass, field

from runbook_lib.lab.controlplane.schema import Type, named

VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


@dataclass(frozen=True, slots=True)
class Kind:
    """One resource.

    Attributes:
        group: API group; empty for the core.
        resource: plural name in paths.
        type_name: structure in the field table.
        subresources: names of the paths below an object, such as ``status``.
        generation: whether ``metadata.generation`` counts changes of the desired state.
        storage: the resource whose objects this one shows in another version, when it is not its own.
    """

    group: str
    version: str
    resource: str
    kind: str
    type_name: str
    namespaced: bool = True
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    subresources: tuple[str, ...] = ()
    generation: bool = False
    verbs: tuple[str, ...] = VERBS
    storage: str = ""
    singular: str = field(default="")

    @property
    def api_version(self) -> str:
        """``apps/v1`` or ``v1``."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def key(self) -> str:
        """Identity of the resource's storage."""
        return self.storage or f"{self.group}/{self.resource}"

    @property
    def type(self) -> Type:
        """Type of its objects."""
        return named(self.type_name)

    @property
    def has_status(self) -> bool:
        """Whether status is written through a path of its own."""
        return "status" in self.subresources


RBAC = "rbac.authorization.k8s.io"

KINDS: tuple[Kind, ...] = (
    Kind("", "v1", "configmaps", "ConfigMap", "core.v1.ConfigMap", short_names=("cm",)),
    Kind("", "v1", "endpoints", "Endpoints", "core.v1.Endpoints", short_names=("ep",), singular="endpoints"),
    Kind("", "v1", "events", "Event", "core.v1.Event", short_names=("ev",)),
    Kind("", "v1", "limitranges", "LimitRange", "core.v1.LimitRange", short_names=("limits",)),
    Kind(
        "",
        "v1",
        "namespaces",
        "Namespace",
        "core.v1.Namespace",
        namespaced=False,
        short_names=("ns",),
        subresources=("finalize", "status"),
        verbs=tuple(v for v in VERBS if v != "deletecollection"),
    ),
    Kind(
        "",
        "v1",
        "nodes",
        "Node",
        "core.v1.Node",
        namespaced=False,
        short_names=("no",),
        subresources=("proxy", "status"),
    ),
    Kind(
        "",
        "v1",
        "pods",
        "Pod",
        "core.v1.Pod",
        short_names=("po",),
        categories=("all",),
        generation=True,
        subresources=("binding", "eviction", "exec", "log", "status"),
    ),
    Kind(
        "",
        "v1",
        "resourcequotas",
        "ResourceQuota",
        "core.v1.ResourceQuota",
        short_names=("quota",),
        subresources=("status",),
    ),
    Kind("", "v1", "secrets", "Secret", "core.v1.Secret"),
    Kind(
        "",
        "v1",
        "serviceaccounts",
        "ServiceAccount",
        "core.v1.ServiceAccount",
        short_names=("sa",),
        subresources=("token",),
    ),
    Kind(
        "",
        "v1",
        "services",
        "Service",
        "core.v1.Service",
        short_names=("svc",),
        categories=("all",),
        subresources=("status",),
    ),
    Kind(
        "apiregistration.k8s.io",
        "v1",
        "apiservices",
        "APIService",
        "apiregistration.v1.APIService",
        namespaced=False,
        categories=("api-extensions",),
        subresources=("status",),
    ),
    Kind(
        "apps",
        "v1",
        "deployments",
        "Deployment",
        "apps.v1.Deployment",
        short_names=("deploy",),
        categories=("all",),
        subresources=("scale", "status"),
        generation=True,
    ),
    Kind(
        "apps",
        "v1",
        "replicasets",
        "ReplicaSet",
        "apps.v1.ReplicaSet",
        short_names=("rs",),
        categories=("all",),
        subresources=("scale", "status"),
        generation=True,
    ),
    Kind("events.k8s.io", "v1", "events", "Event", "events.v1.Event", short_names=("ev",), storage="/events"),
    Kind(
        "autoscaling",
        "v2",
        "horizontalpodautoscalers",
        "HorizontalPodAutoscaler",
        "autoscaling.v2.HorizontalPodAutoscaler",
        short_names=("hpa",),
        categories=("all",),
        subresources=("status",),
    ),
    Kind("batch", "v1", "jobs", "Job", "batch.v1.Job", categories=("all",), subresources=("status",), generation=True),
    Kind(
        "networking.k8s.io",
        "v1",
        "ingresses",
        "Ingress",
        "networking.v1.Ingress",
        short_names=("ing",),
        subresources=("status",),
        generation=True,
    ),
    Kind(
        "networking.k8s.io",
        "v1",
        "networkpolicies",
        "NetworkPolicy",
        "networking.v1.NetworkPolicy",
        short_names=("netpol",),
        generation=True,
    ),
    Kind(
        "policy",
        "v1",
        "poddisruptionbudgets",
        "PodDisruptionBudget",
        "policy.v1.PodDisruptionBudget",
        short_names=("pdb",),
        subresources=("status",),
        generation=True,
    ),
    Kind(RBAC, "v1", "clusterrolebindings", "ClusterRoleBinding", "rbac.v1.ClusterRoleBinding", namespaced=False),
    Kind(RBAC, "v1", "clusterroles", "ClusterRole", "rbac.v1.ClusterRole", namespaced=False),
    Kind(RBAC, "v1", "rolebindings", "RoleBinding", "rbac.v1.RoleBinding"),
    Kind(RBAC, "v1", "roles", "Role", "rbac.v1.Role"),
    Kind("coordination.k8s.io", "v1", "leases", "Lease", "coordination.v1.Lease"),
    Kind("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice", "discovery.v1.EndpointSlice", generation=True),
)
"""Every stored resource; discovery adds the reviews, which are answered and not stored."""

REVIEWS: tuple[Kind, ...] = (
    Kind(
        "authentication.k8s.io",
        "v1",
        "selfsubjectreviews",
        "SelfSubjectReview",
        "authentication.v1.SelfSubjectReview",
        namespaced=False,
        verbs=("create",),
    ),
    Kind(
        "authorization.k8s.io",
        "v1",
        "localsubjectaccessreviews",
        "LocalSubjectAccessReview",
        "authorization.v1.LocalSubjectAccessReview",
        verbs=("create",),
    ),
    Kind(
        "authorization.k8s.io",
        "v1",
        "selfsubjectaccessreviews",
        "SelfSubjectAccessReview",
        "authorization.v1.SelfSubjectAccessReview",
        namespaced=False,
        verbs=("create",),
    ),
    Kind(
        "authorization.k8s.io",
        "v1",
        "selfsubjectrulesreviews",
        "SelfSubjectRulesReview",
        "authorization.v1.SelfSubjectRulesReview",
        namespaced=False,
        verbs=("create",),
    ),
    Kind(
        "authorization.k8s.io",
        "v1",
        "subjectaccessreviews",
        "SubjectAccessReview",
        "authorization.v1.SubjectAccessReview",
        namespaced=False,
        verbs=("create",),
    ),
)

_BY_PATH = {(kind.group, kind.version, kind.resource): kind for kind in (*KINDS, *REVIEWS)}
_BY_KIND = {(kind.api_version, kind.kind): kind for kind in (*KINDS, *REVIEWS)}


def find(group: str, version: str, resource: str) -> Kind | None:
    """The resource at a path, or None."""
    return _BY_PATH.get((group, version, resource))


def of(api_version: str, kind: str) -> Kind | None:
    """The resource of ``apiVersion`` and ``kind``, or None."""
    return _BY_KIND.get((api_version, kind))


def get(resource: str, group: str = "", version: str = "v1") -> Kind:
    """The resource that is known to exist.

    Raises:
        KeyError: it does not.
    """
    return _BY_PATH[group, version, resource]
