"""IEEE 754 arithmetic and number formats as the query language defines them.

Python raises where the language has a value (1/0 is +Inf, ln(0) is -Inf), so every operation that can raise
goes through this module.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal

NAN, INF = math.nan, math.inf

# The bit pattern with which Prometheus marks "this series ended here"; it is not a measured value.
STALE_BYTES = struct.pack("<Q", 0x7FF0000000000002)
STALE: float = struct.unpack("<d", STALE_BYTES)[0]


def is_stale(value: float) -> bool:
    """True for the staleness marker only, False for every other NaN."""
    return math.isnan(value) and struct.pack("<d", value) == STALE_BYTES


def format_float(value: float) -> str:
    """The shortest decimal without an exponent, as Go's ``FormatFloat(v, 'f', -1, 64)``."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    shortest = repr(value)
    if "e" in shortest:
        shortest = format(Decimal(shortest), "f")
    return shortest[:-2] if shortest.endswith(".0") else shortest


def _with_exponent(value: float) -> str:
    mantissa, _, exponent = f"{Decimal(repr(value)).normalize():e}".partition("e")
    return f"{mantissa}e{exponent[0]}{exponent[1:].zfill(2)}"


def format_sample(value: float) -> str:
    """A sample value as the HTTP API writes it: with an exponent below 1e-6 and from 1e21 on."""
    size = abs(value)
    if math.isfinite(value) and size != 0 and (size < 1e-6 or size >= 1e21):
        return _with_exponent(value)
    return format_float(value)


def format_open_metrics(value: float) -> str:
    """A bucket bound or quantile as Prometheus 3 stores it: ``1`` becomes ``1.0``, a million ``1e+06``."""
    size = abs(value)
    if math.isfinite(value) and size != 0 and (size < 1e-4 or size >= 1e6):
        return _with_exponent(value)
    written = format_float(value)
    return written if "." in written or not math.isfinite(value) else written + ".0"


def parse_float(written: str) -> float:
    """Read a number of the text format: decimal, hexadecimal, ``NaN`` or ``Inf``.

    Raises:
        ValueError: not a number, or in a notation that only Python accepts.
    """
    if "_" in written or written != written.strip() or not written.isascii():
        raise ValueError(f"not a number: {written!r}")
    if written.lower().lstrip("+-").startswith("0x"):
        return float.fromhex(written)
    return float(written)


def divide(left: float, right: float) -> float:
    """``left / right`` with infinities for a zero divisor."""
    if right:
        return left / right
    if math.isnan(left) or left == 0:
        return NAN
    return math.copysign(INF, left) * math.copysign(1.0, right)


def modulo(left: float, right: float) -> float:
    """The remainder with the sign of ``left``; NaN where there is none."""
    try:
        return math.fmod(left, right)
    except ValueError:
        return NAN


def power(left: float, right: float) -> float:
    """``left ** right``; infinite on overflow and NaN for a root of a negative number."""
    try:
        return math.pow(left, right)
    except OverflowError:
        odd = right % 2 == 1
        return -INF if left < 0 and odd else INF
    except ValueError:
        if left == 0:
            return math.copysign(INF, left) if right % 2 == 1 else INF
        return NAN


def total(function: Callable[[float], float]) -> Callable[[float], float]:
    """Make a function of ``math`` defined everywhere: NaN outside its domain, infinite on overflow."""

    def defined(value: float) -> float:
        try:
            return function(value)
        except ValueError:
            return NAN
        except OverflowError:
            return INF

    return defined


def logarithm(base: Callable[[float], float]) -> Callable[[float], float]:
    """A logarithm that is -Inf at zero and NaN below."""
    defined = total(base)
    return lambda value: -INF if value == 0 else defined(value)


def hyperbolic_sine(value: float) -> float:
    """``sinh`` that keeps its sign on overflow."""
    try:
        return math.sinh(value)
    except OverflowError:
        return math.copysign(INF, value)


def inverse_hyperbolic_tangent(value: float) -> float:
    """``atanh``, infinite at 1 and -1."""
    if abs(value) == 1:
        return math.copysign(INF, value)
    return total(math.atanh)(value)


def minimum(left: float, right: float) -> float:
    """The smaller one; NaN unless the other is -Inf."""
    if -INF in (left, right):
        return -INF
    if math.isnan(left) or math.isnan(right):
        return NAN
    return min(left, right)


def maximum(left: float, right: float) -> float:
    """The larger one; NaN unless the other is +Inf."""
    if INF in (left, right):
        return INF
    if math.isnan(left) or math.isnan(right):
        return NAN
    return max(left, right)


def round_down(value: float) -> float:
    """Floor that leaves NaN and infinities alone."""
    return float(math.floor(value)) if math.isfinite(value) else value


def kahan_add(value: float, running: float, compensation: float) -> tuple[float, float]:
    """One step of Neumaier's compensated summation.

    Returns:
        The new running sum and its compensation; the true sum is their sum. The compensation is dropped once the
        sum is infinite.
    """
    result = running + value
    if math.isinf(result):
        return result, 0.0
    if abs(running) >= abs(value):
        return result, compensation + ((running - result) + value)
    return result, compensation + ((value - result) + running)


def kahan_sum(values: Iterable[float]) -> float:
    """The compensated sum."""
    running = compensation = 0.0
    for value in values:
        running, compensation = kahan_add(value, running, compensation)
    return running if math.isinf(running) else running + compensation


def nan_first(value: float) -> tuple[bool, float]:
    """A sorting key that puts NaN before every number."""
    return (False, 0.0) if math.isnan(value) else (True, value)


class Mean:
    """A mean that does not overflow: the plain sum until it would, the incremental mean from then on."""

    __slots__ = ("_compensation", "_count", "_incremental", "_running")

    def __init__(self, first: float) -> None:
        self._running, self._compensation, self._count, self._incremental = first, 0.0, 1, False

    def add(self, value: float) -> None:
        """Take one more value."""
        self._count += 1
        if not self._incremental:
            running, compensation = kahan_add(value, self._running, self._compensation)
            if not math.isinf(running):
                self._running, self._compensation = running, compensation
                return
            self._incremental = True
            self._running /= self._count - 1
            self._compensation /= self._count - 1
        share = (self._count - 1) / self._count
        self._running, self._compensation = kahan_add(
            value / self._count, share * self._running, share * self._compensation
        )

    def value(self) -> float:
        """The mean of all values so far."""
        if self._incremental:
            return self._running + self._compensation
        return self._running / self._count + self._compensation / self._count


def quantile(rank_share: float, values: Sequence[float]) -> float:
    """The quantile with linear interpolation; NaN sorts first.

    Args:
        rank_share: 0 to 1; below gives -Inf, above +Inf, NaN gives NaN.
        values: any order; none gives NaN.
    """
    if not values or math.isnan(rank_share):
        return NAN
    if rank_share < 0 or rank_share > 1:
        return math.copysign(INF, rank_share)
    ordered = sorted(values, key=nan_first)
    rank = rank_share * (len(ordered) - 1)
    lower = max(0, math.floor(rank))
    weight = rank - lower
    if weight == 0:
        return ordered[lower]
    upper = min(len(ordered) - 1, lower + 1)
    return ordered[lower] * (1 - weight) + ordered[upper] * weight
