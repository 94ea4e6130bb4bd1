"""Canonical JSON (RFC 8785) and the digests made from it."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from decimal import Decimal
from json.encoder import encode_basestring
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
    if isinstance(value, str):
        return encode_basestring(value)
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
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
        return "{" + ",".join(f"{encode_basestring(key)}:{_text(item)}" for key, item in pairs) + "}"
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return "[" + ",".join(_text(item) for item in value) + "]"
    raise ValueError(f"{type(value).__name__} has no JSON form")


def _number(value: float) -> str:
    # ECMAScript's Number::toString on the shortest digits that round-trip, which Python's repr finds, too.
    if not math.isfinite(value):
        raise ValueError(f"{value} is not a JSON number")
    if value == 0:
        return "0"
    if 1e-4 <= abs(value) < 1e16:
        return repr(value).removesuffix(".0")
    sign, all_digits, exponent = Decimal(repr(value)).as_tuple()
    digits = "".join(map(str, all_digits)).rstrip("0")
    point = len(all_digits) + int(exponent)
    return "-" * sign + _placed(digits, point)


def _placed(digits: str, point: int) -> str:
    """``0.DIGITS`` times ten to the ``point``, as ECMAScript writes it."""
    if len(digits) <= point <= 21:
        return digits + "0" * (point - len(digits))
    if 0 < point <= 21:
        return f"{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return f"0.{'0' * -point}{digits}"
    return f"{digits[0]}{'.' * (len(digits) > 1)}{digits[1:]}e{point - 1:+d}"
