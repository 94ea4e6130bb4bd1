"""Evaluate a checked query on the samples of a source."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from runbook_lib.lab.metrics.errors import EvaluationError, QueryTimeoutError
from runbook_lib.lab.metrics.promql import binary, selectors
from runbook_lib.lab.metrics.promql.aggregations import aggregate
from runbook_lib.lab.metrics.promql.functions import SCALAR_FUNCTIONS, VECTOR_FUNCTIONS, absent_series
from runbook_lib.lab.metrics.promql.nodes import (
    Aggregate,
    At,
    Binary,
    Call,
    Negation,
    Node,
    Number,
    Selector,
    Subquery,
    Text,
    kind,
)
from runbook_lib.lab.metrics.promql.range_functions import KEEPS_NAME, RANGE_FUNCTIONS
from runbook_lib.lab.metrics.promql.series import Grid, Samples, Series, Source, Values, Vector, without_names

# Prometheus refuses to hold more than this many samples of one query; here each costs 28 bytes and more.
_MAX_VALUES = 5_000_000


@dataclass(frozen=True, slots=True)
class Options:
    """How queries are evaluated.

    Attributes:
        lookback_ms: how old the latest sample of a series may be.
        default_step_ms: step of a subquery that names none.
        delayed_name_removal: take metric names off at the end of a query, not after each operation; a feature flag
            of Prometheus, off there and here.
        timeout_seconds: how long one query may take.
    """

    lookback_ms: int = 300_000
    default_step_ms: int = 60_000
    delayed_name_removal: bool = False
    timeout_seconds: float = 120.0


class Evaluation:
    """One query on one grid of steps.

    Args:
        source: the samples.
        grid: the steps.
        options: see `Options`.
        outer: start and end of the whole query; what ``@ start()`` and ``@ end()`` mean inside a subquery.
        deadline: value of the monotonic clock at which the query is given up.
    """

    def __init__(
        self,
        source: Source,
        grid: Grid,
        options: Options,
        *,
        outer: tuple[int, int] | None = None,
        deadline: float | None = None,
    ) -> None:
        self.source, self.grid, self.options = source, grid, options
        self._outer = outer or (grid.start_ms, grid.end_ms)
        self._deadline = time.monotonic() + options.timeout_seconds if deadline is None else deadline

    def result(self, node: Node) -> Vector:
        """The instant vector of a whole query: no name that does not belong, no series without a value."""
        vector = without_names(self.vector(node))
        return [series for series in vector if any(value is not None for value in series.values)]

    def vector(self, node: Node) -> Vector:
        """Evaluate an expression of type instant vector."""
        self._check()
        match node:
            case Selector():
                return self._select(node, want_time=False)
            case Call():
                return self._named(self._call(node))
            case Aggregate():
                return self._named(self._aggregate(node))
            case Binary():
                return self._named(self._binary(node))
            case Negation():
                return self._named(
                    [
                        Series(
                            item.labels, [None if value is None else -value for value in item.values], drop_name=True
                        )
                        for item in self.vector(node.expression)
                    ]
                )
        raise EvaluationError(f"expected an instant vector, got a {kind(node)}")

    def scalar(self, node: Node) -> list[float]:
        """Evaluate an expression of type scalar."""
        match node:
            case Number():
                return [node.value] * len(self.grid)
            case Call() if node.name in SCALAR_FUNCTIONS:
                return SCALAR_FUNCTIONS[node.name](self, node)
            case Binary():
                return binary.scalars(node.op, self.scalar(node.left), self.scalar(node.right))
            case Negation():
                return [-value for value in self.scalar(node.expression)]
        raise EvaluationError(f"expected a scalar, got a {kind(node)}")

    def matrix(self, node: Node) -> list[Samples]:
        """Evaluate a range selector or subquery at the first step: the raw samples of its window."""
        if not isinstance(node, Selector | Subquery):
            raise EvaluationError(f"expected a range vector, got a {kind(node)}")
        ends = self._lookup_times(node.at, node.offset_ms)
        out: list[Samples] = []
        bounds = selectors.WindowBounds(node.range_ms, ends[:1])
        for samples in self._range_samples(node, ends):
            window = selectors.Window(samples)
            low, high = bounds.of(window.times)[0]
            if high > low:
                kept = slice(low, high)
                out.append(Samples(samples.labels, window.times[kept], window.values[kept], samples.drop_name))
        return out

    def sample_times(self, selector: Selector) -> Vector:
        """The time in seconds of the sample that the selector finds at each step."""
        return self._select(selector, want_time=True)

    def _named(self, vector: Vector) -> Vector:
        return vector if self.options.delayed_name_removal else without_names(vector)

    def _check(self, series: int = 0) -> None:
        if time.monotonic() > self._deadline:
            raise QueryTimeoutError("query timed out in expression evaluation")
        if series * len(self.grid) > _MAX_VALUES:
            raise EvaluationError("query processing would load too many samples into memory in query execution")

    def _lookup_times(self, at: At, offset_ms: int) -> Sequence[int]:
        """The time each step looks at."""
        if at is None:
            return [now - offset_ms for now in self.grid.times_ms]
        start, end = self._outer
        fixed = {"start": start, "end": end}[at] if isinstance(at, str) else at
        return [fixed - offset_ms] * len(self.grid)

    def _select(self, selector: Selector, *, want_time: bool) -> Vector:
        at_ms = self._lookup_times(selector.at, selector.offset_ms)
        lookback_ms = self.options.lookback_ms
        vector: Vector = []
        for samples in self.source.read(selector.matchers, at_ms[0] - lookback_ms + 1, at_ms[-1]):
            values = selectors.latest(samples, at_ms, lookback_ms, want_time=want_time)
            if any(value is not None for value in values):
                vector.append(Series(samples.labels, values))
            self._check(len(vector))
        return vector

    def _call(self, node: Call) -> Vector:
        if node.name in VECTOR_FUNCTIONS:
            return VECTOR_FUNCTIONS[node.name](self, node)
        if node.name == "absent_over_time":
            present = self._over_windows("present_over_time", node.arguments)
            return absent_series(node.arguments[0], present, len(self.grid))
        return self._over_windows(node.name, node.arguments)

    def _over_windows(self, name: str, arguments: Sequence[Node]) -> Vector:
        """A function of a range vector, at every step and for every series."""
        ranged = next(node for node in arguments if isinstance(node, Selector | Subquery))
        scalars = [self.scalar(node) for node in arguments if node is not ranged]
        arguments_at = list(zip(*scalars, strict=True)) if scalars else [()] * len(self.grid)
        function = RANGE_FUNCTIONS[name]
        ends = self._lookup_times(ranged.at, ranged.offset_ms)
        steps = list(zip(ends, self.grid.times_ms, arguments_at, strict=True))
        bounds = selectors.WindowBounds(ranged.range_ms, ends)
        out: Vector = []
        for samples in self._range_samples(ranged, ends):
            window = selectors.Window(samples)
            values: Values = []
            for (low, high), (end, now, given) in zip(bounds.of(window.times), steps, strict=True):
                if high <= low:
                    values.append(None)
                    continue
                window.low, window.high = low, high
                window.start_ms, window.end_ms, window.now_ms = end - ranged.range_ms, end, now
                values.append(function(window, given))
            if any(value is not None for value in values):
                out.append(Series(samples.labels, values, samples.drop_name or name not in KEEPS_NAME))
            self._check(len(out))
        return out

    def _range_samples(self, node: Selector | Subquery, ends: Sequence[int]) -> Iterator[Samples]:
        if isinstance(node, Selector):
            yield from self.source.read(node.matchers, ends[0] - node.range_ms + 1, ends[-1])
            return
        step_ms = node.step_ms or self.options.default_step_ms
        # The steps of a subquery are multiples of its step, whatever the time of the outer query.
        first = (ends[0] - node.range_ms) // step_ms * step_ms + step_ms
        grid = Grid(first, ends[-1], step_ms)
        if not len(grid):
            return
        inner = Evaluation(self.source, grid, self.options, outer=self._outer, deadline=self._deadline)
        for series in inner.points(node.expression):
            kept = [(now, value) for now, value in zip(grid.times_ms, series.values, strict=True) if value is not None]
            yield Samples(series.labels, [now for now, _ in kept], [value for _, value in kept], series.drop_name)

    def points(self, node: Node) -> Vector:
        """A vector as it is, or a scalar as one series without labels."""
        if kind(node) == "scalar":
            return [Series((), list(self.scalar(node)))]
        return self.vector(node)

    def _aggregate(self, node: Aggregate) -> Vector:
        label, parameters = "", [0.0] * len(self.grid)
        if isinstance(node.parameter, Text):
            label = node.parameter.value
        elif node.parameter is not None:
            parameters = self.scalar(node.parameter)
        return aggregate(node, self.vector(node.expression), parameters, label)

    def _binary(self, node: Binary) -> Vector:
        left_kind, right_kind = kind(node.left), kind(node.right)
        if left_kind == "scalar":
            return binary.vector_and_scalar(node, self.vector(node.right), self.scalar(node.left), swapped=True)
        if right_kind == "scalar":
            return binary.vector_and_scalar(node, self.vector(node.left), self.scalar(node.right), swapped=False)
        left, right = self.vector(node.left), self.vector(node.right)
        if node.op in binary.SET_OPERATORS:
            return binary.set_operation(node, left, right, len(self.grid))
        return binary.vectors(node, left, right, len(self.grid))
