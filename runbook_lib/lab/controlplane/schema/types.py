"""Look-up of object types by name, read once from ``fields.json``."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a structure.

    Attributes:
        number: protobuf field number; above 1000 it is ``1000 * number of the embedded message + number in it``.
        pointer: an explicit zero differs from an absent value.
        omitempty: an empty value is left out of JSON.
        omitzero: a zero structure is left out of JSON.
        list_kind: ``map``, ``set`` or ``atomic``; how server-side apply treats the list.
        keys: key fields of the items of a ``map`` list.
        key_defaults: value of a key field that an item leaves out.
        atomic: server-side apply treats the whole value as one.
        strategy: ``merge``, ``replace`` or ``retainKeys`` of strategic merge patch, comma-separated.
        merge_key: key field of the items in strategic merge patch.
    """

    name: str
    number: int
    type: Type
    pointer: bool
    omitempty: bool
    omitzero: bool
    list_kind: str = "atomic"
    keys: tuple[str, ...] = ()
    key_defaults: dict[str, Any] = field(default_factory=dict)
    atomic: bool = False
    strategy: str = ""
    merge_key: str = ""


@dataclass(frozen=True, slots=True)
class Type:
    """A scalar (``str``, ``int``, ``bool``, ``float``, ``bytes``, ``time``, ``microtime``, ``quantity``, ``intstr``,
    ``raw``), a ``list`` or ``map`` of ``item``, or a ``struct`` whose fields come from :func:`fields_of`."""

    kind: str
    name: str = ""
    item: Type | None = None

    @property
    def fields(self) -> dict[str, Field]:
        """Fields by JSON name; empty unless this is a structure."""
        return fields_of(self.name) if self.kind == "struct" else {}

    @property
    def atomic(self) -> bool:
        """Whether server-side apply treats the structure as one value."""
        return self.kind == "struct" and "@atomic" in _table()[self.name]


@cache
def _table() -> dict[str, dict[str, list[Any]]]:
    table: dict[str, dict[str, list[Any]]] = json.loads((Path(__file__).parent / "fields.json").read_text())
    return table


@cache
def parse(text: str) -> Type:
    """Type of an expression such as ``list:core.v1.Container``."""
    head, colon, rest = text.partition(":")
    if colon:
        return Type(head, item=parse(rest))
    return Type("struct", text) if "." in text else Type(text)


@cache
def fields_of(name: str) -> dict[str, Field]:
    """Fields of the structure ``name`` by JSON name."""
    result = {}
    for key, row in _table()[name].items():
        if key == "@atomic":
            continue
        number, kind, flags, extra = (*row, {})[:4]
        result[key] = Field(
            name=key,
            number=number,
            type=parse(kind),
            pointer="p" in flags,
            omitempty="o" in flags,
            omitzero="z" in flags,
            list_kind=extra.get("list", "atomic"),
            keys=tuple(extra.get("keys", ())),
            key_defaults=extra.get("key_defaults", {}),
            atomic=extra.get("atomic", False),
            strategy=extra.get("strategy", ""),
            merge_key=extra.get("merge_key", ""),
        )
    return result


def named(name: str) -> Type:
    """The structure ``name``, such as ``core.v1.Pod``.

    Raises:
        KeyError: the table has no such structure.
    """
    if name not in _table():
        raise KeyError(name)
    return Type("struct", name)
