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
    return {element: (item, *rest) for element, item, *rest in items_of(value, kind, field)}  # type: ignore[misc]


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
    """Applied items in applied order; live-only items keep their place before the next live item that was applied."""
    assert field is not None
    assert kind.item is not None
    live_by_key = {item_key(item, field): item for item in live}
    applied_by_key = {item_key(item, field): item for item in applied}
    result: list[Any] = []
    done: set[str] = set()
    pending = list(live_by_key)
    for key, item in applied_by_key.items():
        if key in live_by_key and key in pending:
            while pending and pending[0] != key:
                head = pending[0]
                if head in applied_by_key and head not in done:
                    break
                pending.pop(0)
                if head not in done and head not in applied_by_key:
                    result.append(live_by_key[head])
                    done.add(head)
            if pending and pending[0] == key:
                pending.pop(0)
        base = live_by_key.get(key)
        result.append(item if base is None else merge(base, item, kind.item, None, kind.item.atomic))
        done.add(key)
    result.extend(live_by_key[key] for key in pending if key not in done and key not in applied_by_key)
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
