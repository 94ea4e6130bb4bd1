"""JSON patch, RFC 6902."""

from __future__ import annotations

import copy
from typing import Any


class JsonPatchError(ValueError):
    """An operation cannot be applied to the document."""


def json_patch(target: Any, operations: list[dict[str, Any]]) -> Any:
    """``target`` after every operation in turn.

    Raises:
        JsonPatchError: a path does not exist or a ``test`` does not hold.
    """
    document = copy.deepcopy(target)
    for operation in operations:
        document = _one(document, operation)
    return document


def _one(document: Any, operation: dict[str, Any]) -> Any:
    name, path = operation.get("op"), operation.get("path", "")
    match name:
        case "add":
            return _add(document, path, copy.deepcopy(operation.get("value")))
        case "remove":
            _remove(document, path, "remove")
        case "replace":
            if not path:
                return copy.deepcopy(operation.get("value"))
            parent, key = _parent(document, path, "replace")
            if isinstance(parent, list):
                _require(parent, key, path, "replace")
            # The server's library sets a key that is not there, too.
            parent[key] = copy.deepcopy(operation.get("value"))
        case "move":
            value = _remove(document, operation.get("from", ""), "move")
            return _add(document, path, value)
        case "copy":
            parent, key = _parent(document, operation.get("from", ""), "copy")
            _require(parent, key, operation.get("from", ""), "copy")
            return _add(document, path, copy.deepcopy(parent[key]))
        case "test":
            _test(document, path, operation.get("value"))
        case _:
            raise JsonPatchError(f"Unexpected kind: {name}")
    return document


def _tokens(path: str) -> list[str]:
    return [token.replace("~1", "/").replace("~0", "~") for token in path.split("/")[1:]]


def _parent(document: Any, path: str, name: str, *, append: bool = False) -> tuple[Any, Any]:
    tokens = _tokens(path)
    node = document
    for token in tokens[:-1]:
        key = _key(node, token, path, name)
        if (isinstance(node, dict) and key not in node) or (isinstance(node, list) and key >= len(node)):
            raise JsonPatchError(
                f"{name} operation does not apply: doc is missing path: {path!r}: missing value".replace("'", '"')
            )
        node = node[key]
    if not isinstance(node, dict | list) or not tokens:
        raise JsonPatchError(f'{name} operation does not apply: doc is missing path: "{path}": missing value')
    if append and tokens[-1] == "-":
        return node, None
    return node, _key(node, tokens[-1], path, name)


def _key(node: Any, token: str, path: str, name: str) -> Any:
    if isinstance(node, list):
        if not token.lstrip("-").isdigit():
            raise JsonPatchError(f'{name} operation does not apply: doc is missing path: "{path}": missing value')
        index = int(token)
        return index + len(node) if index < 0 else index
    return token


def _require(parent: Any, key: Any, path: str, name: str) -> None:
    missing = key not in parent if isinstance(parent, dict) else not 0 <= key < len(parent)
    if missing and name == "remove" and isinstance(parent, dict):
        raise JsonPatchError(f'remove operation does not apply: doc is missing path: "{path}": missing value')
    if missing:
        raise JsonPatchError(f"{name} operation does not apply: doc is missing key: {path}: missing value")


def _add(document: Any, path: str, value: Any) -> Any:
    if not path:
        return value
    parent, key = _parent(document, path, "add", append=True)
    if key is None:
        parent.append(value)
    elif isinstance(parent, list):
        if key > len(parent):
            raise JsonPatchError(
                f'add operation does not apply: doc is missing path: "{path}": Unable to access invalid index: {key}'
            )
        parent.insert(key, value)
    else:
        parent[key] = value
    return document


def _remove(document: Any, path: str, name: str) -> Any:
    parent, key = _parent(document, path, name)
    _require(parent, key, path, name)
    return parent.pop(key)


def _test(document: Any, path: str, expected: Any) -> None:
    try:
        parent, key = _parent(document, path, "test")
        actual = parent.get(key) if isinstance(parent, dict) else parent[key]
    except (JsonPatchError, IndexError):
        actual = None
    if actual != expected or isinstance(actual, bool) != isinstance(expected, bool):
        raise JsonPatchError(f"testing value {path} failed: test failed")
