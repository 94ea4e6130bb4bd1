"""Series as one line of text."""

from __future__ import annotations

import math

from runbook_lib.charts.timeline import names
from runbook_lib.model import Evidence, Gap, Series
from runbook_lib.model.units import format_value

_BARS = "▁▂▃▄▅▆▇█"


def sparkline(evidence: Evidence | Gap, columns: int = 40) -> str:
    """The highest series as bars from zero, with its last and highest value; a column without data stays empty.

    Args:
        evidence: series, or a gap, which gives ``no data`` with its reason.
        columns: letters to draw with; every column shows the highest value in it.
    """
    if isinstance(evidence, Gap):
        return str(evidence)
    alive = [(name, one) for name, one in names(evidence) if one.maximum is not None]
    if not alive:
        return f"no data: {evidence.title} ({evidence.source}: no sample in the window)"
    _, series = max(alive, key=lambda pair: pair[1].maximum or 0)
    numbers = f"now {format_value(series.last, evidence.unit)}, highest {format_value(series.maximum, evidence.unit)}"
    return f"{_bars(series, columns)} {numbers}"


def _bars(series: Series, columns: int) -> str:
    first, last = series.times[0], series.times[-1]
    width = (last - first) / columns or 1
    highest: list[float] = [-math.inf] * columns
    for time, value in series.points():
        column = min(int((time - first) / width), columns - 1)
        highest[column] = max(highest[column], value)
    top = max(highest)
    if top <= 0:
        return "".join(" " if value == -math.inf else _BARS[0] for value in highest)
    return "".join(" " if value == -math.inf else _BARS[min(int(max(value, 0) / top * 8), 7)] for value in highest)
