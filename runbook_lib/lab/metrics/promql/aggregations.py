"""Aggregations over series."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from runbook_lib.lab.metrics import labels as label_sets
from runbook_lib.lab.metrics.errors import EvaluationError
from runbook_lib.lab.metrics.labels import Labels
from runbook_lib.lab.metrics.promql import floats
from runbook_lib.lab.metrics.promql.nodes import Aggregate
from runbook_lib.lab.metrics.promql.series import Series, Values, Vector, merge

Reduce = Callable[[list[float], float], float]
"""Takes the values of one group at one step, at least one, and the aggregation's parameter."""


def _mean(values: list[float], _: float) -> float:
    mean = floats.Mean(values[0])
    for value in values[1:]:
        mean.add(value)
    return mean.value()


def _variance(values: list[float], _: float) -> float:
    mean, squares = values[0], 0.0 if math.isfinite(values[0]) else floats.NAN
    for count, value in enumerate(values[1:], start=2):
        delta = value - mean
        mean += delta / count
        squares += delta * (value - mean)
    return squares / len(values)


def _max(values: list[float], _: float) -> float:
    return max((value for value in values if not math.isnan(value)), default=floats.NAN)


def _min(values: list[float], _: float) -> float:
    return min((value for value in values if not math.isnan(value)), default=floats.NAN)


def _sum(values: list[float], _: float) -> float:
    # Compensated as in `floats.kahan_add`, which costs too much as a call for every value here.
    running, compensation = values[0], 0.0
    for value in values[1:]:
        result = running + value
        if abs(running) >= abs(value):
            compensation += (running - result) + value
        else:
            compensation += (value - result) + running
        running = result
    return running if math.isinf(running) else running + compensation


_REDUCE: dict[str, Reduce] = {
    "sum": _sum,
    "avg": _mean,
    "min": _min,
    "max": _max,
    "count": lambda values, _: float(len(values)),
    "group": lambda _values, _: 1.0,
    "stdvar": _variance,
    "stddev": lambda values, _: floats.total(math.sqrt)(_variance(values, 0.0)),
    "quantile": lambda values, share: floats.quantile(share, values),
}
_PICK = frozenset({"topk", "bottomk"})
AGGREGATIONS = frozenset(_REDUCE) | _PICK | {"count_values"}


def aggregate(node: Aggregate, vector: Vector, parameters: Sequence[float], label: str = "") -> Vector:
    """Aggregate a vector.

    Args:
        node: operator and grouping.
        vector: the input.
        parameters: the scalar argument at each step; ignored by operators that have none.
        label: the label that ``count_values`` writes.

    Raises:
        EvaluationError: a ``k`` that is no number.
    """
    if node.op in _PICK:
        return _pick(node, vector, parameters)
    if node.op == "count_values":
        return _count_values(node, vector, len(parameters), label)
    reduce = _REDUCE[node.op]
    out: Vector = []
    for labels, members in _groups(node, vector).items():
        columns = zip(*(member.values for member in members), strict=True)
        values: Values = []
        for column, parameter in zip(columns, parameters, strict=True):
            present = [value for value in column if value is not None]
            values.append(reduce(present, parameter) if present else None)
        out.append(Series(labels, values, drop_name=any(member.drop_name for member in members)))
    return out


def _groups(node: Aggregate, vector: Vector) -> dict[Labels, Vector]:
    groups: dict[Labels, Vector] = {}
    for series in vector:
        groups.setdefault(_group_labels(node, series.labels), []).append(series)
    return groups


def _group_labels(node: Aggregate, labels: Labels) -> Labels:
    if node.without:
        return label_sets.drop(label_sets.drop_name(labels), node.labels)
    return label_sets.keep(labels, node.labels)


def _pick(node: Aggregate, vector: Vector, parameters: Sequence[float]) -> Vector:
    if max(parameters) < 1:
        return []
    if any(math.isnan(parameter) for parameter in parameters):
        raise EvaluationError("Parameter value is NaN")
    if any(abs(parameter) >= 2**63 for parameter in parameters):
        raise EvaluationError(f"Scalar value {max(parameters, key=abs)} overflows int64")
    largest = node.op == "topk"
    kept: dict[int, Values] = {}
    order: list[int] = []
    positions = {id(series): index for index, series in enumerate(vector)}
    for members in _groups(node, vector).values():
        for step, parameter in enumerate(parameters):
            candidates = [
                (value, positions[id(member)]) for member in members if (value := member.values[step]) is not None
            ]
            # NaN is worse than any number, whichever end is asked for.
            numbers = [item for item in candidates if not math.isnan(item[0])]
            nans = [item for item in candidates if math.isnan(item[0])]
            numbers.sort(key=lambda item: item[0], reverse=largest)
            for value, position in (numbers + nans)[: max(0, int(parameter))]:
                if position not in kept:
                    kept[position] = [None] * len(parameters)
                    order.append(position)
                kept[position][step] = value
    return [Series(vector[position].labels, kept[position], vector[position].drop_name) for position in order]


def _count_values(node: Aggregate, vector: Vector, steps: int, label: str) -> Vector:
    counted: dict[Labels, Values] = {}
    for series in vector:
        for step, value in enumerate(series.values):
            if value is None:
                continue
            labelled = label_sets.replace(series.labels, label, floats.format_float(value))
            group = (
                label_sets.keep(labelled, (*node.labels, label)) if not node.without else _group_labels(node, labelled)
            )
            row = counted.setdefault(group, [None] * steps)
            row[step] = (row[step] or 0.0) + 1.0
    return merge(Series(labels, values) for labels, values in counted.items())
