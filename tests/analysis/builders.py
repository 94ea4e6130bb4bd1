"""Synthetic evidence for the analyses: every value is in the test, nothing is read from anywhere."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from runbook_lib.model import Evidence, Gap, Objective, Series, Table, Window
from runbook_lib.model.evidence import Data, Scalar

END = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
#: Length and step of the usual window, seconds.
LENGTH, STEP = 3600, 15
LATENCY = Objective("latency", "latency", 0.95, 0.2, 30)
AVAILABILITY = Objective("availability", "availability", 0.999, None, 30)
TITLES = {"latency_seconds": "Request latency", "requests_per_second": "Requests per second"}


def evidence(source: str, name: str, data: Data, unit: str = "", *, windowed: bool = True) -> Evidence:
    """Evidence of the given data at ``END``."""
    window = Window(END - timedelta(seconds=LENGTH), END) if windowed else None
    return Evidence(source, name, TITLES.get(name, name), unit, f"query {name}", {}, window, END, data)


def gap(source: str, name: str, kind: str = "unreachable", *, needed: bool = True) -> Gap:
    """A source that did not answer."""
    return Gap(source, name, name, "connection refused", kind, needed, END)


def line(
    before: float, after: float | None = None, *, ago: float = 300, noise: float = 0.1, seed: int = 1
) -> list[tuple[float, float]]:
    """A level, from ``ago`` seconds before the end on another one, each sample with lognormal noise."""
    rng, end = random.Random(seed), END.timestamp()
    times = [end - LENGTH + STEP * (i + 1) for i in range(LENGTH // STEP)]

    def level(t: float) -> float:
        return before if after is None or t < end - ago else after

    return [(t, level(t) * math.exp(rng.gauss(0, noise))) for t in times]


def series(name: str, unit: str, lines: Mapping[str, Iterable[tuple[float, float]]], label: str = "pod") -> Evidence:
    """Prometheus evidence of one series for each value of ``label``; an empty value has no label."""
    data = tuple(Series.of(points, {label: value} if value else {}) for value, points in lines.items())
    return evidence("prometheus", name, data, unit)


def latency(points: Iterable[tuple[float, float]]) -> Evidence:
    """The p95 of latency."""
    return series("latency_seconds", "s", {"": points})


def traffic(points: Iterable[tuple[float, float]]) -> Evidence:
    """Requests per second."""
    return series("requests_per_second", "1/s", {"": points})


def table(source: str, name: str, rows: Iterable[Mapping[str, Scalar]]) -> Evidence:
    """A table whose columns are all keys of its rows."""
    records = list(rows)
    columns = list(dict.fromkeys(key for row in records for key in row))
    return evidence(source, name, Table.of(records, columns), windowed=False)


def document(source: str, name: str, **fields: Any) -> Evidence:
    """A document."""
    return evidence(source, name, fields, windowed=False)


def mapped(given: Evidence, change: Callable[[float, float], tuple[float, float]]) -> Evidence:
    """The same series with every sample changed."""
    data = tuple(
        Series.of((change(t, v) for t, v in zip(one.times, one.values, strict=True)), one.labels)
        for one in given.series
    )
    return Evidence(
        given.source,
        given.name,
        given.title,
        given.unit,
        given.query,
        given.parameters,
        given.window,
        given.read_at,
        data,
    )
