"""``metadata.managedFields``: who set which field, kept for every write; and server-side apply on top of it.

The rules are those of structured merge: an update makes its writer the owner of what it changed and takes those
fields from the other managers; an apply owns what the applied document says, gives up what it no longer says, and
conflicts with managers of other values.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from runbook_lib.lab.controlplane.fields import paths, typed
from runbook_lib.lab.controlplane.fields.paths import FieldSet
from runbook_lib.lab.controlplane.kinds import Kind
from runbook_lib.lab.controlplane.status import Cause, apply_conflict

Object = dict[str, Any]
# Set by the server, so nobody owns them.
SYSTEM = {"name", "namespace", "creationTimestamp", "selfLink", "uid", "generation", "managedFields", "resourceVersion"}


@dataclass(frozen=True, slots=True)
class Manager:
    """One entry of ``managedFields`` without its fields: equal managers share an entry."""

    name: str
    operation: str
    api_version: str
    subresource: str = ""


Managers = dict[Manager, tuple[FieldSet, str]]
"""Owned fields and the time of the last change, per manager."""


def read(item: Object) -> Managers:
    """Managers of a stored object."""
    managers: Managers = {}
    for row in item["metadata"].get("managedFields") or []:
        manager = Manager(
            row.get("manager", ""), row["operation"], row.get("apiVersion", ""), row.get("subresource", "")
        )
        managers[manager] = (paths.decode(row.get("fieldsV1") or {}), row.get("time", ""))
    return managers


def write(item: Object, managers: Managers) -> Object:
    """The object with those managers; a manager without fields is dropped."""
    order = sorted(managers, key=lambda m: (m.operation, managers[m][1], m.name, m.api_version, m.subresource))
    rows: list[Object] = []
    for manager in order:
        owned, time = managers[manager]
        if not owned:
            continue
        row = {
            "manager": manager.name,
            "operation": manager.operation,
            "apiVersion": manager.api_version,
            "fieldsType": "FieldsV1",
            "fieldsV1": paths.encode(owned),
        }
        rows.append(
            row
            | ({"time": time} if time else {})
            | ({"subresource": manager.subresource} if manager.subresource else {})
        )
    metadata = {key: value for key, value in item["metadata"].items() if key != "managedFields"}
    return item | {"metadata": metadata | ({"managedFields": rows} if rows else {})}


def body(item: Object) -> Object:
    """What can be owned: the object without its identity and what the server sets."""
    inner = {key: value for key, value in item.items() if key not in ("apiVersion", "kind")}
    metadata = {key: value for key, value in (item.get("metadata") or {}).items() if key not in SYSTEM}
    return inner | {"metadata": metadata}


def ignored(kind: Kind, subresource: str) -> str:
    """The top-level field that a path does not write: status by the object's path, all else by the status path."""
    if subresource == "status":
        return "spec"
    return "status" if kind.has_status else ""


def _owned(found: FieldSet, skip: str, subresource: str) -> FieldSet:
    """Fields without the part that the path resets."""
    if not skip:
        return found
    drop = {f"f:{skip}"}
    kept = frozenset(path for path in found if path[0] not in drop)
    if subresource == "status":
        # The status path resets metadata too, but for what controllers may set with it.
        return frozenset(path for path in kept if path[0] != "f:metadata" or path[:2] != ("f:metadata", "f:labels"))
    return kept


def track_update(kind: Kind, before: Object, after: Object, manager: Manager, now: str) -> Object:
    """``after`` with the ownership that results from an update, create, patch or status write.

    Args:
        before: the stored object; an empty canonical one for a create.
        after: the object to store.
        manager: who writes.
        now: time of the write, RFC 3339.
    """
    managers = read(before)
    given = (after.get("metadata") or {}).get("managedFields")
    if given is not None and given != before["metadata"].get("managedFields"):
        managers = read(after)  # a client may edit ownership; only well-formed entries get here
    elif given == [] and before["metadata"].get("managedFields"):
        managers = {}
    if not managers and before["metadata"].get("uid"):
        return write(after, {})  # ownership is kept from an object's creation on, or from its first apply
    difference = typed.compare(body(before), body(after), kind.type)
    skip = ignored(kind, manager.subresource)
    changed = _owned(difference.changed, skip, manager.subresource)
    removed = _owned(difference.removed, skip, manager.subresource)
    result: Managers = {}
    for other, (owned, time) in managers.items():
        left = owned - removed if other == manager else owned - removed - changed
        # A list item or map key that is gone takes what was owned below it along.
        left = (
            frozenset(path for path in left if not any(path[: len(gone)] == gone for gone in removed))
            if removed
            else left
        )
        result[other] = (left, time)
    if changed:
        own = result.get(manager, (frozenset[paths.Path](), now))[0]
        result[manager] = (own | changed, now)
    return write(after, result)


def apply(kind: Kind, live: Object, config: Object, manager: Manager, now: str, *, force: bool) -> Object:
    """The object that results from a server-side apply.

    Args:
        live: the stored object; an empty canonical one when it does not exist yet.
        config: what the client applied, decoded but without defaults.
        manager: who applies.
        now: time of the write, RFC 3339.
        force: take fields that other managers own with another value.

    Raises:
        ApiError: 409 with one cause per field that another manager owns.
    """
    managers = read(live)
    if not managers and live["metadata"].get("name"):
        before = Manager("before-first-apply", "Update", manager.api_version)
        found = typed.compare({}, body(live), kind.type).changed - {("f:metadata",), ("f:spec",), ("f:status",)}
        managers[before] = (_owned(found, ignored(kind, ""), ""), now)
    skip = ignored(kind, manager.subresource)
    wanted = body(config)
    if skip:
        wanted.pop(skip, None)
    applied = paths.fields_of(wanted, kind.type) - {("f:metadata",)}
    live_body = body(live)
    last = managers.get(manager, (frozenset[paths.Path](), ""))[0]
    merged = typed.merge(live_body, wanted, kind.type)
    owned_by_all = (
        frozenset(path for other, (owned, _) in managers.items() if other != manager for path in owned) | applied
    )
    pruned = _prune(merged, last, owned_by_all, kind) if last else merged
    difference = typed.compare(live_body, pruned, kind.type)
    conflicts = {other: owned & difference.changed for other, (owned, _) in managers.items() if other != manager}
    causes = [
        Cause(paths.text(path), "FieldManagerConflict", _conflict_text(other, manager))
        for other, found in conflicts.items()
        for path in sorted(found)
    ]
    if causes and not force:
        raise apply_conflict(sorted(causes, key=lambda cause: (cause.message, cause.field)))
    result: Managers = {
        other: (frozenset(path for path in owned - conflicts[other] if path not in difference.removed), time)
        for other, (owned, time) in managers.items()
        if other != manager
    }
    # An apply that changes nothing leaves the time of its entry alone, even when there is none yet.
    result[manager] = (applied, now if difference.changed or difference.removed else managers.get(manager, ((), ""))[1])
    metadata = {key: value for key, value in live["metadata"].items() if key in SYSTEM} | (pruned.get("metadata") or {})
    return write({**pruned, "metadata": metadata}, result)


REPLICAS = ("f:spec", "f:replicas")


def track_scale(before: Object, after: Object, manager: Manager) -> Object:
    """``after`` with the ownership that results from a write to the scale path.

    That path sees one field, and a size of zero as its absence; entries it makes carry no time.
    """
    managers = read(before)
    size, old = after["spec"].get("replicas", 0), before["spec"].get("replicas", 0)
    owners = [other for other, (owned, _) in managers.items() if REPLICAS in owned]
    if size == old or not owners:
        return write(after, managers)
    result: Managers = {other: (owned - {REPLICAS}, time) for other, (owned, time) in managers.items()}
    if size:
        result[manager] = (result.get(manager, (frozenset[paths.Path](), ""))[0] | {REPLICAS}, "")
    return write(after, result)


def apply_scale(live: Object, size: int, manager: Manager, *, force: bool) -> Object:
    """The object that results from a server-side apply of a ``Scale``.

    Raises:
        ApiError: 409 when another manager owns another size.
    """
    managers = read(live)
    others = [other for other, (owned, _) in managers.items() if REPLICAS in owned and other != manager]
    if not any(REPLICAS in owned for owned, _ in managers.values()):
        others = [Manager("before-first-apply", "Update", "autoscaling/v1", "scale")]
    differs = live["spec"].get("replicas", 0) != size
    if differs and others and not force:
        causes = [
            Cause(paths.text(REPLICAS), "FieldManagerConflict", _conflict_text(other, manager)) for other in others
        ]
        raise apply_conflict(causes)
    result: Managers = dict(managers)
    if differs:
        result = {other: (owned - {REPLICAS}, time) for other, (owned, time) in managers.items()}
    result[manager] = (result.get(manager, (frozenset[paths.Path](), ""))[0] | {REPLICAS}, "")
    return write({**live, "metadata": dict(live["metadata"]), "spec": live["spec"] | {"replicas": size}}, result)


def _prune(merged: Object, last: FieldSet, owned: FieldSet, kind: Kind) -> Object:
    """Remove what the manager applied before, applies no longer, and nobody else owns."""
    root = kind.type
    everything = paths.with_named_parents(paths.fields_of(merged, root), root)
    without_last = typed.remove(merged, last, root) or {}
    kept = paths.with_named_parents(paths.fields_of(without_last, root), root)
    gone = everything - kept - paths.with_named_parents(owned, root)
    dangling = gone & paths.with_named_parents(last, root)
    pruned: Object = typed.remove(merged, dangling, root) or {}
    return pruned


def _conflict_text(other: Manager, applier: Manager) -> str:
    text = f'conflict with "{other.name}"'
    if other.subresource:
        text += f' with subresource "{other.subresource}"'
    if other.operation == "Update" or other.api_version != applier.api_version:
        text += f" using {other.api_version}"
    return text
