"""Watches: a stream of changes from a resource version on, with bookmarks and initial lists."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from runbook_lib.lab.controlplane import lists, status, strategy, tables
from runbook_lib.lab.controlplane.kinds import Kind
from runbook_lib.lab.controlplane.requests import is_true
from runbook_lib.lab.controlplane.status import ApiError
from runbook_lib.lab.controlplane.store import Change, Object, Store

BOOKMARK_SECONDS = 60.0
LAST_BOOKMARK_SECONDS = 2.0
SHORTEST_TIMEOUT_SECONDS = 1800
QUEUE_EVENTS = 1000
"""A watcher that falls this far behind is ended; it reads on from its last version."""


class Watch:
    """One watch request.

    Args:
        store: where changes come from.
        kind: the resource.
        namespace: empty for all.
        query: selectors, ``resourceVersion``, ``timeoutSeconds``, ``allowWatchBookmarks``, ``sendInitialEvents``.
        shape: ``Table`` or ``PartialObjectMetadata`` when the client asked for it, else empty.

    Raises:
        ApiError: 400 for wrong selectors or versions; an expired version is an event of the stream instead.
    """

    def __init__(self, store: Store, kind: Kind, namespace: str, query: Mapping[str, str], shape: str) -> None:
        self._store, self._kind, self._namespace, self._query, self._shape = store, kind, namespace, query, shape
        self._matches: Callable[[Object], bool] = lists.matcher(kind, query)
        self._initial = is_true(query.get("sendInitialEvents", ""))
        self._bookmarks = is_true(query.get("allowWatchBookmarks", ""))
        text = query.get("resourceVersion", "")
        if text and not text.isdigit():
            raise ApiError(
                500,
                "",
                f'resourceVersion: Invalid value: "{text}": strconv.ParseUint: parsing "{text}": invalid syntax',
            )
        if query.get("sendInitialEvents") and query.get("resourceVersionMatch") != "NotOlderThan":
            field = "resourceVersionMatch"
            message = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
            raise ApiError(
                422,
                "Invalid",
                f'ListOptions.meta.k8s.io "" is invalid: {field}: Forbidden: {message}',
                {
                    "group": "meta.k8s.io",
                    "kind": "ListOptions",
                    "causes": [{"reason": "FieldValueForbidden", "message": f"Forbidden: {message}", "field": field}],
                },
            )
        self._version = int(text or 0)
        seconds = query.get("timeoutSeconds", "")
        self._timeout = (
            float(seconds)
            if seconds.isdigit() and int(seconds) > 0
            else SHORTEST_TIMEOUT_SECONDS * (1 + random.random())
        )
        self._first_row = True

    async def lines(self) -> AsyncIterator[bytes]:
        """Events as lines of JSON, until the timeout."""
        queue: asyncio.Queue[Change] = asyncio.Queue(QUEUE_EVENTS)
        overflow = asyncio.Event()

        def take(change: Change) -> None:
            if change.key == self._kind.key:
                try:
                    queue.put_nowait(change)
                except asyncio.QueueFull:
                    overflow.set()

        stop = self._store.subscribe(take)
        try:
            loop = asyncio.get_running_loop()
            end = loop.time() + self._timeout
            for line in self._begin():
                yield line
            if self._expired:
                return
            bookmark_at = self._next_bookmark(loop.time(), end)
            while not overflow.is_set():
                wait = min(end, bookmark_at if self._bookmarks else end) - loop.time()
                try:
                    change = await asyncio.wait_for(queue.get(), max(wait, 0.001))
                except TimeoutError:
                    if loop.time() >= end:
                        break
                    bookmark_at = self._next_bookmark(loop.time(), end)
                    yield self._bookmark()
                    continue
                line_or_none = self._event(change)
                if line_or_none:
                    yield line_or_none
        finally:
            stop()

    _expired = False

    @staticmethod
    def _next_bookmark(now: float, end: float) -> float:
        """Once a minute, and shortly before the end so that the client can go on from there."""
        last = end - LAST_BOOKMARK_SECONDS
        return min(now + BOOKMARK_SECONDS, last) if last > now else end + 1

    def _begin(self) -> list[bytes]:
        if self._initial or (self._version == 0 and self._query.get("sendInitialEvents") is None):
            current = [item for item in self._store.list(self._kind, self._namespace) if self._matches(item)]
            lines = [self._line("ADDED", item) for item in current]
            if self._initial:
                lines.append(self._bookmark(initial_end=True))
            return lines
        if self._version == 0:
            return []
        if self._version < self._store.oldest:
            self._expired = True
            text = f"too old resource version: {self._version} ({self._store.oldest})"
            return [_encode({"type": "ERROR", "object": status.expired(text).body()})]
        return list(
            filter(
                None,
                (self._event(change) for change in self._store.since(self._version) if change.key == self._kind.key),
            )
        )

    def _event(self, change: Change) -> bytes | None:
        namespace = change.object["metadata"].get("namespace", "")
        if self._namespace and namespace != self._namespace:
            return None
        now = change.type != "DELETED" and self._matches(change.object)
        before = change.before is not None and self._matches(change.before)
        if now and before:
            return self._line("MODIFIED", change.object)
        if now:
            return self._line("ADDED", change.object)
        if before:
            # An object that no longer matches leaves the watch as it was, under the version of the change.
            assert change.before is not None
            last = change.before | {"metadata": change.before["metadata"] | {"resourceVersion": str(change.version)}}
            return self._line("DELETED", last)
        return None

    def _line(self, event: str, item: Object) -> bytes:
        item = strategy.shown(self._kind, item)
        if self._shape == "Table":
            version = {"resourceVersion": item["metadata"]["resourceVersion"]}
            body: Any = tables.table(self._kind, [item], version, self._query.get("includeObject", ""))
            if not self._first_row:
                body = body | {"columnDefinitions": None}
            self._first_row = False
        elif self._shape.startswith("PartialObjectMetadata"):
            body = tables.partial(item)
        else:
            body = item
        return _encode({"type": event, "object": body})

    def _bookmark(self, *, initial_end: bool = False) -> bytes:
        metadata: Object = {"resourceVersion": str(self._store.version)}
        if initial_end:
            metadata["annotations"] = {"k8s.io/initial-events-end": "true"}
        if self._shape == "Table":
            body: Object = {
                "kind": "Table",
                "apiVersion": "meta.k8s.io/v1",
                "metadata": metadata,
                "columnDefinitions": None,
                "rows": [],
            }
        else:
            body = {"kind": self._kind.kind, "apiVersion": self._kind.api_version, "metadata": metadata}
        return _encode({"type": "BOOKMARK", "object": body})


def _encode(event: Object) -> bytes:
    return json.dumps(event, separators=(",", ":")).encode() + b"\n"
