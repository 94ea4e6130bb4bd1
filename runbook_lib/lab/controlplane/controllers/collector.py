"""Garbage collection: dependents go after their owners, before them, or are let go."""

from __future__ import annotations

from collections.abc import Iterable

from runbook_lib.lab.controlplane import kinds
from runbook_lib.lab.controlplane.controllers.base import MANAGER
from runbook_lib.lab.controlplane.controllers.runner import Key
from runbook_lib.lab.controlplane.kinds import Kind
from runbook_lib.lab.controlplane.resources import Resources, Write
from runbook_lib.lab.controlplane.store import Change, Object


class GarbageCollector:
    """Follows owner references; a key is an owner's uid."""

    name = "garbage-collector"

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._kinds = {kind.key: kind for kind in kinds.KINDS if not kind.storage}

    def concerned(self, change: Change) -> Iterable[Key]:
        """Owners that go or are going, and the owners of what changed."""
        metadata = change.object["metadata"]
        if change.type == "DELETED" or metadata.get("deletionTimestamp"):
            yield "", metadata["uid"]
        if change.type != "MODIFIED" or metadata.get("deletionTimestamp"):
            for owner in metadata.get("ownerReferences") or []:
                yield metadata.get("namespace", ""), owner["uid"]

    def reconcile(self, key: Key) -> float | None:
        """Bring the dependents of one owner in line with it."""
        uid = key[1]
        owner_kind, owner = self._by_uid(uid)
        dependents = self._dependents(uid)
        if owner is None:
            for kind, item in dependents:
                self._orphaned(kind, item)
            return None
        assert owner_kind is not None
        finalizers = owner["metadata"].get("finalizers") or []
        if not owner["metadata"].get("deletionTimestamp"):
            return None
        if "orphan" in finalizers:
            for kind, item in dependents:
                self._release(kind, item, uid)
            self._drop_finalizer(owner_kind, owner, "orphan")
        elif "foregroundDeletion" in finalizers:
            blocking = [row for row in dependents if _blocks(row[1], uid)]
            for kind, item in dependents:
                if not item["metadata"].get("deletionTimestamp"):
                    self._delete(kind, item, "Foreground")
            if not blocking:
                self._drop_finalizer(owner_kind, owner, "foregroundDeletion")
        return None

    def _by_uid(self, uid: str) -> tuple[Kind | None, Object | None]:
        for kind in self._kinds.values():
            for item in self._resources.store.list(kind):
                if item["metadata"]["uid"] == uid:
                    return kind, item
        return None, None

    def _dependents(self, uid: str) -> list[tuple[Kind, Object]]:
        return [
            (kind, item)
            for kind in self._kinds.values()
            for item in self._resources.store.list(kind)
            if any(row["uid"] == uid for row in item["metadata"].get("ownerReferences") or [])
        ]

    def _orphaned(self, kind: Kind, item: Object) -> None:
        """Delete an object whose owners are all gone; otherwise forget the ones that are."""
        owners = item["metadata"].get("ownerReferences") or []
        gone = [row["uid"] for row in owners if self._by_uid(row["uid"])[1] is None]
        if len(gone) == len(owners):
            if not item["metadata"].get("deletionTimestamp"):
                self._delete(kind, item, "Background")
        else:
            for uid in gone:
                self._release(kind, item, uid)

    def _delete(self, kind: Kind, item: Object, policy: str) -> None:
        metadata = item["metadata"]
        options = {"propagationPolicy": policy, "preconditions": {"uid": metadata["uid"]}}
        if metadata.get("finalizers") and policy == "Background":
            options.pop("propagationPolicy")
        self._resources.delete(kind, metadata.get("namespace", ""), metadata["name"], options)

    def _release(self, kind: Kind, item: Object, uid: str) -> None:
        def change(target: Object) -> None:
            rows = [row for row in target["metadata"].get("ownerReferences") or [] if row["uid"] != uid]
            target["metadata"]["ownerReferences"] = rows

        metadata = item["metadata"]
        if self._resources.find(kind, metadata.get("namespace", ""), metadata["name"]):
            self._resources.modify(kind, metadata.get("namespace", ""), metadata["name"], change, Write(MANAGER))

    def _drop_finalizer(self, kind: Kind, item: Object, name: str) -> None:
        def change(target: Object) -> None:
            target["metadata"]["finalizers"] = [
                row for row in target["metadata"].get("finalizers") or [] if row != name
            ]

        metadata = item["metadata"]
        self._resources.modify(kind, metadata.get("namespace", ""), metadata["name"], change, Write(MANAGER))


def _blocks(item: Object, uid: str) -> bool:
    return any(
        row["uid"] == uid and row.get("blockOwnerDeletion") for row in item["metadata"].get("ownerReferences") or []
    )
