"""Reading and writing objects: the one way in which requests and controllers alike reach the store."""

from __future__ import annotations

import copy
import random
import uuid
from dataclasses import dataclass, field
from typing import Any

from runbook_lib.lab.controlplane import clock, defaults, kinds, status, strategy, validation
from runbook_lib.lab.controlplane.fields import managed
from runbook_lib.lab.controlplane.kinds import Kind
from runbook_lib.lab.controlplane.rules import metadata as metadata_rules
from runbook_lib.lab.controlplane.schema.decode import DecodeError, Decoder
from runbook_lib.lab.controlplane.status import ApiError, Cause
from runbook_lib.lab.controlplane.store import Object, Store

NAMESPACE = kinds.get("namespaces")
SUFFIX_LETTERS = "bcdfghjklmnpqrstvwxz2456789"
APPLY_TYPE = "application/apply-patch+yaml"


@dataclass(slots=True)
class Write:
    """How a write is made.

    Attributes:
        manager: field manager that owns what is written.
        dry_run: answer what would be, store nothing.
        validation: ``Strict``, ``Warn`` or ``Ignore``, for unknown fields.
        force: take fields that other managers applied.
        warnings: filled with what the answer's ``Warning`` headers say.
    """

    manager: str
    dry_run: bool = False
    validation: str = "Warn"
    force: bool = False
    warnings: list[str] = field(default_factory=list)


def random_suffix(length: int = 5) -> str:
    """Random letters for generated names."""
    return "".join(random.choices(SUFFIX_LETTERS, k=length))


class Resources:
    """Create, read, update, patch and delete objects of any kind."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def get(self, kind: Kind, namespace: str, name: str) -> Object:
        """The object.

        Raises:
            ApiError: 404.
        """
        item = self.store.get(kind, namespace, name)
        if item is None:
            raise status.not_found(kind, name)
        return strategy.shown(kind, item)

    def find(self, kind: Kind, namespace: str, name: str) -> Object | None:
        """The object, or None."""
        return self.store.get(kind, namespace, name)

    def decode(self, kind: Kind, raw: Any, write: Write, *, partial: bool = False) -> Object:
        """The canonical form of a document.

        Args:
            kind: what it should be.
            raw: the decoded body.
            write: says what to do about unknown fields and takes the warnings.
            partial: the document is an applied configuration, so nothing is added to it.

        Raises:
            ApiError: 400 when it cannot be read as that kind.
        """
        decoder = Decoder(partial=partial)
        title = f'{kind.kind} in version "{kind.version}" cannot be handled as a {kind.kind}'
        try:
            item: Object = decoder.decode(raw, kind.type)
        except DecodeError as problem:
            raise status.bad_request(f"{title}: {problem}") from None
        if partial and decoder.unknown:
            raise strategy.not_in_schema(kind, raw, decoder.unknown)
        if decoder.unknown and write.validation == "Strict":
            listed = ", ".join(f'unknown field "{path}"' for path in decoder.unknown)
            raise status.bad_request(f"{title}: strict decoding error: {listed}")
        if write.validation == "Warn":
            write.warnings.extend(f'unknown field "{path}"' for path in decoder.unknown)
        return {"kind": kind.kind, "apiVersion": kind.api_version, **item}

    def create(self, kind: Kind, namespace: str, raw: Object, write: Write) -> Object:
        """Create an object.

        Raises:
            ApiError: 400, 403, 404 for the namespace, 409 when the name is taken, 422.
        """
        item = self.decode(kind, raw, write)
        metadata = item["metadata"]
        self._place(kind, namespace, metadata)
        if metadata.get("resourceVersion"):
            raise ApiError(500, "", "resourceVersion should not be set on objects to be created", None)
        generated = not metadata.get("name") and bool(metadata.get("generateName"))
        for _ in range(8):
            if generated:
                metadata["name"] = metadata["generateName"] + random_suffix()
            if not (generated and self.store.get(kind, namespace, metadata["name"])):
                break
        defaults.fill(kind.type_name, item)
        metadata.pop("managedFields", None)
        self._stamp(kind, item)
        tracked = managed.Manager(write.manager, "Update", kind.api_version)
        empty = self.decode(kind, {"metadata": {}}, Write(write.manager))
        item = managed.track_update(kind, empty, item, tracked, clock.now_text())
        strategy.before_create(kind, item)
        return self._insert(kind, namespace, item, write)

    def _stamp(self, kind: Kind, item: Object) -> None:
        metadata = item["metadata"]
        metadata["uid"] = str(uuid.uuid4())
        metadata["creationTimestamp"] = clock.now_text()
        for key in ("deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "generation"):
            metadata.pop(key, None)
        if kind.generation:
            metadata["generation"] = 1

    def _insert(self, kind: Kind, namespace: str, item: Object, write: Write) -> Object:
        """Checks, allocations and the store, shared by create and by an apply that creates."""
        item = self.settle(kind, item)
        self._check_namespace(kind, namespace, item["metadata"].get("name", ""))
        strategy.admit(kind, item)
        causes = validation.check_create(kind, item)
        if causes:
            raise status.invalid(kind, item["metadata"].get("name", ""), causes)
        name = item["metadata"]["name"]
        known = self.store.get(kind, namespace, name)
        if known:
            raise status.already_exists(kind, name, deleting=bool(known["metadata"].get("deletionTimestamp")))
        strategy.allocate(kind, item, self.store)
        if write.dry_run:
            return strategy.shown(kind, item)
        return strategy.shown(kind, self.store.put(kind, strategy.stored(kind, item)))

    def settle(self, kind: Kind, item: Object) -> Object:
        """The object as the wire would carry it: defaults and hooks may have left empty values."""
        decoded = Decoder().decode(item, kind.type)
        return {"kind": kind.kind, "apiVersion": kind.api_version, **decoded}

    def _place(self, kind: Kind, namespace: str, metadata: Object) -> None:
        if not kind.namespaced:
            metadata.pop("namespace", None)
            return
        given = metadata.get("namespace")
        if given and given != namespace:
            raise status.bad_request(
                "the namespace of the provided object does not match the namespace sent on the request"
            )
        metadata["namespace"] = namespace

    def _check_namespace(self, kind: Kind, namespace: str, name: str) -> None:
        if not kind.namespaced:
            return
        holder = self.store.get(NAMESPACE, "", namespace)
        if holder is None:
            raise status.not_found(NAMESPACE, namespace)
        if holder["metadata"].get("deletionTimestamp") and kind.resource != "localsubjectaccessreviews":
            why = f"unable to create new content in namespace {namespace} because it is being terminated"
            error = status.forbidden(kind.group, kind.resource, name, why)
            cause = {
                "reason": "NamespaceTerminating",
                "message": f"namespace {namespace} is being terminated",
                "field": "metadata.namespace",
            }
            raise ApiError(403, "Forbidden", error.message, (error.details or {}) | {"causes": [cause]})

    def update(self, kind: Kind, namespace: str, name: str, raw: Object, write: Write, subresource: str = "") -> Object:
        """Replace an object.

        Raises:
            ApiError: 400, 404, 409 for a stale resource version, 422.
        """
        item = self.decode(kind, raw, write)
        given = item["metadata"].get("name")
        if given and given != name:
            raise status.bad_request(f"the name of the object ({given}) does not match the name on the URL ({name})")
        if not given:
            raise status.bad_request(
                f"the name of the object ({name} based on URL) was undeterminable: name must be provided"
            )
        self._place(kind, namespace, item["metadata"])
        uid = item["metadata"].get("uid")
        live = self.get(kind, namespace, name)
        if uid and uid != live["metadata"]["uid"]:
            raise strategy.wrong_uid(kind, live, uid)
        return self._replace(kind, namespace, name, item, write, subresource)

    def _replace(self, kind: Kind, namespace: str, name: str, item: Object, write: Write, subresource: str) -> Object:
        live = self.get(kind, namespace, name)
        defaults.fill(kind.type_name, item)
        return self.commit(kind, live, item, write, subresource)

    def commit(
        self, kind: Kind, live: Object, item: Object, write: Write, subresource: str = "", *, applied: bool = False
    ) -> Object:
        """Put a changed object in the place of the live one: conflict check, rules, ownership, store.

        Args:
            live: what is stored now.
            item: what should be stored; decoded and with defaults.
            subresource: the path below the object that was written.
            applied: ownership was already settled by a server-side apply.
        """
        name = live["metadata"]["name"]
        version = item["metadata"].get("resourceVersion")
        if version and version != live["metadata"]["resourceVersion"]:
            raise status.conflict(kind, name)
        immutable = metadata_rules.check_identity(live, item)
        item = self.settle(kind, item)
        strategy.keep_system_fields(live, item)
        strategy.before_update(kind, live, item, subresource)
        if not applied:
            tracked = managed.Manager(write.manager, "Update", kind.api_version, subresource)
            if subresource == "scale":
                item = managed.track_scale(live, item, tracked)
            else:
                item = managed.track_update(kind, live, item, tracked, clock.now_text())
        item = self.settle(kind, item)
        causes = immutable + validation.check_update(kind, live, item, subresource)
        if causes:
            raise status.invalid(kind, name, causes)
        strategy.bump_generation(kind, live, item, subresource)
        strategy.allocate(kind, item, self.store)
        return self._store_update(kind, live, item, write)

    def _store_update(self, kind: Kind, live: Object, item: Object, write: Write) -> Object:
        if _same(live, item):
            return live
        if write.dry_run:
            return item
        stored = strategy.stored(kind, item)
        metadata = item["metadata"]
        finished = metadata.get("deletionTimestamp") and not metadata.get("deletionGracePeriodSeconds")
        if finished and not metadata.get("finalizers") and not strategy.held(kind, item):
            return strategy.shown(kind, self.store.remove(kind, stored))
        return strategy.shown(kind, self.store.put(kind, stored))

    def modify(self, kind: Kind, namespace: str, name: str, change: Any, write: Write, subresource: str = "") -> Object:
        """Change a deep copy of the live object by a function and store the result."""
        live = self.get(kind, namespace, name)
        item = copy.deepcopy(live)
        change(item)
        return self.commit(kind, live, item, write, subresource)

    def apply(
        self, kind: Kind, namespace: str, name: str, raw: Object, write: Write, subresource: str = ""
    ) -> tuple[Object, bool]:
        """Server-side apply; returns the object and whether it was created.

        Raises:
            ApiError: 400, 409 when other managers own applied fields, 422.
        """
        config = self.decode(kind, raw, write, partial=True)
        metadata = config.setdefault("metadata", {})
        if metadata.get("managedFields"):
            raise status.bad_request("metadata.managedFields must be nil")
        given = metadata.get("name", name)
        if given != name:
            raise status.bad_request(f"the name of the object ({given}) does not match the name on the URL ({name})")
        metadata["name"] = name
        self._place(kind, namespace, metadata)
        live = self.find(kind, namespace, name)
        manager = managed.Manager(write.manager, "Apply", kind.api_version, subresource)
        if live is None:
            if subresource:
                raise status.not_found(kind, name)
            if metadata.get("uid"):
                given = f"the provided object specified uid {metadata['uid']}"
                why = f"uid mismatch: {given}, and no existing object was found"
                raise status.conflict(kind, name, why)
            return self._apply_new(kind, namespace, config, manager, write), True
        live = strategy.shown(kind, live)
        version = metadata.get("resourceVersion")
        if version and version != live["metadata"]["resourceVersion"]:
            raise status.conflict(kind, name)
        item = managed.apply(kind, live, config, manager, clock.now_text(), force=write.force)
        item = self.settle(kind, copy.deepcopy(item))
        defaults.fill(kind.type_name, item)
        return self.commit(kind, live, item, write, subresource, applied=True), False

    def _apply_new(self, kind: Kind, namespace: str, config: Object, manager: managed.Manager, write: Write) -> Object:
        empty = self.decode(kind, {"metadata": {}}, Write(write.manager))
        item = managed.apply(kind, empty, config, manager, clock.now_text(), force=write.force)
        item["metadata"] |= {key: config["metadata"][key] for key in ("name", "namespace") if key in config["metadata"]}
        item = self.settle(kind, copy.deepcopy(item))
        defaults.fill(kind.type_name, item)
        self._stamp(kind, item)
        strategy.before_create(kind, item)
        return self._insert(kind, namespace, item, write)

    def track_answer(self, kind: Kind, namespace: str, answer: Object, write: Write) -> Object:
        """An answer that is not stored, with the ownership that storing it would have given."""
        if "spec" not in answer:
            return answer
        if kind.namespaced:
            answer["metadata"]["namespace"] = namespace
        empty = self.decode(kind, {"metadata": {}}, write)
        tracked = managed.Manager(write.manager, "Update", kind.api_version)
        bare = {key: answer[key] for key in ("kind", "apiVersion", "metadata", "spec")}
        metadata = managed.track_update(kind, empty, bare, tracked, clock.now_text())["metadata"]
        return answer | {"metadata": metadata}

    def delete(
        self, kind: Kind, namespace: str, name: str, options: Object, *, dry_run: bool = False
    ) -> tuple[Object, bool]:
        """Delete an object, or mark it when somebody still has to finish with it.

        Args:
            options: ``DeleteOptions``.

        Returns:
            The object's last or marked state, and whether it is gone.

        Raises:
            ApiError: 404, 409 for a precondition that does not hold.
        """
        live = self.get(kind, namespace, name)
        strategy.check_preconditions(kind, live, options.get("preconditions") or {})
        strategy.check_delete(kind, live)
        marked = strategy.mark_deleted(kind, live, options)
        if dry_run:
            return (marked, False) if marked is not None else (strategy.last_state(kind, live), True)
        if marked is None:
            last = strategy.last_state(kind, live)
            return strategy.shown(kind, self.store.remove(kind, strategy.stored(kind, last))), True
        if marked is live or _same(live, marked):
            return live, False
        return strategy.shown(kind, self.store.put(kind, strategy.stored(kind, marked))), False

    def invalid(self, kind: Kind, name: str, field_path: str, reason: str, message: str) -> ApiError:
        """A 422 with one cause."""
        return status.invalid(kind, name, [Cause(field_path, reason, message)])


def _same(live: Object, item: Object) -> bool:
    """Whether a write changes nothing, so that the resource version stays."""
    drop = ("resourceVersion", "managedFields")
    left = live | {"metadata": {key: value for key, value in live["metadata"].items() if key not in drop}}
    right = item | {"metadata": {key: value for key, value in item["metadata"].items() if key not in drop}}
    if left != right:
        return False
    return _ownership(live) == _ownership(item)


def _ownership(item: Object) -> list[Object]:
    return [{**row, "time": ""} for row in item["metadata"].get("managedFields") or []]
