"""The Prometheus HTTP API: parameters in, the documented JSON out."""

from __future__ import annotations

import contextlib
import datetime as dt
import math
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from runbook_lib.lab.metrics import labels as label_sets
from runbook_lib.lab.metrics.errors import QueryError
from runbook_lib.lab.metrics.labels import Labels, Matcher
from runbook_lib.lab.metrics.promql.evaluator import Evaluation, Options
from runbook_lib.lab.metrics.promql.floats import format_sample
from runbook_lib.lab.metrics.promql.nodes import Node, Text, kind
from runbook_lib.lab.metrics.promql.parse import parse, parse_selector
from runbook_lib.lab.metrics.promql.series import Grid
from runbook_lib.lab.metrics.store import Store

# The limit of the real server: more steps than a screen has pixels.
_MAX_STEPS = 11_000
_DURATION = re.compile(r"(?:(\d+)y)?(?:(\d+)w)?(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?(?:(\d+)ms)?")
_UNIT_MS = (365 * 86_400_000, 7 * 86_400_000, 86_400_000, 3_600_000, 60_000, 1000, 1)
# Without a start or an end, lists of series and labels cover all time.
_EVER = 2**62

Parameters = Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class Answer:
    """The ``data`` of a successful answer and the sentences beside it."""

    data: Any
    warnings: tuple[str, ...] = ()


class Api:
    """Answers queries and lists from a store.

    Args:
        store: the samples.
        options: how queries are evaluated.
        clock: seconds since the epoch; what "now" means when a request names no time.
    """

    def __init__(self, store: Store, options: Options, clock: Callable[[], float] = time.time) -> None:
        self.store, self.options, self.clock = store, options, clock

    def query(self, parameters: Parameters) -> Answer:
        """``/api/v1/query``: the value of an expression at one time."""
        now_ms = self._time(parameters, "time", round(self.clock() * 1000))
        node = parse(_one(parameters, "query"))
        evaluation = Evaluation(self.store, Grid(now_ms, now_ms, 1), self._options(parameters))
        return _limited(self._instant(evaluation, node, now_ms), parameters)

    def _instant(self, evaluation: Evaluation, node: Node, now_ms: int) -> Any:
        value_kind = kind(node)
        if isinstance(node, Text):
            return {"resultType": "string", "result": [_seconds(now_ms), node.value]}
        if value_kind == "scalar":
            return {"resultType": "scalar", "result": [_seconds(now_ms), format_sample(evaluation.scalar(node)[0])]}
        if value_kind == "matrix":
            return {
                "resultType": "matrix",
                "result": [
                    {"metric": dict(samples.labels), "values": _points(samples.times_ms, samples.values)}
                    for samples in evaluation.matrix(node)
                ],
            }
        result = [
            {"metric": dict(series.labels), "value": [_seconds(now_ms), format_sample(value)]}
            for series in evaluation.result(node)
            if (value := series.values[0]) is not None
        ]
        return {"resultType": "vector", "result": result}

    def query_range(self, parameters: Parameters) -> Answer:
        """``/api/v1/query_range``: the value of an expression at every step of an interval."""
        start_ms, end_ms = self._time(parameters, "start"), self._time(parameters, "end")
        if end_ms < start_ms:
            raise QueryError('invalid parameter "end": end timestamp must not be before start time')
        step_ms = parse_duration(_one(parameters, "step"), "step")
        if step_ms <= 0:
            raise QueryError('invalid parameter "step": zero or negative query resolution step widths')
        if (end_ms - start_ms) // step_ms > _MAX_STEPS:
            raise QueryError(
                "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution "
                "(?step=XX)"
            )
        node = parse(_one(parameters, "query"))
        if kind(node) not in {"scalar", "vector"}:
            raise QueryError(
                f"invalid expression type {kind(node)!r} for range query, must be Scalar or instant Vector"
            )
        grid = Grid(start_ms, end_ms, step_ms)
        evaluation = Evaluation(self.store, grid, self._options(parameters))
        vector = evaluation.points(node) if kind(node) == "scalar" else evaluation.result(node)
        result = [
            {"metric": dict(series.labels), "values": _points(grid.times_ms, series.values)}
            for series in sorted(vector, key=lambda series: series.labels)
        ]
        return _limited({"resultType": "matrix", "result": result}, parameters)

    def series(self, parameters: Parameters) -> Answer:
        """``/api/v1/series``: the label sets that match."""
        if not parameters.get("match[]"):
            raise QueryError("no match[] parameter provided")
        return _limited([dict(labels) for labels in sorted(self._matching(parameters))], parameters)

    def labels(self, parameters: Parameters) -> Answer:
        """``/api/v1/labels``: the names of labels."""
        names = {name for labels in self._matching(parameters) for name, _ in labels}
        return _limited(sorted(names), parameters)

    def label_values(self, name: str, parameters: Parameters) -> Answer:
        """``/api/v1/label/<name>/values``."""
        values = {label_sets.get(labels, name) for labels in self._matching(parameters)}
        return _limited(sorted(values - {""}), parameters)

    def metadata(self, parameters: Parameters) -> Answer:
        """``/api/v1/metadata``: type and help of each metric."""
        wanted = parameters.get("metric", [""])[0]
        known = dict(self.store.metadata)
        return Answer({name: [entry] for name, entry in known.items() if wanted in {"", name}})

    def _matching(self, parameters: Parameters) -> set[Labels]:
        start_ms, end_ms = self._time(parameters, "start", -_EVER), self._time(parameters, "end", _EVER)
        selectors: Iterable[tuple[Matcher, ...]] = [parse_selector(text) for text in parameters.get("match[]", ())]
        return {
            labels for matchers in (selectors or [()]) for labels in self.store.matching(matchers, start_ms, end_ms)
        }

    def _options(self, parameters: Parameters) -> Options:
        options = self.options
        if "lookback_delta" in parameters:
            options = replace(options, lookback_ms=parse_duration(_one(parameters, "lookback_delta"), "lookback_delta"))
        if "timeout" in parameters:
            seconds = parse_duration(_one(parameters, "timeout"), "timeout") / 1000
            options = replace(options, timeout_seconds=min(seconds, options.timeout_seconds))
        return options

    def _time(self, parameters: Parameters, name: str, default: int | None = None) -> int:
        if name not in parameters and default is not None:
            return default
        return parse_time(_one(parameters, name), name)


def _one(parameters: Parameters, name: str) -> str:
    values = parameters.get(name, ())
    return values[0] if values else ""


def parse_time(text: str, name: str) -> int:
    """A time as seconds since the epoch or RFC 3339.

    Returns:
        Milliseconds since the epoch.

    Raises:
        QueryError: neither of them.
    """
    with contextlib.suppress(ValueError, OverflowError):
        return round(float(text) * 1000)
    with contextlib.suppress(ValueError):
        moment = dt.datetime.fromisoformat(text)
        if moment.tzinfo is not None:
            return round(moment.timestamp() * 1000)
    raise QueryError(f'invalid parameter "{name}": cannot parse "{text}" to a valid timestamp')


def parse_duration(text: str, name: str) -> int:
    """A duration as seconds or such as ``1h30m``.

    Returns:
        Milliseconds.

    Raises:
        QueryError: neither of them.
    """
    try:
        seconds = float(text)
    except ValueError:
        match = _DURATION.fullmatch(text)
        if not match or not text:
            raise QueryError(f'invalid parameter "{name}": cannot parse "{text}" to a valid duration') from None
        return sum(int(count) * unit for count, unit in zip(match.groups(), _UNIT_MS, strict=True) if count)
    if not math.isfinite(seconds):
        raise QueryError(f'invalid parameter "{name}": cannot parse "{text}" to a valid duration')
    return round(seconds * 1000)


def _seconds(time_ms: int) -> float | int:
    return time_ms / 1000 if time_ms % 1000 else time_ms // 1000


def _points(times_ms: Iterable[int], values: Iterable[float | None]) -> list[list[Any]]:
    return [
        [_seconds(now), format_sample(value)] for now, value in zip(times_ms, values, strict=True) if value is not None
    ]


def _limited(data: Any, parameters: Parameters) -> Answer:
    """Apply the ``limit`` parameter; 0 and none mean no limit."""
    text = _one(parameters, "limit")
    if not text:
        return Answer(data)
    if not text.isdecimal():
        raise QueryError(f'invalid parameter "limit": cannot parse "{text}" to a number')
    limit = int(text)
    rows = data["result"] if isinstance(data, dict) else data
    if not limit or len(rows) <= limit or (isinstance(data, dict) and data["resultType"] in {"scalar", "string"}):
        return Answer(data)
    cut = {**data, "result": rows[:limit]} if isinstance(data, dict) else rows[:limit]
    return Answer(cut, ("results truncated due to limit",))
