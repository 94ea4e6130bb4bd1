"""The functions of whole vectors, and the list of every function that the store knows."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import Protocol

from runbook_lib.lab.metrics import labels as label_sets
from runbook_lib.lab.metrics.errors import EvaluationError, QueryError
from runbook_lib.lab.metrics.labels import METRIC_NAME, Labels
from runbook_lib.lab.metrics.promql import floats, histogram
from runbook_lib.lab.metrics.promql.nodes import Call, Node, Selector, Text
from runbook_lib.lab.metrics.promql.range_functions import RANGE_FUNCTIONS
from runbook_lib.lab.metrics.promql.regex import compile_regex, expand
from runbook_lib.lab.metrics.promql.series import Grid, Series, Values, Vector, merge
from runbook_lib.lab.metrics.promql.value_functions import CALENDAR_FUNCTIONS, VALUE_FUNCTIONS, clamp, round_to


class Evaluator(Protocol):
    """What a function needs to evaluate its arguments."""

    grid: Grid

    def vector(self, node: Node) -> Vector:
        """Evaluate an instant vector."""
        ...

    def scalar(self, node: Node) -> list[float]:
        """Evaluate a scalar: one number for each step."""
        ...

    def sample_times(self, selector: Selector) -> Vector:
        """The time in seconds of the sample that the selector finds at each step."""
        ...


VectorFunction = Callable[[Evaluator, Call], Vector]
ScalarFunction = Callable[[Evaluator, Call], list[float]]


def each_value(vector: Vector, function: Callable[[float, int], float]) -> Vector:
    """Apply a function of value and step; the result is another quantity, so the metric's name goes."""
    return [
        Series(
            series.labels,
            [None if value is None else function(value, step) for step, value in enumerate(series.values)],
            drop_name=True,
        )
        for series in vector
    ]


def value_function(ev: Evaluator, call: Call) -> Vector:
    """Mathematics of single values."""
    function = VALUE_FUNCTIONS[call.name]
    return each_value(ev.vector(call.arguments[0]), lambda value, _: function(value))


def calendar_function(ev: Evaluator, call: Call) -> Vector:
    """The calendar in UTC, of the argument or of the evaluation time."""
    function = CALENDAR_FUNCTIONS[call.name]
    if call.arguments:
        return each_value(ev.vector(call.arguments[0]), lambda value, _: function(value))
    return [Series((), [function(now / 1000) for now in ev.grid.times_ms])]


def _clamp(ev: Evaluator, call: Call) -> Vector:
    vector = ev.vector(call.arguments[0])
    bounds = [ev.scalar(argument) for argument in call.arguments[1:]]
    steps = len(ev.grid)
    low = bounds[0] if call.name in {"clamp", "clamp_min"} else [-floats.INF] * steps
    high = bounds[-1] if call.name in {"clamp", "clamp_max"} else [floats.INF] * steps
    clamped = each_value(vector, lambda value, step: clamp(value, low[step], high[step]))
    for series in clamped:
        # Bounds in the wrong order leave nothing.
        series.values = [None if high[step] < low[step] else value for step, value in enumerate(series.values)]
    return clamped


def _round(ev: Evaluator, call: Call) -> Vector:
    nearest = ev.scalar(call.arguments[1]) if len(call.arguments) > 1 else [1.0] * len(ev.grid)
    return each_value(ev.vector(call.arguments[0]), lambda value, step: round_to(value, nearest[step]))


def _absent(ev: Evaluator, call: Call) -> Vector:
    vector = ev.vector(call.arguments[0])
    return absent_series(call.arguments[0], vector, len(ev.grid))


def absent_series(argument: Node, vector: Vector, steps: int) -> Vector:
    """1 at each step at which no series has a value, labelled by the selector's equalities."""
    values: Values = [1.0 if all(series.values[step] is None for series in vector) else None for step in range(steps)]
    if all(value is None for value in values):
        return []
    return [Series(_absent_labels(argument), values, drop_name=True)]


def _absent_labels(argument: Node) -> Labels:
    if not isinstance(argument, Selector):
        return ()
    operators: dict[str, list[str]] = {}
    for matcher in argument.matchers:
        operators.setdefault(matcher.name, []).append(matcher.op)
    for name, used in operators.items():
        if len(used) > 1 and "=" in used and set(used) != {"="}:
            # The real server's answer depends on the order in which its storage left the matchers.
            raise QueryError(f"absent() of several kinds of matchers for the label {name} is outside the subset")
    # A label that is asked for twice has no single value.
    known = {matcher.name: matcher.value for matcher in argument.matchers if operators[matcher.name] == ["="]}
    return label_sets.drop_name(label_sets.make_labels(known))


def _vector(ev: Evaluator, call: Call) -> Vector:
    return [Series((), list(ev.scalar(call.arguments[0])))]


def _timestamp(ev: Evaluator, call: Call) -> Vector:
    argument = call.arguments[0]
    if isinstance(argument, Selector):
        return [Series(series.labels, series.values, drop_name=True) for series in ev.sample_times(argument)]
    times = ev.grid.times_ms
    return each_value(ev.vector(argument), lambda _, step: times[step] / 1000)


def _sort(ev: Evaluator, call: Call) -> Vector:
    vector = ev.vector(call.arguments[0])
    if len(ev.grid) > 1:
        return vector

    def by_value(series: Series) -> float:
        value = series.values[0]
        return 0.0 if value is None else value

    numbers = [series for series in vector if not math.isnan(by_value(series))]
    nans = [series for series in vector if math.isnan(by_value(series))]
    # NaN comes last in both directions.
    return sorted(numbers, key=by_value, reverse=call.name == "sort_desc") + nans


def _text(node: Node) -> str:
    if not isinstance(node, Text):
        raise EvaluationError("this argument must be a string in quotes")
    return node.value


def _label_name(name: str, function: str, role: str) -> str:
    if not name:
        raise EvaluationError(f"invalid {role} label name in {function}(): {name}")
    return name


def _relabelled(series: Series, name: str, value: str) -> Series:
    drop_name = False if name == METRIC_NAME else series.drop_name
    return Series(label_sets.replace(series.labels, name, value), series.values, drop_name)


def _label_replace(ev: Evaluator, call: Call) -> Vector:
    vector = ev.vector(call.arguments[0])
    target, template, source, expression = (_text(argument) for argument in call.arguments[1:])
    pattern: re.Pattern[str] = compile_regex(expression)
    _label_name(target, "label_replace", "destination")
    out: Vector = []
    for series in vector:
        match = pattern.fullmatch(label_sets.get(series.labels, source))
        out.append(series if match is None else _relabelled(series, target, expand(match, template)))
    return merge(out)


def _label_join(ev: Evaluator, call: Call) -> Vector:
    vector = ev.vector(call.arguments[0])
    target, separator, *sources = (_text(argument) for argument in call.arguments[1:])
    for source in sources:
        _label_name(source, "label_join", "source")
    _label_name(target, "label_join", "destination")
    return merge(
        _relabelled(series, target, separator.join(label_sets.get(series.labels, source) for source in sources))
        for series in vector
    )


def _histogram_quantile(ev: Evaluator, call: Call) -> Vector:
    shares = ev.scalar(call.arguments[0])
    return histogram.from_buckets(
        ev.vector(call.arguments[1]),
        len(ev.grid),
        lambda buckets, step: histogram.bucket_quantile(shares[step], buckets),
    )


def _histogram_fraction(ev: Evaluator, call: Call) -> Vector:
    lower, upper = ev.scalar(call.arguments[0]), ev.scalar(call.arguments[1])
    return histogram.from_buckets(
        ev.vector(call.arguments[2]),
        len(ev.grid),
        lambda buckets, step: histogram.bucket_fraction(lower[step], upper[step], buckets),
    )


def _scalar(ev: Evaluator, call: Call) -> list[float]:
    vector = ev.vector(call.arguments[0])
    out: list[float] = []
    for step in range(len(ev.grid)):
        present = [value for series in vector if (value := series.values[step]) is not None]
        out.append(present[0] if len(present) == 1 else floats.NAN)
    return out


def _time(ev: Evaluator, _: Call) -> Sequence[float]:
    return [now / 1000 for now in ev.grid.times_ms]


VECTOR_FUNCTIONS: dict[str, VectorFunction] = {
    **dict.fromkeys(VALUE_FUNCTIONS, value_function),
    **dict.fromkeys(CALENDAR_FUNCTIONS, calendar_function),
    **dict.fromkeys(("clamp", "clamp_min", "clamp_max"), _clamp),
    **dict.fromkeys(("sort", "sort_desc"), _sort),
    "absent": _absent,
    "histogram_fraction": _histogram_fraction,
    "histogram_quantile": _histogram_quantile,
    "label_join": _label_join,
    "label_replace": _label_replace,
    "round": _round,
    "timestamp": _timestamp,
    "vector": _vector,
}
SCALAR_FUNCTIONS: dict[str, ScalarFunction] = {
    "pi": lambda ev, _: [math.pi] * len(ev.grid),
    "scalar": _scalar,
    "time": lambda ev, call: list(_time(ev, call)),
}
NAMES = frozenset(VECTOR_FUNCTIONS) | frozenset(SCALAR_FUNCTIONS) | frozenset(RANGE_FUNCTIONS) | {"absent_over_time"}
