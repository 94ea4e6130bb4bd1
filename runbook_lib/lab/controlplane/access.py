"""Who is asking, and what they may do: static tokens and role-based access control over stored roles."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runbook_lib.lab.controlplane import kinds
from runbook_lib.lab.controlplane.store import Object, Store

ROLE = kinds.get("roles", kinds.RBAC)
CLUSTER_ROLE = kinds.get("clusterroles", kinds.RBAC)
ROLE_BINDING = kinds.get("rolebindings", kinds.RBAC)
CLUSTER_ROLE_BINDING = kinds.get("clusterrolebindings", kinds.RBAC)


@dataclass(frozen=True, slots=True)
class User:
    """An authenticated user."""

    name: str
    uid: str = ""
    groups: tuple[str, ...] = ()


MASTERS = "system:masters"
ANONYMOUS = User("system:anonymous", groups=("system:unauthenticated",))


@dataclass(frozen=True, slots=True)
class Attributes:
    """What a request wants to do, as the rules see it."""

    verb: str
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""

    @property
    def full_resource(self) -> str:
        """``deployments/scale``."""
        return f"{self.resource}/{self.subresource}" if self.subresource else self.resource


def read_tokens(path: Path) -> dict[str, User]:
    """Users by token from lines ``token,user,uid,"group1,group2"``."""
    users: dict[str, User] = {}
    with path.open(newline="") as lines:
        for row in csv.reader(lines):
            if len(row) < 3:
                continue
            groups = tuple(filter(None, (row[3] if len(row) > 3 else "").split(",")))
            users[row[0]] = User(row[1], row[2], (*groups, "system:authenticated"))
    return users


def service_account_user(namespace: str, name: str) -> User:
    """The user that a service account's pods and controllers are."""
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated")
    return User(f"system:serviceaccount:{namespace}:{name}", groups=groups)


class Authorizer:
    """Evaluates Roles, ClusterRoles and their bindings as they are stored."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def allows(self, user: User, wanted: Attributes) -> str | None:
        """Why the user may do it (empty for administrators, who need no rule), or None when nothing allows it."""
        if MASTERS in user.groups:
            return ""
        for rule, why in self.rules(user, wanted.namespace):
            if _covers(rule, wanted):
                return why
        return None

    def rules(self, user: User, namespace: str) -> Iterator[tuple[Object, str]]:
        """Every rule that holds for a user in a namespace, with the binding that grants it."""
        for binding in self._store.list(CLUSTER_ROLE_BINDING):
            subject = _subject(binding, user, "")
            if subject:
                yield from self._granted(binding, "", subject)
        if namespace:
            for binding in self._store.list(ROLE_BINDING, namespace):
                subject = _subject(binding, user, namespace)
                if subject:
                    yield from self._granted(binding, namespace, subject)

    def _granted(self, binding: Object, namespace: str, subject: str) -> Iterator[tuple[Object, str]]:
        reference = binding["roleRef"]
        scope = (ROLE, namespace) if reference["kind"] == "Role" else (CLUSTER_ROLE, "")
        role = self._store.get(*scope, reference["name"])
        title = f'{binding["kind"]} "{binding["metadata"]["name"]}{"/" + namespace if namespace else ""}"'
        for rule in (role or {}).get("rules") or []:
            yield rule, f'RBAC: allowed by {title} of {reference["kind"]} "{reference["name"]}" to {subject}'


def _subject(binding: Object, user: User, namespace: str) -> str:
    for subject in binding.get("subjects") or []:
        kind, name = subject.get("kind"), subject.get("name")
        if kind == "User" and name == user.name:
            return f'User "{name}"'
        if kind == "Group" and name in user.groups:
            return f'Group "{name}"'
        account = f"system:serviceaccount:{subject.get('namespace') or namespace}:{name}"
        if kind == "ServiceAccount" and user.name == account:
            return f'ServiceAccount "{name}/{subject.get("namespace")}"'
    return ""


def _covers(rule: dict[str, Any], wanted: Attributes) -> bool:
    if not _any(rule.get("verbs"), wanted.verb):
        return False
    if wanted.path:
        urls = rule.get("nonResourceURLs") or []
        return any(
            url in (wanted.path, "*") or (url.endswith("*") and wanted.path.startswith(url[:-1])) for url in urls
        )
    if not _any(rule.get("apiGroups"), wanted.group):
        return False
    resources = rule.get("resources") or []
    matches = "*" in resources or wanted.full_resource in resources
    if wanted.subresource and f"*/{wanted.subresource}" in resources:
        matches = True
    allowed_names = rule.get("resourceNames") or []
    return matches and (not allowed_names or wanted.name in allowed_names)


def _any(values: list[str] | None, wanted: str) -> bool:
    return bool({"*", wanted} & set(values or ()))
