"""Charts in words: the same numbers for a terminal, a screen reader and a chat message."""

from __future__ import annotations

from collections.abc import Sequence

from runbook_lib.charts.plot import Line, Mark, Panel, Plot
from runbook_lib.model import Evidence, Gap, Window
from runbook_lib.model.times import clock, duration, from_epoch
from runbook_lib.model.units import format_value

_MOST_MARKS = 4


def timeline_sentence(
    plot: Plot, window: Window, asked: Sequence[Evidence | Gap], marks: Sequence[Mark], lost: Sequence[Gap]
) -> str:
    """One sentence for each panel and one for the marks.

    Args:
        plot: what is drawn.
        window: what was asked about.
        asked: the questions behind it, for the count of series that are not drawn.
        marks: the marks inside the window.
        lost: marks that could not be read.
    """
    parts = [_panel(panel) for panel in plot.panels]
    drawn = sum(len(panel.lines) for panel in plot.panels)
    total = sum(1 for one in asked if isinstance(one, Evidence) for s in one.series if s.last is not None)
    if total > drawn:
        parts.append(f"{total - drawn} lower series are not drawn")
    if marks:
        named = [f"{mark.label} at {clock(from_epoch(mark.time))}" for mark in marks[-_MOST_MARKS:]]
        earlier = f" and {len(marks) - _MOST_MARKS} earlier" if len(marks) > _MOST_MARKS else ""
        parts.append(f"marked: {', '.join(named)}{earlier}")
    parts += [f"no marks for {gap.title} ({gap.source}: {gap.reason})" for gap in lost]
    told = "; ".join(parts) + "."
    return f"{told} Window {window}." if plot.timed else told


def _panel(panel: Panel) -> str:
    if not panel.lines:
        return f"{panel.title}: {panel.message}"
    points = [(v, t, line) for line in panel.lines for run in line.runs for t, v in run]
    high, high_time, high_line = max(points, key=lambda point: point[0])
    low = min(points, key=lambda point: point[0])[0]
    several = len(panel.lines) > 1
    whose = f" ({high_line.name})" if several else ""
    numbers = (
        f"{panel.title}: now {_now(panel.lines, panel.unit)}, "
        f"highest {format_value(high, panel.unit)}{whose} at {clock(from_epoch(high_time))}, "
        f"lowest {format_value(low, panel.unit)}"
    )
    return numbers + _held(panel) + _missing(panel)


def _now(lines: Sequence[Line], unit: str) -> str:
    last = [line.runs[-1][-1] for line in lines]
    newest = max(time for time, _ in last)
    current = [value for time, value in last if time == newest]
    if len(current) == 1:
        return format_value(current[0], unit)
    return f"{format_value(min(current), unit)} to {format_value(max(current), unit)} in {len(current)} series"


def _held(panel: Panel) -> str:
    if not panel.limits:
        return ""
    if not panel.violations:
        return f", never above the {panel.limits[0].label}"
    seconds = sum(end - start for start, end in panel.violations)
    since = clock(from_epoch(panel.violations[0][0]))
    return f", above the {panel.limits[0].label} for {duration(seconds)} in all, first at {since}"


def _missing(panel: Panel) -> str:
    if not panel.holes:
        return ""
    return f", no data for {duration(sum(end - start for start, end in panel.holes))} of it"
