"""Strategic merge patch: a merge patch that knows which lists merge by a key (see the field table)."""

from __future__ import annotations

from typing import Any

from runbook_lib.lab.controlplane import go_text
from runbook_lib.lab.controlplane.schema import Field, Type

ORDER, DELETE, RETAIN, DIRECTIVE = "$setElementOrder/", "$deleteFromPrimitiveList/", "$retainKeys", "$patch"


class StrategicPatchError(ValueError):
    """The patch contradicts itself or the type."""


def strategic_patch(target: Any, patch: Any, kind: Type) -> Any:
    """``target`` with ``patch`` laid over it.

    Raises:
        StrategicPatchError: an unknown directive, or an item of a keyed list without its key.
    """
    if not isinstance(patch, dict):
        return patch
    directive = patch.get(DIRECTIVE)
    if directive == "replace":
        return {key: value for key, value in patch.items() if key != DIRECTIVE}
    if directive == "delete":
        return {}
    if directive not in (None, "merge"):
        raise StrategicPatchError(f"unknown patch type: {directive} in map: {go_text.shown(patch)}")
    result = dict(target) if isinstance(target, dict) else {}
    if RETAIN in patch:
        result = {key: value for key, value in result.items() if key in patch[RETAIN]}
    for key, value in patch.items():
        if key.startswith(DELETE):
            name = key.removeprefix(DELETE)
            result[name] = [item for item in result.get(name) or [] if item not in value]
        elif value is None:
            result.pop(key, None)
        elif not key.startswith("$"):
            result[key] = _field(result.get(key), value, kind, key)
    return _reordered(result, target or {}, patch, kind)


def _reordered(result: dict[str, Any], target: dict[str, Any], patch: dict[str, Any], kind: Type) -> dict[str, Any]:
    """Lists in the order that the patch's directives ask for."""
    for key, order in patch.items():
        name = key.removeprefix(ORDER)
        if key.startswith(ORDER) and result.get(name):
            result[name] = _ordered(result[name], order, target.get(name) or [], _merge_key(kind, name))
    return result


def _merge_key(kind: Type, key: str) -> str:
    field = kind.fields.get(key)
    return field.merge_key if field else ""


def _field(target: Any, value: Any, kind: Type, key: str) -> Any:
    field = kind.fields.get(key) if kind.kind == "struct" else None
    inner = field.type if field else (kind.item or Type("raw"))
    if isinstance(value, dict):
        if inner.kind == "raw" and not value.get(DIRECTIVE):
            return value
        return strategic_patch(target, value, inner)
    if isinstance(value, list) and field and "merge" in field.strategy.split(","):
        before = target or []
        merged = _merge_items(before, value, field) if field.merge_key else _merge_values(before, value)
        return _ordered(merged, value, before, field.merge_key)
    return value


def _merge_values(target: list[Any], patch: list[Any]) -> list[Any]:
    return [*target, *(value for value in patch if value not in target)]


def _merge_items(target: list[Any], patch: list[Any], field: Field) -> list[Any]:
    key, inner = field.merge_key, field.type.item
    assert inner is not None
    items = list(target)
    if any(isinstance(row, dict) and row.get(DIRECTIVE) == "replace" for row in patch):
        return [row for row in patch if row.get(DIRECTIVE) != "replace"]
    for row in patch:
        if not isinstance(row, dict) or key not in row:
            raise StrategicPatchError(f"map: {go_text.shown(row)} does not contain declared merge key: {key}")
        matches = [i for i, item in enumerate(items) if item.get(key) == row[key]]
        if row.get(DIRECTIVE) == "delete":
            items = [item for item in items if item.get(key) != row[key]]
        elif matches:
            items[matches[0]] = strategic_patch(items[matches[0]], row, inner)
        else:
            items.append(strategic_patch({}, row, inner))
    return items


def _ordered(items: list[Any], order: list[Any], before: list[Any], merge_key: str) -> list[Any]:
    """Items that the patch names, in its order, merged with the others in the order they had before.

    A named item comes first unless both lists knew the other one to stand before it.
    """

    def name(item: Any) -> Any:
        return item.get(merge_key) if merge_key and isinstance(item, dict) else item

    wanted = [name(item) for item in order]
    old = [name(item) for item in before]
    named = sorted((item for item in items if name(item) in wanted), key=lambda item: wanted.index(name(item)))
    others = [item for item in items if name(item) not in wanted]
    others.sort(key=lambda item: old.index(name(item)) if name(item) in old else len(old))
    result: list[Any] = []
    while named or others:
        if not others:
            result.append(named.pop(0))
        elif not named:
            result.append(others.pop(0))
        else:
            left, right = name(others[0]), name(named[0])
            first = left in old and right in old and old.index(left) < old.index(right)
            result.append(others.pop(0) if first else named.pop(0))
    return result
