"""Sets of field paths.

A path is a tuple of elements written as in ``fieldsV1``: ``f:name`` for a field or map key, ``k:{"name":"web"}`` for
an item of a keyed list, ``v:"value"`` for an item of a set. A set of fields is a plain ``frozenset`` of paths.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from runbook_lib.lab.controlplane.schema import Field, Type

Path = tuple[str, ...]
FieldSet = frozenset[Path]
Tree = dict[str, Any]
MEMBER = "."


def item_key(item: Any, field: Field) -> str:
    """Path element of one item of a keyed list or of a set."""
    if field.list_kind == "set" or not isinstance(item, dict):
        return "v:" + json.dumps(item, separators=(",", ":"))
    keys = {}
    for key in sorted(field.keys):
        value = item.get(key, field.key_defaults.get(key))
        if value is not None:
            keys[key] = value
    return "k:" + json.dumps(keys, separators=(",", ":"))


def child(kind: Type, key: str) -> tuple[Type, Field | None, bool]:
    """Type, field and atomicity of what lies under ``key`` in a structure or map."""
    if kind.kind == "struct":
        field = kind.fields.get(key)
        if field is None:
            return Type("raw"), None, True
        inner = field.type
        atomic = (
            field.atomic
            or inner.atomic
            or inner.kind == "raw"
            or (inner.kind == "list" and field.list_kind == "atomic")
        )
        return inner, field, atomic
    assert kind.item is not None
    return kind.item, None, kind.item.atomic or kind.item.kind in ("raw", "list")


def is_leaf(value: Any, kind: Type, atomic: bool) -> bool:
    """Whether nothing below the value has a path of its own."""
    return atomic or kind.kind not in ("struct", "map", "list") or value is None


def items_of(value: Any, kind: Type, field: Field | None) -> Iterator[tuple[str, Any, Type, Field | None, bool]]:
    """Path element, value, type, field and atomicity of everything directly below a structure, map or list."""
    if kind.kind == "list":
        assert field is not None
        assert kind.item is not None
        for item in value:
            yield item_key(item, field), item, kind.item, None, kind.item.atomic
    else:
        for key, item in value.items():
            yield f"f:{key}", item, *child(kind, key)


def fields_of(value: Any, kind: Type) -> FieldSet:
    """Every field that a document sets."""
    found: set[Path] = set()

    def walk(value: Any, kind: Type, field: Field | None, path: Path) -> None:
        for element, item, item_kind, item_field, atomic in items_of(value, kind, field):
            here = (*path, element)
            if is_leaf(item, item_kind, atomic):
                found.add(here)
                continue
            walk(item, item_kind, item_field, here)
            if kind.kind in ("list", "map") or (isinstance(item, dict) and not item):
                found.add(here)

    walk(value, kind, None, ())
    return frozenset(found)


def prefixes(paths: Iterable[Path]) -> Iterator[Path]:
    """Every proper prefix of every path."""
    for path in paths:
        for length in range(1, len(path)):
            yield path[:length]


def with_named_parents(paths: FieldSet, kind: Type) -> FieldSet:
    """The set and, for each path, its parents that are fields of structures."""
    return paths | frozenset(prefix for prefix in prefixes(paths) if _is_struct_field(prefix, kind))


def _is_struct_field(path: Path, kind: Type) -> bool:
    parent = kind
    field: Field | None = None
    for element in path[:-1]:
        if element.startswith("f:") and parent.kind in ("struct", "map"):
            parent, field, _ = child(parent, element[2:])
        elif parent.kind == "list" and parent.item:
            parent, field = parent.item, None
        else:
            return False
    del field
    return path[-1].startswith("f:") and parent.kind == "struct" and path[-1][2:] in parent.fields


def encode(paths: FieldSet) -> Tree:
    """The set as ``fieldsV1``."""
    tree: Tree = {}
    for path in sorted(paths):
        node = tree
        for element in path[:-1]:
            node = node.setdefault(element, {})
        leaf = node.setdefault(path[-1], {})
        leaf[MEMBER] = {}
    return _without_lone_members(tree)


def _without_lone_members(tree: Tree) -> Tree:
    return {key: {} if set(node) == {MEMBER} else _without_lone_members(node) for key, node in tree.items()}


def decode(tree: Tree) -> FieldSet:
    """The set that ``fieldsV1`` stands for."""
    found: set[Path] = set()

    def walk(node: Tree, path: Path) -> None:
        if not node and path:
            found.add(path)
        for key, inner in node.items():
            if key == MEMBER:
                if path:
                    found.add(path)
            else:
                walk(inner, (*path, key))

    walk(tree, ())
    return frozenset(found)


def text(path: Path) -> str:
    """The path as error messages show it: ``.spec.template.spec.containers[name="web"].image``."""
    parts = []
    for element in path:
        if element.startswith("f:"):
            parts.append("." + element[2:])
        elif element.startswith("k:"):
            keys = json.loads(element[2:])
            parts.append("[" + ",".join(f"{key}={json.dumps(value)}" for key, value in sorted(keys.items())) + "]")
        else:
            parts.append(f"[={element[2:]}]")
    return "".join(parts)
