"""Compare, merge and prune documents along the field table; the operations that field ownership is made of."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from runbook_lib.lab.controlplane.fields.paths import FieldSet, Path, child, is_leaf, item_key, items_of
from runbook_lib.lab.controlplane.schema import Field, Type

MISSING = object()


@dataclass(frozen=True, slots=True)
class Comparison:
    """Fields that differ between two documents."""

    added: FieldSet
    removed: FieldSet
    modified: FieldSet

    @property
    def changed(self) -> FieldSet:
        """Fields that exist after the change and are not as they were."""
        return self.added | self.modified


def compare(before: Any, after: Any, kind: Type) -> Comparison:
    """What a change from ``before`` to ``after`` adds, removes and modifies."""
    added: set[Path] = set()
    removed: set[Path] = set()
    modified: set[Path] = set()

    def leaf(left: Any, right: Any, path: Path) -> None:
        if left is MISSING:
            added.add(path)
        elif right is MISSING:
            removed.add(path)
        elif left != right:
            modified.add(path)

    def walk(left: Any, right: Any, kind: Type, field: Field | None, atomic: bool, path: Path) -> None:
        nested = not atomic and kind.kind in ("struct", "map", "list")
        if not nested or (left in (MISSING, None) and right in (MISSING, None)) or (not_any(left) and not_any(right)):
            leaf(left, right, path)
            return
        rows_left = _rows(left, kind, field)
        rows_right = _rows(right, kind, field)
        for element in {**rows_left, **rows_right}:
            sample = rows_right.get(element) or rows_left[element]
            left_value = rows_left[element][0] if element in rows_left else MISSING
            right_value = rows_right[element][0] if element in rows_right else MISSING
            walk(left_value, right_value, sample[1], sample[2], sample[3], (*path, element))
        if path and left is MISSING:
            added.add(path)
        elif path and right is MISSING:
            removed.add(path)

    walk(before, after, kind, None, False, ())
    return Comparison(frozenset(added), frozenset(removed), frozenset(modified))


def not_any(value: Any) -> bool:
    """Absent, null or without content."""
    return value is MISSING or value is None or (isinstance(value, dict | list) and not value)


def _rows(value: Any, kind: Type, field: Field | None) -> dict[str, tuple[Any, Type, Field | None, bool]]:
    if value is MISSING or value is None:
        return {}
    return {element: (item, *rest) for element, item, *rest in items_of(value, kind, field)}


def merge(live: Any, applied: Any, kind: Type, field: Field | None = None, atomic: bool = False) -> Any:
    """``live`` with everything that ``applied`` says; what ``applied`` is silent about stays."""
    if is_leaf(applied, kind, atomic) or live is None:
        return applied
    if kind.kind == "list":
        return _merge_list(live, applied, kind, field)
    result = dict(live)
    for key, item in applied.items():
        item_kind, item_field, item_atomic = child(kind, key)
        result[key] = merge(live.get(key), item, item_kind, item_field, item_atomic)
    return result


def _merge_list(live: list[Any], applied: list[Any], kind: Type, field: Field | None) -> list[Any]:
    """Items of both lists: those that only the live one has keep their place, the others follow the applied order."""
    assert field is not None
    assert kind.item is not None
    old = {item_key(item, field): item for item in live}
    new = {item_key(item, field): item for item in applied}
    left, right = list(old), list(new)
    shared = [key for key in right if key in old]
    result: list[Any] = []
    done: set[str] = set()

    def take(key: str) -> None:
        base = old.get(key)
        assert kind.item is not None
        result.append(new[key] if base is None else merge(base, new[key], kind.item, None, kind.item.atomic))
        done.add(key)
        if shared and shared[0] == key:
            shared.pop(0)

    while left or right:
        if left and right and left[0] == right[0]:
            take(right.pop(0))
            left.pop(0)
        elif left and right and left[0] in new and shared and shared[0] != left[0]:
            left.pop(0)  # it comes later, where the applied order has it
        elif left and left[0] not in new:
            result.append(old[left.pop(0)])
        else:
            if left and left[0] in done:
                left.pop(0)
            if right:
                take(right.pop(0))
    return result


def remove(value: Any, paths: Iterable[Path], kind: Type) -> Any:
    """The document without the given fields and all that lies below them."""
    tree: dict[str, Any] = {}
    for path in paths:
        node = tree
        for element in path:
            node = node.setdefault(element, {})
        node[""] = True  # marks the end of a path, which no path element can look like
    return _remove(value, tree, kind, None)


def _remove(value: Any, tree: dict[str, Any], kind: Type, field: Field | None) -> Any:
    if not tree or value is None or not isinstance(value, dict | list):
        return value
    rows = []
    for element, item, item_kind, item_field, atomic in items_of(value, kind, field):
        node = tree.get(element)
        if node is None or (atomic and "" not in node):
            rows.append((element, item))
        elif "" not in node:
            rows.append((element, _remove(item, node, item_kind, item_field)))
    if kind.kind == "list":
        return [item for _, item in rows] or None
    return {element[2:]: item for element, item in rows} or None
