"""Numbers with units, written with the digits that their size deserves."""

from __future__ import annotations

import math
from dataclasses import dataclass

from runbook_lib.model.times import duration

NO_DATA = "no data"
#: Units that evidence may carry: seconds, a share of one, events per second, bytes, CPU cores, plain counts, none.
UNITS = ("s", "ratio", "1/s", "bytes", "cores", "count", "")


def format_value(value: float | None, unit: str) -> str:
    """``value`` with its unit for a person: ``612 ms``, ``0.21 %``, ``3.2 GiB``; a missing one is ``no data``."""
    if value is None or math.isnan(value):
        return NO_DATA
    if math.isinf(value):
        return "unbounded"
    if unit == "s":
        return _seconds(value)
    if unit == "ratio":
        return f"{_digits(value * 100)} %"
    if unit == "1/s":
        return f"{_digits(value)}/s"
    if unit == "bytes":
        return _bytes(value)
    return f"{_digits(value)} {unit}".rstrip() if unit != "count" else _digits(value)


def _seconds(value: float) -> str:
    if abs(value) < 0.0095:
        return f"{value * 1000:.1f} ms"
    if abs(value) < 1:
        return f"{value * 1000:.0f} ms"
    return f"{value:.1f} s" if abs(value) < 60 else duration(value)


def _digits(value: float) -> str:
    if value == 0 or float(value).is_integer():
        return f"{value:.0f}"
    size = abs(value)
    return (
        f"{value:.0f}"
        if size >= 100
        else f"{value:.1f}"
        if size >= 10
        else f"{value:.2g}"
        if size < 1
        else f"{value:.2f}"
    )


def _bytes(value: float) -> str:
    size, prefixes = float(value), iter(("B", "KiB", "MiB", "GiB", "TiB", "PiB"))
    prefix = next(prefixes)
    while abs(size) >= 1024 and prefix != "PiB":
        size, prefix = size / 1024, next(prefixes)
    return f"{_digits(size) if size < 100 else f'{size:.0f}'} {prefix}"


@dataclass(frozen=True, slots=True)
class Quantity:
    """One number with its unit.

    Args:
        value: the number in ``unit``; None when there is no data.
        unit: one of ``UNITS``.
    """

    value: float | None
    unit: str = ""

    def __str__(self) -> str:
        return format_value(self.value, self.unit)

    def to_json(self) -> dict[str, float | str | None]:
        """``{value, unit}``; a number that is not finite becomes null."""
        finite = self.value is not None and math.isfinite(self.value)
        return {"value": self.value if finite else None, "unit": self.unit}
