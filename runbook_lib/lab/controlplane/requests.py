"""What a request asks for, read from its path and query."""

from __future__ import annotations

from dataclasses import dataclass, field

from runbook_lib.lab.controlplane import kinds
from runbook_lib.lab.controlplane.access import Attributes
from runbook_lib.lab.controlplane.kinds import Kind

METHOD_VERBS = {"GET": "get", "HEAD": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


@dataclass(frozen=True, slots=True)
class Target:
    """The object or collection that a path names.

    Attributes:
        rest: what follows the subresource, for proxied paths.
    """

    group: str
    version: str
    resource: str
    namespace: str = ""
    name: str = ""
    subresource: str = ""
    rest: str = ""

    @property
    def kind(self) -> Kind | None:
        """The resource, or None when it is not served."""
        return kinds.find(self.group, self.version, self.resource)


def parse_path(path: str) -> Target | None:
    """The target of an API path, or None for any other path."""
    parts = path.strip("/").split("/")
    if parts[0] == "api" and len(parts) > 2:
        group, version, rest = "", parts[1], parts[2:]
    elif parts[0] == "apis" and len(parts) > 3:
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        return None
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 2 and not (group == "" and rest[2] in ("status", "finalize")):
        namespace, rest = rest[1], rest[2:]
    elif rest[0] == "namespaces" and len(rest) == 2:
        # A namespace is an object of its own, and rules that name it see it as their namespace too.
        namespace = ""
    name = rest[1] if len(rest) > 1 else ""
    subresource = rest[2] if len(rest) > 2 else ""
    return Target(group, version, rest[0], namespace, name, subresource, "/".join(rest[3:]))


def verb_of(method: str, target: Target, query: dict[str, str]) -> str:
    """The verb that access rules know."""
    verb = METHOD_VERBS[method]
    if verb == "get" and not target.name:
        return "watch" if is_true(query.get("watch", "")) else "list"
    if verb == "delete" and not target.name:
        return "deletecollection"
    return verb


def attributes(verb: str, target: Target) -> Attributes:
    """The target as access rules see it."""
    namespace = target.namespace
    if target.resource == "namespaces" and target.name:
        namespace = target.name
    return Attributes(verb, target.group, target.resource, target.subresource, namespace, target.name)


def is_true(value: str) -> bool:
    """A query parameter that is switched on."""
    return value in ("1", "true", "True", "t", "T", "TRUE")


@dataclass(slots=True)
class Accept:
    """The form of answer that a client prefers.

    Attributes:
        shape: empty, ``Table``, ``PartialObjectMetadata``, ``PartialObjectMetadataList`` or ``APIGroupDiscoveryList``.
        readable: whether any form that the server speaks is accepted.
    """

    shape: str = ""
    readable: bool = True
    offered: list[str] = field(default_factory=list)


SHAPES = ("Table", "PartialObjectMetadata", "PartialObjectMetadataList", "APIGroupDiscoveryList")


def parse_accept(header: str) -> Accept:
    """The first form in an ``Accept`` header that the server speaks: JSON only."""
    if not header.strip():
        return Accept()
    for clause in header.split(","):
        media, *options = [part.strip() for part in clause.split(";")]
        if media not in ("application/json", "*/*", "application/*"):
            continue
        values = dict(option.split("=", 1) for option in options if "=" in option)
        shape = values.get("as", "")
        if shape in SHAPES and not (shape == "APIGroupDiscoveryList" and values.get("v") not in ("v2", "v2beta1")):
            return Accept(shape)
        if not shape:
            return Accept()
    return Accept(readable=False)
