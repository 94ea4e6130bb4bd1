"""Objects in memory with one growing resource version, and the history that watches read.

Objects are never changed in place: a write puts a new dictionary in the place of the old one. So whoever holds an
object holds an immutable snapshot, and pages of a list and watch events cost no copies.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from runbook_lib.lab.controlplane.kinds import Kind

Object = dict[str, Any]
HISTORY_EVENTS = 4000
"""Events that a watch can start behind; older resource versions get 410, as after etcd's compaction."""


@dataclass(frozen=True, slots=True)
class Change:
    """One write.

    Attributes:
        version: resource version that the write produced.
        type: ``ADDED``, ``MODIFIED`` or ``DELETED``.
        key: the resource's storage, see :attr:`Kind.key`.
        object: the object after the write; the last state for ``DELETED``.
        before: the object before the write, or None.
    """

    version: int
    type: str
    key: str
    object: Object
    before: Object | None


Listener = Callable[[Change], None]


class Store:
    """All objects of the cluster.

    Attributes:
        version: resource version of the latest write.
        oldest: watches may start at this resource version or later.
    """

    def __init__(self, history_events: int = HISTORY_EVENTS) -> None:
        self.version = 1
        self.oldest = 1
        self._objects: dict[str, dict[tuple[str, str], Object]] = {}
        self._history: deque[Change] = deque()
        self._history_events = history_events
        self._listeners: list[Listener] = []

    def get(self, kind: Kind, namespace: str, name: str) -> Object | None:
        """The object, or None."""
        return self._objects.get(kind.key, {}).get((namespace, name))

    def list(self, kind: Kind, namespace: str = "") -> list[Object]:
        """Objects in the order of namespace and name; every namespace when it is empty."""
        rows = self._objects.get(kind.key, {})
        return [rows[key] for key in sorted(rows) if not namespace or key[0] == namespace]

    def put(self, kind: Kind, item: Object) -> Object:
        """Add or replace an object under the next resource version; returns what was stored."""
        metadata = item["metadata"]
        self.version += 1
        stored = item | {"metadata": metadata | {"resourceVersion": str(self.version)}}
        rows = self._objects.setdefault(kind.key, {})
        key = (metadata.get("namespace", ""), metadata["name"])
        before = rows.get(key)
        rows[key] = stored
        self._record(Change(self.version, "MODIFIED" if before else "ADDED", kind.key, stored, before))
        return stored

    def remove(self, kind: Kind, item: Object) -> Object:
        """Remove an object; returns its last state under the resource version of the removal."""
        metadata = item["metadata"]
        self.version += 1
        before = self._objects[kind.key].pop((metadata.get("namespace", ""), metadata["name"]))
        last = item | {"metadata": metadata | {"resourceVersion": str(self.version)}}
        self._record(Change(self.version, "DELETED", kind.key, last, before))
        return last

    def since(self, version: int) -> Iterable[Change]:
        """Changes after a resource version, oldest first; only complete when ``version >= oldest``."""
        return [change for change in self._history if change.version > version]

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Call ``listener`` with every change from now on; returns the function that ends it."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def compact(self, version: int) -> None:
        """Forget the history up to a resource version."""
        while self._history and self._history[0].version <= version:
            self.oldest = self._history.popleft().version

    def _record(self, change: Change) -> None:
        self._history.append(change)
        if len(self._history) > self._history_events:
            self.oldest = self._history.popleft().version
        for listener in list(self._listeners):
            listener(change)
