"""Decode Kubernetes protobuf bodies along the field table.

Typed Go clients (``kubectl create``, ``kubectl auth can-i``, Helm's release Secrets) send
``application/vnd.kubernetes.protobuf`` and do not fall back to JSON. Answers may stay JSON, so nothing is encoded.

The wire form is the four bytes ``k8s\\0`` and a message ``Unknown``: 1 = {1 apiVersion, 2 kind}, 2 = the object.
"""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from runbook_lib.lab.controlplane.schema import Field, Type

MAGIC = b"k8s\x00"


class ProtobufError(ValueError):
    """The bytes are no Kubernetes object."""


def envelope(data: bytes) -> tuple[str, str, bytes]:
    """``apiVersion``, ``kind`` and the object's own bytes.

    Raises:
        ProtobufError: not an envelope.
    """
    if not data.startswith(MAGIC):
        raise ProtobufError("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")
    api_version = kind = ""
    raw = b""
    for number, value in _fields(data[len(MAGIC) :]):
        if number == 1:
            names = {inner: bytes(text).decode() for inner, text in _fields(value)}
            api_version, kind = names.get(1, ""), names.get(2, "")
        elif number == 2:
            raw = bytes(value)
    return api_version, kind, raw


def decode(data: bytes, kind: Type) -> dict[str, Any]:
    """The object as the JSON form would be."""
    by_number: dict[int, Field] = {}
    embedded: dict[int, dict[int, Field]] = {}
    for field in kind.fields.values():
        if field.number >= 1000:
            embedded.setdefault(field.number // 1000, {})[field.number % 1000] = field
        elif field.number:
            by_number[field.number] = field
    return _message(data, by_number, embedded)


def _message(data: bytes, by_number: dict[int, Field], embedded: dict[int, dict[int, Field]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for number, value in _fields(data):
        if number in embedded:
            result |= _message(value, embedded[number], {})
            continue
        field = by_number.get(number)
        if field is None:
            continue
        inner = field.type
        if inner.kind == "list":
            assert inner.item is not None
            result.setdefault(field.name, []).append(_value(value, inner.item))
        elif inner.kind == "map":
            assert inner.item is not None
            key, item = "", b""
            for part, content in _fields(value):
                if part == 1:
                    key = bytes(content).decode()
                else:
                    item = content
            result.setdefault(field.name, {})[key] = _value(item, inner.item)
        else:
            result[field.name] = _value(value, inner)
    return result


def _value(value: Any, kind: Type) -> Any:
    match kind.kind:
        case "struct":
            return decode(bytes(value), kind)
        case "str":
            return bytes(value).decode()
        case "bytes":
            return base64.b64encode(bytes(value)).decode()
        case "int":
            return value - 2**64 if value >= 2**63 else value
        case "bool":
            return bool(value)
        case "float":
            return struct.unpack("<d", struct.pack("<Q", value))[0]
        case "quantity":
            return next((bytes(text).decode() for number, text in _fields(value) if number == 1), "0")
        case "intstr":
            parts = dict(_fields(value))
            return bytes(parts.get(3, b"")).decode() if parts.get(1) else parts.get(2, 0)
        case "time" | "microtime":
            return _time(value, micro=kind.kind == "microtime")
        case "list":
            assert kind.item is not None
            return [_value(item, kind.item) for _, item in _fields(value)]
        case _:
            raw = next((bytes(text) for number, text in _fields(value) if number == 1), b"{}")
            return json.loads(raw or b"{}")


def _time(value: Any, *, micro: bool) -> str | None:
    parts = dict(_fields(value))
    if not parts:
        return None
    seconds = parts.get(1, 0)
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(
        seconds=seconds - 2**64 if seconds >= 2**63 else seconds, microseconds=parts.get(2, 0) // 1000
    )
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ" if micro else "%Y-%m-%dT%H:%M:%SZ")


def _fields(data: bytes) -> Iterator[tuple[int, Any]]:
    position, end = 0, len(data)
    while position < end:
        tag, position = _varint(data, position)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            value, position = _varint(data, position)
            yield number, value
        elif wire == 2:
            length, position = _varint(data, position)
            if position + length > end:
                raise ProtobufError("unexpected EOF")
            yield number, data[position : position + length]
            position += length
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
            yield number, int.from_bytes(data[position : position + size], "little")
            position += size
        else:
            raise ProtobufError(f"proto: illegal wireType {wire}")


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if position >= len(data):
            raise ProtobufError("unexpected EOF")
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
