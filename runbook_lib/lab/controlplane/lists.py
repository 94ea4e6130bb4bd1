"""Lists: selection, pages, and the metadata around them."""

from __future__ import annotations

import base64
import json
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from runbook_lib.lab.controlplane import selectors, status, strategy
from runbook_lib.lab.controlplane.kinds import Kind
from runbook_lib.lab.controlplane.status import ApiError
from runbook_lib.lab.controlplane.store import Object, Store

SNAPSHOTS = 64
"""Lists that are kept for their next pages; an older continue token gets 410."""


class Lists:
    """Answers list requests; a page after the first comes from the snapshot that the first one saw."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._snapshots: OrderedDict[str, list[Object]] = OrderedDict()

    def read(self, kind: Kind, namespace: str, query: Mapping[str, str]) -> tuple[list[Object] | None, Object]:
        """Objects of one page and the list's metadata.

        An empty namespace has no objects; None, which becomes null, is what selectors leave when they match nothing.

        Raises:
            ApiError: 400 for a wrong selector or token, 410 for a token that is too old, 504 for a version to come.
        """
        self._check_version(query)
        if query.get("continue"):
            return self._next_page(query)
        everything = self._store.list(kind, namespace)
        found = select(kind, everything, query)
        if everything and not found:
            return None, {"resourceVersion": str(self._store.version)}
        found = [strategy.shown(kind, item) for item in found]
        version = str(self._store.version)
        return self._page(found, 0, version, query)

    def _check_version(self, query: Mapping[str, str]) -> None:
        text = query.get("resourceVersion", "")
        match = query.get("resourceVersionMatch", "")
        if match and not text:
            raise _invalid_options(
                "resourceVersionMatch",
                "Forbidden",
                "resourceVersionMatch is forbidden unless resourceVersion is provided",
            )
        if text in ("", "0"):
            return
        if not text.isdigit():
            why = f'resourceVersion: Invalid value: "{text}": strconv.ParseUint: parsing "{text}": invalid syntax'
            raise status.bad_request(f"invalid resource version: {why}")
        if int(text) > self._store.version:
            details = {
                "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
                "retryAfterSeconds": 1,
            }
            raise ApiError(
                504, "Timeout", f"Too large resource version: {text}, current: {self._store.version}", details
            )
        if match == "Exact" and int(text) < self._store.oldest:
            raise status.expired("The resourceVersion for the provided list is too old.")

    def _page(
        self, found: list[Object], start: int, version: str, query: Mapping[str, str]
    ) -> tuple[list[Object], Object]:
        metadata: Object = {"resourceVersion": version}
        limit = int(query.get("limit") or 0) if (query.get("limit") or "0").lstrip("-").isdigit() else 0
        if limit <= 0 or start + limit >= len(found):
            return found[start:], metadata
        if version not in self._snapshots or self._snapshots[version] is not found:
            version_key = f"{version}-{id(found):x}"
            self._snapshots[version_key] = found
            while len(self._snapshots) > SNAPSHOTS:
                self._snapshots.popitem(last=False)
        else:
            version_key = version
        token = {
            "v": "meta.k8s.io/v1",
            "rv": int(version.split("-", maxsplit=1)[0]),
            "snapshot": version_key,
            "start": start + limit,
        }
        metadata["continue"] = base64.urlsafe_b64encode(json.dumps(token).encode()).decode().rstrip("=")
        metadata["remainingItemCount"] = len(found) - start - limit
        if query.get("labelSelector") or query.get("fieldSelector"):
            del metadata["remainingItemCount"]
        return found[start : start + limit], metadata

    def _next_page(self, query: Mapping[str, str]) -> tuple[list[Object], Object]:
        text = query["continue"]
        try:
            token = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
            snapshot, start, version = token["snapshot"], token["start"], str(token["rv"])
        except (ValueError, KeyError, TypeError):
            raise status.bad_request("invalid continue token: continue key is not valid") from None
        found = self._snapshots.get(snapshot)
        if found is None:
            raise status.expired(
                "The provided continue parameter is too old to display a consistent list result. You can start a "
                "new list without the continue parameter, or use the continue token in this response to retrieve "
                "the remainder of the results."
            )
        limit = int(query.get("limit") or 0)
        metadata: Object = {"resourceVersion": version}
        if limit <= 0 or start + limit >= len(found):
            return found[start:], metadata
        following = token | {"start": start + limit}
        metadata["continue"] = base64.urlsafe_b64encode(json.dumps(following).encode()).decode().rstrip("=")
        metadata["remainingItemCount"] = len(found) - start - limit
        return found[start : start + limit], metadata


def _invalid_options(field: str, title: str, message: str) -> ApiError:
    reason = "FieldValueForbidden" if title == "Forbidden" else "FieldValueInvalid"
    cause = {"reason": reason, "message": f"{title}: {message}", "field": field}
    details = {"group": "meta.k8s.io", "kind": "ListOptions", "causes": [cause]}
    return ApiError(422, "Invalid", f'ListOptions.meta.k8s.io "" is invalid: {field}: {title}: {message}', details)


def matcher(kind: Kind, query: Mapping[str, str]) -> Any:
    """Predicate over objects from the query's selectors.

    Raises:
        ApiError: 400.
    """
    by_label = selectors.label_selector(query["labelSelector"]) if query.get("labelSelector") else None
    by_field = selectors.field_selector(kind, query["fieldSelector"]) if query.get("fieldSelector") else None

    def matches(item: Object) -> bool:
        if by_label and not by_label(item["metadata"].get("labels") or {}):
            return False
        return not by_field or by_field(item)

    return matches


def select(kind: Kind, items: list[Object], query: Mapping[str, str]) -> list[Object]:
    """The objects that the query's selectors match."""
    matches = matcher(kind, query)
    return [item for item in items if matches(item)]
