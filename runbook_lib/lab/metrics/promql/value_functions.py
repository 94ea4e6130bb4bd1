"""Functions of single values: mathematics and the calendar."""

from __future__ import annotations

import calendar
import datetime as dt
import math
from collections.abc import Callable

from runbook_lib.lab.metrics.errors import EvaluationError
from runbook_lib.lab.metrics.promql import floats
from runbook_lib.lab.metrics.promql.floats import format_float

ValueFunction = Callable[[float], float]


def _sign(value: float) -> float:
    return math.copysign(1.0, value) if value < 0 or value > 0 else value


def _ceil(value: float) -> float:
    return float(math.ceil(value)) if math.isfinite(value) else value


VALUE_FUNCTIONS: dict[str, ValueFunction] = {
    "abs": abs,
    "ceil": _ceil,
    "floor": floats.round_down,
    "exp": floats.total(math.exp),
    "sqrt": floats.total(math.sqrt),
    "ln": floats.logarithm(math.log),
    "log2": floats.logarithm(math.log2),
    "log10": floats.logarithm(math.log10),
    "sgn": _sign,
    "sin": floats.total(math.sin),
    "cos": floats.total(math.cos),
    "tan": floats.total(math.tan),
    "asin": floats.total(math.asin),
    "acos": floats.total(math.acos),
    "atan": math.atan,
    "sinh": floats.hyperbolic_sine,
    "cosh": floats.total(math.cosh),
    "tanh": math.tanh,
    "asinh": math.asinh,
    "acosh": floats.total(math.acosh),
    "atanh": floats.inverse_hyperbolic_tangent,
    "rad": lambda value: value * (math.pi / 180),
    "deg": lambda value: value * (180 / math.pi),
}


def _calendar(read: Callable[[dt.datetime], int]) -> ValueFunction:
    epoch = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)

    def of_seconds(value: float) -> float:
        try:
            return float(read(epoch + dt.timedelta(seconds=int(value))))
        except (OverflowError, ValueError) as error:
            # The real server answers with what its processor makes of it.
            raise EvaluationError(f"{format_float(value)} is no time in seconds that a calendar has") from error

    return of_seconds


CALENDAR_FUNCTIONS: dict[str, ValueFunction] = {
    "minute": _calendar(lambda moment: moment.minute),
    "hour": _calendar(lambda moment: moment.hour),
    "day_of_week": _calendar(lambda moment: moment.isoweekday() % 7),
    "day_of_month": _calendar(lambda moment: moment.day),
    "day_of_year": _calendar(lambda moment: moment.timetuple().tm_yday),
    "days_in_month": _calendar(lambda moment: calendar.monthrange(moment.year, moment.month)[1]),
    "month": _calendar(lambda moment: moment.month),
    "year": _calendar(lambda moment: moment.year),
}


def round_to(value: float, nearest: float) -> float:
    """Round to a multiple of ``nearest``; ties go up."""
    inverse = floats.divide(1.0, nearest)
    return floats.divide(floats.round_down(value * inverse + 0.5), inverse)


def clamp(value: float, low: float, high: float) -> float:
    """The value, kept between both bounds."""
    return floats.maximum(low, floats.minimum(high, value))
