"""Operators between two expressions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from runbook_lib.lab.metrics import labels as label_sets
from runbook_lib.lab.metrics.errors import EvaluationError
from runbook_lib.lab.metrics.labels import Labels
from runbook_lib.lab.metrics.promql import floats
from runbook_lib.lab.metrics.promql.nodes import Binary, Matching
from runbook_lib.lab.metrics.promql.series import DUPLICATE, Series, Values, Vector

_ARITHMETIC: dict[str, Callable[[float, float], float]] = {
    "+": lambda left, right: left + right,
    "-": lambda left, right: left - right,
    "*": lambda left, right: left * right,
    "/": floats.divide,
    "%": floats.modulo,
    "^": floats.power,
    "atan2": math.atan2,
}
_COMPARISON: dict[str, Callable[[float, float], bool]] = {
    "==": lambda left, right: left == right,
    "!=": lambda left, right: left != right,
    ">": lambda left, right: left > right,
    "<": lambda left, right: left < right,
    ">=": lambda left, right: left >= right,
    "<=": lambda left, right: left <= right,
}
SET_OPERATORS = frozenset({"and", "or", "unless"})


def scalars(op: str, left: Sequence[float], right: Sequence[float]) -> list[float]:
    """An operator between two scalars."""
    compute = _ARITHMETIC.get(op) or _COMPARISON[op]
    return [float(compute(a, b)) for a, b in zip(left, right, strict=True)]


def vector_and_scalar(node: Binary, vector: Vector, scalar: Sequence[float], *, swapped: bool) -> Vector:
    """An operator between a vector and a scalar; ``swapped`` when the scalar is on the left.

    A comparison keeps the vector's values that it holds for, on whichever side the vector is.
    """
    drops = node.op in _ARITHMETIC or node.return_bool
    out: Vector = []
    for series in vector:
        values: Values = []
        for value, other in zip(series.values, scalar, strict=True):
            if value is None:
                values.append(None)
                continue
            left, right = (other, value) if swapped else (value, other)
            values.append(_apply(node, left, right, value))
        out.append(Series(series.labels, values, series.drop_name or drops))
    return out


def _apply(node: Binary, left: float, right: float, kept: float) -> float | None:
    """The result of one pair; ``kept`` is the value that a comparison lets through."""
    arithmetic = _ARITHMETIC.get(node.op)
    if arithmetic is not None:
        return arithmetic(left, right)
    holds = _COMPARISON[node.op](left, right)
    if node.return_bool:
        return float(holds)
    return kept if holds else None


def _signature(matching: Matching, labels: Labels) -> Labels:
    if matching.on:
        return label_sets.keep(labels, matching.labels)
    return label_sets.drop(label_sets.drop_name(labels), matching.labels)


class Collector:
    """Gathers results step by step into series, and refuses two results with the same labels at one step."""

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self._rows: dict[Labels, Series] = {}

    def add(self, labels: Labels, step: int, value: float, *, drop_name: bool) -> None:
        """Take one result.

        Raises:
            EvaluationError: there is one with these labels at this step.
        """
        row = self._rows.get(labels)
        if row is None:
            row = self._rows[labels] = Series(labels, [None] * self._steps, drop_name)
        if row.values[step] is not None:
            raise EvaluationError(DUPLICATE)
        row.values[step] = value

    def vector(self) -> Vector:
        """All series, in the order in which they first appeared."""
        return list(self._rows.values())


def set_operation(node: Binary, left: Vector, right: Vector, steps: int) -> Vector:
    """``and``, ``or`` and ``unless``."""
    left_keys = [_signature(node.matching, series.labels) for series in left]
    right_keys = [_signature(node.matching, series.labels) for series in right]
    out = Collector(steps)
    for step in range(steps):
        in_left = {key for key, series in zip(left_keys, left, strict=True) if series.values[step] is not None}
        in_right = {key for key, series in zip(right_keys, right, strict=True) if series.values[step] is not None}
        for key, series in zip(left_keys, left, strict=True):
            value = series.values[step]
            if value is not None and (node.op == "or" or (key in in_right) is (node.op == "and")):
                out.add(series.labels, step, value, drop_name=series.drop_name)
        if node.op == "or":
            for key, series in zip(right_keys, right, strict=True):
                value = series.values[step]
                if value is not None and key not in in_left:
                    out.add(series.labels, step, value, drop_name=series.drop_name)
    return out.vector()


def vectors(node: Binary, left: Vector, right: Vector, steps: int) -> Vector:
    """Arithmetic and comparison between two vectors.

    Raises:
        EvaluationError: the matching labels do not tell which series belong together.
    """
    return _Join(node, left, right, steps).run()


class _Join:
    """One operation between two vectors; ``many`` is the side that may have several series for one of the other."""

    def __init__(self, node: Binary, left: Vector, right: Vector, steps: int) -> None:
        self.node, self.matching, self.steps = node, node.matching, steps
        self.swapped = node.matching.many == "right"
        self.many, self.one = (right, left) if self.swapped else (left, right)
        self.many_keys = [_signature(self.matching, series.labels) for series in self.many]
        self.one_keys = [_signature(self.matching, series.labels) for series in self.one]
        self.results: dict[tuple[Labels, Labels], Labels] = {}
        self.out = Collector(steps)

    def run(self) -> Vector:
        for step in range(self.steps):
            present = [
                (key, series, value)
                for key, series in zip(self.many_keys, self.many, strict=True)
                if (value := series.values[step]) is not None
            ]
            partners = self._partners(step) if present else {}
            if not partners:
                continue
            seen: set[object] = set()
            for key, series, value in present:
                partner = partners.get(key)
                if partner is not None:
                    self._pair(step, key, (series, value), partner, seen)
        return self.out.vector()

    def _partners(self, step: int) -> dict[Labels, tuple[Series, float]]:
        partners: dict[Labels, tuple[Series, float]] = {}
        for key, series in zip(self.one_keys, self.one, strict=True):
            value = series.values[step]
            if value is None:
                continue
            if key in partners:
                first, second = sorted((label_sets.text(series.labels), label_sets.text(partners[key][0].labels)))
                side = "left" if self.swapped else "right"
                raise EvaluationError(
                    f"found duplicate series for the match group {label_sets.text(key)} on the {side} hand-side of the "
                    f"operation: [{first}, {second}]; many-to-many matching not allowed: matching labels must be "
                    "unique on one side"
                )
            partners[key] = (series, value)
        return partners

    def _pair(
        self, step: int, key: Labels, many: tuple[Series, float], one: tuple[Series, float], seen: set[object]
    ) -> None:
        (many_series, many_value), (one_series, one_value) = many, one
        labels = self._labels(many_series.labels, one_series.labels)
        identity: object = (key, labels) if self.matching.many else key
        if identity in seen:
            raise EvaluationError(
                "multiple matches for labels: grouping labels must ensure unique matches"
                if self.matching.many
                else "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)"
            )
        seen.add(identity)
        left, right = (one_value, many_value) if self.swapped else (many_value, one_value)
        value = _apply(self.node, left, right, left)
        if value is not None:
            self.out.add(labels, step, value, drop_name=self.node.return_bool)

    def _labels(self, many: Labels, one: Labels) -> Labels:
        known = self.results.get((many, one))
        if known is None:
            known = self.results[many, one] = self._result_labels(many, one)
        return known

    def _result_labels(self, many: Labels, one: Labels) -> Labels:
        result = label_sets.drop_name(many) if self.node.op in _ARITHMETIC or self.node.return_bool else many
        if not self.matching.many:
            names = self.matching.labels
            return label_sets.keep(result, names) if self.matching.on else label_sets.drop(result, names)
        for name in self.matching.include:
            result = label_sets.replace(result, name, label_sets.get(one, name))
        return result
