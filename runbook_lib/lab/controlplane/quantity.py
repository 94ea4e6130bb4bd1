"""Kubernetes resource quantities such as ``100m`` and ``256Mi``: canonical text and exact value."""

from __future__ import annotations

import re
from decimal import Decimal
from fractions import Fraction

BINARY = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50, "Ei": 2**60}
DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
PATTERN = re.compile(r"^([+-]?)(\d+(?:\.\d*)?|\.\d+)(?:([KMGTPE]i)|([numkMGTPE]?)|([eE][+-]?\d+))$")


def quantity(text: str) -> Fraction:
    """Exact value of a quantity.

    Raises:
        ValueError: not a quantity.
    """
    match = PATTERN.match(text)
    if not match:
        raise ValueError("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")
    sign, number, binary, decimal, exponent = match.groups()
    value = Fraction(Decimal(number.rstrip(".") or "0")) * (-1 if sign == "-" else 1)
    if binary:
        return value * BINARY[binary]
    if exponent:
        return value * Fraction(10) ** int(exponent[1:])
    return value * Fraction(10) ** DECIMAL[decimal or ""]


def canonical_quantity(text: str) -> str:
    """The same value with an integer number and the largest fitting suffix of the same family.

    Raises:
        ValueError: not a quantity.
    """
    match = PATTERN.match(text)
    value = quantity(text)
    if match and match[3] and abs(value) >= 1024 and value.denominator == 1:
        for suffix, size in reversed(BINARY.items()):
            if value % size == 0:
                return f"{value // size}{suffix}"
        return str(int(value))
    if match and match[5]:
        return _decimal_exponent(value)
    for suffix, power in sorted(DECIMAL.items(), key=lambda item: -item[1]):
        scaled = value / Fraction(10) ** power
        if scaled.denominator == 1 and (scaled != 0 or suffix == ""):
            return f"{scaled}{suffix}"
    # Finer than a billionth: the server rounds up.
    return f"{-((-value * 10**9).__floor__())}n"


def _decimal_exponent(value: Fraction) -> str:
    for power in range(18, -10, -3):
        scaled = value / Fraction(10) ** power
        if scaled.denominator == 1:
            return f"{scaled}e{power}" if power else str(scaled)
    return str(value)
