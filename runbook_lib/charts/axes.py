"""Round ticks and the units that axes speak."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime

from runbook_lib.model.times import from_epoch

# 1, 2 and 5 times a power of ten read most easily; time has its own round numbers, seconds.
_TIME_STEPS_SECONDS = (
    *(1, 2, 5, 10, 15, 30),
    *(60, 120, 300, 600, 900, 1800),
    *(3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800, 1209600),
)


@dataclass(frozen=True, slots=True)
class Scale:
    """How one axis speaks of its values.

    Args:
        factor: what a value is multiplied with before it is written.
        name: the unit on the axis.
    """

    factor: float
    name: str


def scale_for(unit: str, largest: float) -> Scale:
    """The scale in which values up to ``largest`` are short to write.

    Args:
        unit: one of ``model.units.UNITS``.
        largest: the largest value on the axis, in ``unit``.
    """
    if unit == "s":
        return Scale(1000, "ms") if largest < 2 else Scale(1, "s") if largest < 180 else Scale(1 / 60, "min")
    if unit == "ratio":
        return Scale(100, "%")
    if unit == "bytes":
        power = min(int(math.log(largest, 1024)), 4) if largest >= 1 else 0
        return Scale(1024**-power, ("B", "KiB", "MiB", "GiB", "TiB")[power])
    return Scale(1, {"1/s": "per second", "count": ""}.get(unit, unit))


def ticks(largest: float, count: int = 4) -> list[float]:
    """About ``count`` round values from 0 up to or just beyond ``largest``."""
    if not largest > 0 or not math.isfinite(largest):
        return [0.0, 1.0]
    rough = largest / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * 0.999)
    return [round(i * step, 12) for i in range(math.ceil(largest / step - 1e-9) + 1)]


def tick_label(value: float) -> str:
    """``value`` with no more digits than its tick needs."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:g}"


def time_ticks(start: float, end: float, most: int = 6) -> list[tuple[float, str]]:
    """At most ``most`` round moments in UTC between two times in epoch seconds, with their labels."""
    step = next((s for s in _TIME_STEPS_SECONDS if (end - start) / s <= most), None)
    step = step or math.ceil((end - start) / most / 604800) * 604800
    shape = "%H:%M:%S" if step < 60 else "%H:%M" if step < 86400 else "%m-%d"
    first = math.ceil(start / step)
    return [(t * step, f"{from_epoch(t * step):{shape}}") for t in range(first, math.floor(end / step) + 1)]


def days(start: datetime, end: datetime) -> str:
    """The date under a time axis: ``2026-03-01 UTC``, or both dates when the axis crosses midnight."""
    if start.date() == end.date():
        return f"{start:%Y-%m-%d} UTC"
    return f"{start:%Y-%m-%d} to {end:%Y-%m-%d} UTC"
