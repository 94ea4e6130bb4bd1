"""Canonical JSON (RFC 8785) and the digests made from it."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any


def canonical(value: Any) -> bytes:
    """``value`` in RFC 8785 form: sorted keys by UTF-16, shortest numbers, no white space, UTF-8.

    Args:
        value: None, bool, int, float, str, or mappings and sequences of those.

    Raises:
        ValueError: a number is not finite, an integer is beyond 2**53, or a type is not JSON.
    """
    return _text(value).encode()


def digest(value: Any) -> str:
    """``sha256:`` and the hexadecimal SHA-256 of the canonical form of ``value``."""
    return digest_bytes(canonical(value))


def digest_bytes(content: bytes) -> str:
    """``sha256:`` and the hexadecimal SHA-256 of ``content``."""
    return "sha256:" + hashlib.sha256(content).hexdigest()


def _text(value: Any) -> str:
    if value is None or isinstance(value, bool | str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, int):
        if abs(value) > 2**53:
            raise ValueError(f"{value} is beyond the integers that JSON readers keep exact (2**53); write it as text")
        return str(value)
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise ValueError("a JSON object has text keys only")
        pairs = sorted(value.items(), key=lambda pair: pair[0].encode("utf-16-be"))
        return "{" + ",".join(f"{json.dumps(key, ensure_ascii=False)}:{_text(item)}" for key, item in pairs) + "}"
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return "[" + ",".join(_text(item) for item in value) + "]"
    raise ValueError(f"{type(value).__name__} has no JSON form")


def _number(value: float) -> str:
    # ECMAScript's Number::toString: exponent form below 1e-6 and from 1e21, digits as short as they round-trip.
    if not math.isfinite(value):
        raise ValueError(f"{value} is not a JSON number")
    if value == 0:
        return "0"
    if value.is_integer() and abs(value) < 1e21:
        return str(int(value))
    mantissa, _, exponent = f"{value!r}".partition("e")
    power = int(exponent or 0)
    if exponent and not -7 < power < 21:
        return f"{mantissa.removesuffix('.0')}e{power:+d}"
    if exponent:
        places = len(mantissa.partition(".")[2]) - power if "." in mantissa else -power
        return f"{value:.{max(places, 0)}f}"
    return mantissa if abs(value) >= 1e-6 else f"{value!r}"
