"""Bring a decoded document into the form in which the API server stores and returns it.

The server reads JSON into typed values and writes them out again. That drops nulls and empty optional values, adds
the values that are always written, normalises quantities and times, and finds unknown fields and wrong types.
"""

from __future__ import annotations

import base64
import binascii
import re
from datetime import UTC, datetime
from typing import Any

from runbook_lib.lab.controlplane.quantity import canonical_quantity
from runbook_lib.lab.controlplane.schema.types import Field, Type

JSON_NAMES = {bool: "bool", int: "number", float: "number", str: "string", list: "array", dict: "object"}
ZERO: dict[str, Any] = {"str": "", "int": 0, "bool": False, "float": 0.0, "quantity": "0", "intstr": 0, "bytes": None}
TIME = re.compile(r"^(\d{4}-\d\d-\d\d)[Tt](\d\d:\d\d:\d\d)(\.\d+)?(Z|z|[+-]\d\d:\d\d)$")


class DecodeError(ValueError):
    """A value has the wrong JSON type; the message is worded as the server words it."""


class Decoder:
    """Decodes one document and collects the paths of unknown fields.

    Args:
        partial: keep what is given as it is, add nothing and drop nothing but nulls (an applied configuration).

    Attributes:
        unknown: paths of fields that the type does not have.
    """

    def __init__(self, *, partial: bool = False) -> None:
        self.partial = partial
        self.unknown: list[str] = []

    def decode(self, value: Any, kind: Type, path: str = "", owner: str = "") -> Any:
        """The canonical form of ``value``.

        Raises:
            DecodeError: a value does not fit its type.
        """
        if kind.kind == "struct":
            return self._struct(value, kind, path, owner)
        if kind.kind == "list":
            if not isinstance(value, list):
                raise self._mismatch(value, kind, path, owner)
            assert kind.item is not None
            return [
                self.decode(item, kind.item, f"{path}[{i}]", owner) if item is not None else _zero(kind.item)
                for i, item in enumerate(value)
            ]
        if kind.kind == "map":
            if not isinstance(value, dict):
                raise self._mismatch(value, kind, path, owner)
            assert kind.item is not None
            return {
                key: self.decode(item, kind.item, path, owner) if item is not None else _zero(kind.item)
                for key, item in value.items()
            }
        return self._scalar(value, kind, path, owner)

    def _struct(self, value: Any, kind: Type, path: str, owner: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise self._mismatch(value, kind, path, owner)
        result: dict[str, Any] = {}
        fields = kind.fields
        name = kind.name.rsplit(".", 1)[1]
        for key, item in value.items():
            field = fields.get(key)
            if field is None:
                if not (path == "" and key in ("apiVersion", "kind")):
                    self.unknown.append(f"{path}.{key}" if path else key)
                continue
            if item is None:
                continue
            decoded = self.decode(item, field.type, f"{path}.{key}" if path else key, name)
            if self.partial or not _omitted(decoded, field):
                result[key] = decoded
        if not self.partial:
            for key, field in fields.items():
                if key not in result:
                    _add_always_written(result, key, field)
        return result

    def _scalar(self, value: Any, kind: Type, path: str, owner: str) -> Any:
        match kind.kind:
            case "str":
                fits = isinstance(value, str)
            case "int":
                fits = isinstance(value, int) and not isinstance(value, bool)
                if isinstance(value, float) and value.is_integer():
                    return int(value)
            case "bool":
                fits = isinstance(value, bool)
            case "float":
                fits = isinstance(value, int | float) and not isinstance(value, bool)
            case "intstr":
                fits = isinstance(value, int | str) and not isinstance(value, bool)
            case "bytes":
                return _base64(value)
            case "quantity":
                return self._quantity(value)
            case "time" | "microtime":
                return _time(value, micro=kind.kind == "microtime")
            case _:
                return value
        if not fits:
            raise self._mismatch(value, kind, path, owner)
        return value

    def _quantity(self, value: Any) -> str:
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise DecodeError(
                "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
            )
        try:
            return canonical_quantity(str(value))
        except ValueError as problem:
            raise DecodeError(str(problem)) from None

    def _mismatch(self, value: Any, kind: Type, path: str, owner: str) -> DecodeError:
        given = JSON_NAMES.get(type(value), "null")
        if given == "number" and not isinstance(value, bool):
            given = f"number {value}" if kind.kind == "int" else "number"
        target = {"str": "string", "int": "int32", "float": "float64"}.get(kind.kind, "")
        if kind.kind == "struct":
            target = ".".join(kind.name.split(".")[-2:])
        elif kind.kind == "list" and kind.item:
            target = "[]" + (".".join(kind.item.name.split(".")[-2:]) if kind.item.kind == "struct" else "string")
        elif kind.kind == "map":
            target = "map[string]string"
        place = re.sub(r"\[\d+\]", "", path)
        return DecodeError(
            f"json: cannot unmarshal {given} into Go struct field {owner}.{place} of type {target or kind.kind}"
        )


def _omitted(value: Any, field: Field) -> bool:
    """Whether the wire form leaves out this value."""
    if field.pointer or not field.omitempty:
        return False
    if field.type.kind in ("list", "map"):
        return not value
    return (
        field.type.kind in ZERO
        and field.type.kind != "quantity"
        and (value == ZERO[field.type.kind] or value is None)
        and field.type.kind != "intstr"
    )


def _zero(kind: Type) -> Any:
    if kind.kind == "struct":
        return Decoder().decode({}, kind)
    return ZERO.get(kind.kind)


def _add_always_written(result: dict[str, Any], key: str, field: Field) -> None:
    if field.omitzero or (field.pointer and field.omitempty):
        return
    if field.pointer:
        result[key] = None
    elif field.type.kind == "struct":
        result[key] = _zero(field.type)
    elif field.type.kind in ("time", "microtime"):
        result[key] = None
    elif not field.omitempty:
        result[key] = None if field.type.kind in ("list", "map", "raw") else ZERO.get(field.type.kind)


def _base64(value: Any) -> str:
    if not isinstance(value, str):
        raise DecodeError(f"json: cannot unmarshal {JSON_NAMES.get(type(value), 'null')} into Go value of type []uint8")
    try:
        return base64.b64encode(base64.b64decode(value.replace("\n", "").replace("\r", ""), validate=True)).decode()
    except (binascii.Error, ValueError):
        bad = re.search(r"[^A-Za-z0-9+/]", value)
        raise DecodeError(f"illegal base64 data at input byte {bad.start() if bad else len(value)}") from None


def _time(value: Any, *, micro: bool) -> str | None:
    match = TIME.match(value) if isinstance(value, str) else None
    if not match:
        layout = "2006-01-02T15:04:05.000000Z07:00" if micro else "2006-01-02T15:04:05Z07:00"
        raise DecodeError(f'parsing time "{value}" as "{layout}": cannot parse "{value}" as "2006"')
    moment = datetime.fromisoformat(value.upper().replace("Z", "+00:00")).astimezone(UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ" if micro else "%Y-%m-%dT%H:%M:%SZ")
