"""Evidence with a known shape that several tests of the charts share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from runbook_lib.model import Evidence, Gap, Objective, Series, Window

END = datetime(2026, 3, 1, 3, 14, tzinfo=UTC)
WINDOW = Window.last(60, END)
START = WINDOW.start.timestamp()
Make = Callable[..., Evidence]


def evidence(data: Any, *, title: str = "p95 latency", unit: str = "s", source: str = "prometheus") -> Evidence:
    """Evidence over ``WINDOW`` with the given data."""
    return Evidence(source, "query", title, unit, "text", {}, WINDOW, END, data)


def line(values: Iterable[float], step_seconds: float = 15, labels: Mapping[str, str] | None = None) -> Series:
    """A series with one value each ``step_seconds`` from the start of ``WINDOW``."""
    return Series.of([(START + step_seconds * i, v) for i, v in enumerate(values)], labels)


@pytest.fixture
def objective() -> Objective:
    """p95 below 200 ms."""
    return Objective("latency", "latency", 0.95, 0.2, 30)


@pytest.fixture
def gap() -> Gap:
    """A source that refused the connection."""
    return Gap("prometheus", "latency_seconds", "p95 latency", "connection refused", "unreachable", True, END)
