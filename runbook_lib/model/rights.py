"""What runbooks must be allowed in a cluster: the one table behind preflight, drift, guards and the shipped roles.

``tests/cluster/test_roles.py`` runs every notebook on a real API server and compares its audit log with this table. The
aim is that no verb stands here that is never used, and none is used that does not stand here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from runbook_lib.errors import UnknownNameError

_RBAC = "rbac.authorization.k8s.io"


@dataclass(frozen=True, slots=True, order=True)
class Right:
    """A verb on a kind of object in the namespace of a service.

    Args:
        group: API group; empty for the core group.
        resource: plural name, such as ``deployments``.
        subresource: such as ``scale``; empty for the object itself.
        verb: such as ``patch``.
    """

    group: str
    resource: str
    subresource: str
    verb: str

    def __str__(self) -> str:
        return f"{self.verb} {self.where}"

    @property
    def where(self) -> str:
        """The resource as RBAC writes it, such as ``deployments/scale``."""
        return f"{self.resource}/{self.subresource}" if self.subresource else self.resource


def _on(group: str, resource: str, *verbs: str) -> tuple[Right, ...]:
    name, _, subresource = resource.partition("/")
    return tuple(Right(group, name, subresource, verb) for verb in verbs)


#: What an investigation reads.
READING = (
    *_on("apps", "deployments", "get"),
    *_on("apps", "replicasets", "list"),
    *_on("", "pods", "list"),
    *_on("discovery.k8s.io", "endpointslices", "list"),
)
#: Helm keeps its revisions in Secrets: without it nothing of a release can be read.
REVISIONS = Right("", "secrets", "", "list")
#: The lock among runs of all machines. Where it may not be taken, the lock of the archive is all there is.
LOCK = _on("coordination.k8s.io", "leases", "get", "create", "update", "patch")
_SCALE = (*_on("apps", "deployments/scale", "patch"), *_on("autoscaling", "horizontalpodautoscalers", "list"))
#: Helm writes each revision twice, and removes the oldest beyond its limit of ten.
_RELEASE = (
    REVISIONS,
    *_on("", "secrets", "get", "create", "update", "delete"),
    *_on("apps", "deployments", "get", "patch"),
    *_on("", "resourcequotas", "list"),
)
#: Kinds of the shipped chart; another chart's are added by name.
CHART_KINDS = ("configmaps", "serviceaccounts", "services")
#: What Helm does to an object of a chart: it reads it, and applies it.
_CHART_VERBS = ("get", "patch")
#: Kind of action to what it and its way back need.
CHANGING: Mapping[str, tuple[Right, ...]] = {
    **dict.fromkeys(("scale", "stop_service"), _SCALE),
    **dict.fromkeys(("deploy", "rollback", "unlock_release"), _RELEASE),
}
#: Role to the kinds of action that it allows, beyond reading.
ROLES: Mapping[str, tuple[str, ...]] = {
    "reader": (),
    "actor": ("scale", "stop_service"),
    "deployer": ("scale", "stop_service", "deploy", "rollback", "unlock_release"),
}


def needed(actions: Iterable[str]) -> dict[Right, tuple[str, ...]]:
    """Every right that a run with these kinds of action needs, with the kinds that need it; none for reading."""
    found: dict[Right, tuple[str, ...]] = dict.fromkeys(READING, ())
    for kind in actions:
        for right in CHANGING.get(kind, ()):
            if right not in READING:
                found[right] = (*found.get(right, ()), kind)
    return found


def granted(role: str, kinds: Iterable[str] = CHART_KINDS, lists: Iterable[str] = ()) -> tuple[Right, ...]:
    """Every right of a role.

    Args:
        role: a key of ``ROLES``.
        kinds: resources of the release's chart, as ``resource`` or ``resource.group``; only the deployer applies them.
        lists: what runbooks of your own list beyond the shipped ones, written the same way.

    Raises:
        UnknownNameError: there is no such role.
    """
    if role not in ROLES:
        raise UnknownNameError("role", role, ROLES)
    found = dict.fromkeys(needed(ROLES[role]))
    for name in lists:
        found |= dict.fromkeys(_named(name, "list"))
    if ROLES[role]:
        found |= dict.fromkeys(LOCK)
    if "deploy" in ROLES[role]:
        for kind in kinds:
            found |= dict.fromkeys(_named(kind, *_CHART_VERBS))
    return tuple(sorted(found))


def _named(kind: str, *verbs: str) -> tuple[Right, ...]:
    """Verbs on a kind as kubectl writes it, such as ``ingresses.networking.k8s.io``."""
    resource, _, group = kind.partition(".")
    return _on(group, resource, *verbs)


def manifests(
    role: str, namespace: str, kinds: Iterable[str] = CHART_KINDS, lists: Iterable[str] = ()
) -> Iterator[dict[str, Any]]:
    """A role as objects to apply: a service account, the Role, and its binding to the account and to a group.

    Args:
        role: a key of ``ROLES``; the objects are called ``runbook-ROLE``, the group ``runbook-ROLEs``.
        namespace: where they apply; nothing outside of it is allowed.
        kinds: as of ``granted``.
        lists: as of ``granted``.

    Raises:
        UnknownNameError: there is no such role.
    """
    name = f"runbook-{role}"
    verbs: dict[tuple[str, str], list[str]] = {}
    for right in granted(role, kinds, lists):
        verbs.setdefault((right.group, right.where), []).append(right.verb)
    rules = [{"apiGroups": [group], "resources": [where], "verbs": found} for (group, where), found in verbs.items()]
    metadata = {"name": name, "namespace": namespace}
    yield {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}
    yield {"apiVersion": f"{_RBAC}/v1", "kind": "Role", "metadata": metadata, "rules": rules}
    yield {
        "apiVersion": f"{_RBAC}/v1",
        "kind": "RoleBinding",
        "metadata": metadata,
        "roleRef": {"apiGroup": _RBAC, "kind": "Role", "name": name},
        "subjects": [
            {"kind": "ServiceAccount", "name": name, "namespace": namespace},
            {"apiGroup": _RBAC, "kind": "Group", "name": f"{name}s"},
        ],
    }
