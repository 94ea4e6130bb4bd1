"""The picture of a number that is being watched: small enough to be sent four times a second."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from datetime import datetime
from html import escape

from runbook_lib.charts.axes import scale_for, tick_label, ticks
from runbook_lib.charts.lines import Run, runs
from runbook_lib.charts.plot import FAINT, GRID, INK, SERIES_COLOURS
from runbook_lib.charts.svg import element, label
from runbook_lib.charts.timeline import names, objective_limit
from runbook_lib.model import Evidence, Gap, Objective
from runbook_lib.model.times import clock
from runbook_lib.model.units import format_value

#: How much of the past a live picture shows, seconds.
SHOWN_SECONDS = 300.0
_WIDTH, _HEIGHT = 480, 132
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 476, 24, 114
#: Points of all lines together: more would make an update larger than 3 KB.
_POINTS = 72
_LINES = 4
#: Letters of the headline that fit into the width.
_LETTERS = 74
# The colour of limits, darkened until small letters of it can be read on white.
_BAD = "#A33C00"


def live_sentence(evidence: Evidence | Gap, objective: Objective | None = None) -> str:
    """The newest number in words, with what it must stay below."""
    told = _told(evidence, objective)
    read = isinstance(evidence, Evidence) and evidence.latest.value is not None
    return f"{told} (read {clock(evidence.read_at)} UTC)" if read else told


def _told(evidence: Evidence | Gap, objective: Objective | None) -> str:
    """The same without the time of the reading."""
    if isinstance(evidence, Gap):
        return str(evidence)
    limits = objective_limit(objective, evidence.unit)
    now = evidence.latest
    if now.value is None:
        return f"no data: {evidence.title} ({evidence.source}: no sample in the window)"
    limit = f", {limits[0].label}" if limits else ""
    return f"{evidence.title}: now {_each(evidence) or now}{limit}"


def _each(evidence: Evidence) -> str:
    """The newest number of each line with its name; empty unless there are a few lines."""
    if not 1 < len(evidence.series) <= _LINES:
        return ""
    ends = [(name, max(one.points(), default=(0.0, None))) for name, one in names(evidence)]
    newest = max(at for _, (at, _) in ends)
    return ", ".join(f"{name} {format_value(v, evidence.unit)}" for name, (at, v) in ends if at == newest)


def live_svg(evidence: Evidence | Gap, now: datetime, objective: Objective | None = None) -> str:
    """The last minutes of a number as a small SVG document.

    Args:
        evidence: the newest reading; a gap is drawn as its reason, never as a line.
        now: the right edge of the picture.
        objective: drawn as a line where its unit fits.
    """
    sentence = live_sentence(evidence, objective)
    end = now.timestamp()
    start = end - SHOWN_SECONDS
    drawn = [] if isinstance(evidence, Gap) else _drawn(evidence, start, end)
    colour = _BAD if isinstance(evidence, Evidence) and _beyond(evidence, objective) else INK
    # The time of the reading goes first where room is short: the right edge tells it, too.
    headline = sentence if len(sentence) <= _LETTERS else _told(evidence, objective)[:_LETTERS]
    body = [label(6, 15, headline, size=11, fill=colour)]
    if isinstance(evidence, Gap) or not drawn:
        body.append(label((_LEFT + _RIGHT) / 2, 70, "no data", size=14, fill=FAINT, anchor="middle"))
    else:
        body += _plot(evidence.unit, drawn, objective, start)
    minutes = f"{SHOWN_SECONDS / 60:.0f} min ago"
    body += [
        label(_LEFT, 128, minutes, size=10, fill=FAINT),
        label(_RIGHT, 128, clock(now), size=10, fill=FAINT, anchor="end"),
    ]
    ground = element("rect", width=_WIDTH, height=_HEIGHT, fill="#fff")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" '
        f'height="{_HEIGHT}" font-family="sans-serif">{ground}{"".join(body)}</svg>'
    )


def live_address(svg: str) -> str:
    """A picture as the address of an ``img`` element: shown also where scripts and markup are not trusted."""
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()


def live_html(svg: str, sentence: str) -> str:
    """The picture as an ``img`` element, spoken by its sentence."""
    return f'<img src="{live_address(svg)}" alt="{escape(sentence)}" width="{_WIDTH}" height="{_HEIGHT}">'


def _beyond(evidence: Evidence, objective: Objective | None) -> bool:
    limits, now = objective_limit(objective, evidence.unit), evidence.latest.value
    return bool(limits) and now is not None and now > limits[0].value


def _drawn(evidence: Evidence, start: float, end: float) -> list[list[Run]]:
    highest = sorted(evidence.series, key=lambda one: -(one.maximum or 0))[:_LINES]
    found = [list(runs(one, start, end)) for one in highest]
    alive = [one for one in found if one]
    columns = max(_POINTS // max(len(alive), 1), 2)
    return [[_thinned(run, start, end, columns) for run in one] for one in alive]


def _thinned(run: Run, start: float, end: float, columns: int) -> Run:
    """The highest point of each column: what a person watches for."""
    width = (end - start) / columns
    highest: dict[int, tuple[float, float]] = {}
    for time, value in run:
        column = int((time - start) / width)
        if column not in highest or value > highest[column][1]:
            highest[column] = (time, value)
    return tuple(highest.values())


def _plot(unit: str, drawn: Sequence[Sequence[Run]], objective: Objective | None, start: float) -> list[str]:
    limits = objective_limit(objective, unit)
    largest = max([v for one in drawn for run in one for _, v in run] + [limit.value for limit in limits])
    scale = scale_for(unit, largest)
    rounds = ticks(largest * scale.factor * 1.04, 2)

    def y_of(value: float) -> int:
        return round(_BOTTOM - (_BOTTOM - _TOP) * max(value, 0) * scale.factor / rounds[-1])

    body = []
    for value in rounds:
        y = y_of(value / scale.factor)
        body.append(element("path", d=f"M{_LEFT} {y}H{_RIGHT}", stroke=GRID))
        body.append(label(_LEFT - 4, y + 4, tick_label(value), size=10, fill=FAINT, anchor="end"))
    body.append(label(6, _TOP + 12, scale.name, size=10, fill=FAINT))
    for rank, one in enumerate(drawn):
        pieces = ("M" + "L".join(f"{_x(t, start)} {y_of(v)}" for t, v in run) for run in one)
        body.append(element("path", d="".join(pieces), fill="none", stroke=SERIES_COLOURS[rank], stroke_width=2))
    for limit in limits:
        y = y_of(limit.value)
        style = {"stroke": limit.colour, "stroke_dasharray": "6 3"}
        body.append(element("path", d=f"M{_LEFT} {y}H{_RIGHT}", **style))
        body.append(label(_RIGHT, y - 3, format_value(limit.value, unit), size=10, fill=limit.colour, anchor="end"))
    return body


def _x(time: float, start: float) -> int:
    return round(_LEFT + (_RIGHT - _LEFT) * (time - start) / SHOWN_SECONDS)
