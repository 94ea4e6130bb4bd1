"""A plot as SVG: hand-made, small, without style sheets or scripts, on a light ground."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable
from html import escape
from typing import Any

from runbook_lib.charts.axes import days, scale_for, tick_label, ticks, time_ticks
from runbook_lib.charts.labels import SIZE, Placed, placed
from runbook_lib.charts.lines import thin
from runbook_lib.charts.plot import FAINT, GRID, INK, LIMIT_COLOUR, Line, Mark, Panel, Plot
from runbook_lib.charts.raster import fitted, text_width

# 560 units wide with letters of 13 keep the text legible when a phone shows the picture at 360 points.
WIDTH = 560
LEFT, RIGHT = 58, 14
_PANEL_HEIGHT, _TWO_PANEL_HEIGHT = 190, 130
_ROW = 17
_HEADER = 34.0
_MESSAGE_HEIGHT = 90


def element(name: str, content: str = "", /, **attributes: Any) -> str:
    """One SVG element; ``_`` in attribute names stands for ``-``, and ``content`` is markup already."""
    written = "".join(f' {key.rstrip("_").replace("_", "-")}="{escape(_short(v))}"' for key, v in attributes.items())
    return f"<{name}{written}>{content}</{name}>" if content else f"<{name}{written}/>"


def label(x: float, y: float, content: str, *, size: float = 13, fill: str = INK, anchor: str = "start") -> str:
    """Text at a point."""
    return element("text", _text(content), x=x, y=y, font_size=size, fill=fill, text_anchor=anchor)


def document(height: float, body: Iterable[str], spoken: str) -> str:
    """A whole SVG document, ``WIDTH`` wide, with the sentence that a screen reader speaks."""
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {_short(height)}" width="{WIDTH}" '
        f'height="{_short(height)}" role="img" aria-label="{_text(spoken)}" '
        f'font-family="DejaVu Sans, Verdana, sans-serif">'
    )
    ground = element("rect", width=WIDTH, height=height, fill="#ffffff")
    return "\n".join((head, f"<title>{_text(spoken)}</title>", ground, *body, "</svg>"))


def draw(plot: Plot, spoken: str) -> str:
    """The plot as an SVG document.

    Args:
        plot: what to show.
        spoken: the sentence that says the same in words.
    """
    start, end = plot.window.start.timestamp(), plot.window.end.timestamp()

    def x_of(time: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (time - start) / (end - start)

    body = [label(10, 22, fitted(plot.title, 15, WIDTH - 20), size=15)]
    marks = [mark for mark in plot.marks if start <= mark.time <= end]
    shown = placed(marks, x_of, WIDTH)
    top = _HEADER + _ROW * (1 + max((one.row for one in shown), default=-1))
    height = _PANEL_HEIGHT if len(plot.panels) == 1 else _TWO_PANEL_HEIGHT
    first = top
    panels: list[str] = []
    for panel in plot.panels:
        # A heading that was given for the only panel takes the place of the panel's own.
        heading = panel.title if len(plot.panels) > 1 else ""
        drawn, top = _panel(panel, heading, top, height, x_of, (start, end))
        panels += drawn
    # Behind the panels, so that neither a line nor a message is struck through.
    body = [*body, *_mark_lines(shown, marks, first, top, x_of), *panels, *_mark_labels(shown, len(marks))]
    if not plot.timed:
        return document(top + 6, body, spoken)
    body += [label(x_of(t), top + 18, text, size=12, fill=FAINT, anchor="middle") for t, text in _visible(start, end)]
    date = days(plot.window.start, plot.window.end)
    body.append(label(WIDTH - RIGHT, top + 36, date, size=12, fill=FAINT, anchor="end"))
    return document(top + 44, body, spoken)


def _visible(start: float, end: float) -> list[tuple[float, str]]:
    # A label at the very edge would be cut off.
    room = (end - start) * 0.04
    return [(t, text) for t, text in time_ticks(start, end) if t - start > -room and end - t > room / 2]


def _panel(
    panel: Panel, title: str, top: float, height: float, x_of: Callable[[float], float], edges: tuple[float, float]
) -> tuple[list[str], float]:
    """One panel that begins at ``top``; gives its elements and where the next one begins."""
    largest = panel.largest
    scale = scale_for(panel.unit, largest)
    unit = "" if f" {scale.name} " in f" {title} " else scale.name
    heading = ", ".join(part for part in (title, unit) if part)
    body = [label(10, top + 13, fitted(heading, 13, WIDTH - 20))]
    top += 22
    if not panel.lines:
        return [*body, *_message(panel.message, top)], top + _MESSAGE_HEIGHT + 8
    if len(panel.lines) > 1:
        legend, rows = _legend(panel.lines, top)
        body += legend
        top += rows * _ROW + 4
    bottom = top + height
    rounds = ticks(largest * scale.factor * 1.04)

    def y_of(value: float) -> float:
        return bottom - (height - 6) * max(value, 0) * scale.factor / rounds[-1]

    body += _grid(rounds, scale.factor, y_of)
    holes = [(max(a, edges[0]), b) for a, b in panel.holes if b > edges[0]]
    body += [part for a, b in holes for part in _hole(x_of(a), x_of(b), top, bottom)]
    body += [_band(x_of(a), x_of(b), top, bottom, LIMIT_COLOUR, opacity=0.16) for a, b in panel.violations]
    body += [_path(line, x_of, y_of, edges) for line in panel.lines]
    for limit in panel.limits:
        y = y_of(limit.value)
        attributes: dict[str, Any] = {"stroke": limit.colour, "stroke_width": 1.6, "stroke_dasharray": "6 3"}
        body.append(element("path", d=f"M{LEFT} {_short(y)}H{WIDTH - RIGHT}", **attributes))
        body.append(_haloed(WIDTH - RIGHT - 3, y - 4 if y - top > 16 else y + 14, limit.label, limit.colour))
    return body, bottom + 8


def _hole(left: float, right: float, top: float, bottom: float) -> list[str]:
    parts = [_band(left, right, top, bottom, "#EFEFEF")]
    if right - left > 16:
        x, y = (left + right) / 2 + 4, (top + bottom) / 2
        turn = f"rotate(-90 {_short(x)} {_short(y)})"
        style: dict[str, Any] = {"font_size": 11, "fill": FAINT, "text_anchor": "middle"}
        parts.append(element("text", "no data", x=x, y=y, transform=turn, **style))
    return parts


def _grid(rounds: list[float], factor: float, y_of: Callable[[float], float]) -> list[str]:
    body = []
    for value in rounds:
        y = y_of(value / factor)
        body.append(element("path", d=f"M{LEFT} {_short(y)}H{WIDTH - RIGHT}", stroke=GRID, stroke_width=1))
        written = tick_label(value)
        body.append(label(LEFT - 6, y + 4, written, size=12 if len(written) < 7 else 9, fill=FAINT, anchor="end"))
    return body


def _band(left: float, right: float, top: float, bottom: float, fill: str, opacity: float = 1.0) -> str:
    # At least one unit wide: a short violation must not vanish.
    width = max(right - left, 1)
    return element("rect", x=left, y=top, width=width, height=bottom - top, fill=fill, fill_opacity=opacity)


def _path(
    line: Line, x_of: Callable[[float], float], y_of: Callable[[float], float], edges: tuple[float, float]
) -> str:
    pieces = []
    for run in line.runs:
        points = [f"{_short(x_of(t))} {_short(y_of(v))}" for t, v in thin(run, *edges, columns=WIDTH - LEFT - RIGHT)]
        # A single sample has no length; a round cap turns it into a dot.
        pieces.append("M" + "L".join(points) + ("h0" if len(points) == 1 else ""))
    dash = {"stroke_dasharray": line.dash[0]} if line.dash[0] else {}
    style: dict[str, Any] = {"fill": "none", "stroke": line.colour, "stroke_width": 2, "stroke_linejoin": "round"}
    return element("path", d="".join(pieces), stroke_linecap="round", **style, **dash)


def _legend(lines: Iterable[Line], top: float) -> tuple[list[str], int]:
    body, x, row = [], 10.0, 0
    for line in lines:
        name = fitted(line.name, 12, 240)
        width = 34 + text_width(name, 12) + 12
        if x > 10 and x + width > WIDTH:
            x, row = 10.0, row + 1
        y = top + row * _ROW + 9
        dash = {"stroke_dasharray": line.dash[0]} if line.dash[0] else {}
        body.append(element("path", d=f"M{_short(x)} {_short(y)}h26", stroke=line.colour, stroke_width=2.5, **dash))
        body.append(label(x + 31, y + 4, name, size=12))
        x += width
    return body, row + 1


def _mark_lines(
    shown: list[Placed], marks: list[Mark], top: float, bottom: float, x_of: Callable[[float], float]
) -> list[str]:
    rows = {id(one.mark): one.row for one in shown}
    lines = []
    for mark in marks:
        y = _HEADER + _ROW * (rows[id(mark)] + 1) - 3 if id(mark) in rows else top
        d = f"M{_short(x_of(mark.time))} {_short(float(y))}V{_short(bottom - 8)}"
        lines.append(element("path", d=d, stroke=FAINT, stroke_dasharray="3 3"))
    return lines


def _mark_labels(shown: list[Placed], count: int) -> list[str]:
    body = [_haloed(o.x, _HEADER + _ROW * o.row + 11, o.text, INK, size=SIZE, anchor=o.anchor) for o in shown]
    if len(shown) < count:
        left_out = f"{count - len(shown)} more marks"
        body.append(label(WIDTH - RIGHT, 20, left_out, size=11, fill=FAINT, anchor="end"))
    return body


def _haloed(x: float, y: float, content: str, fill: str, *, size: float = 12, anchor: str = "end") -> str:
    # A white rim keeps the label legible where a line runs behind it.
    style: dict[str, Any] = {
        "paint_order": "stroke",
        "stroke": "#ffffff",
        "stroke_width": 4,
        "stroke_linejoin": "round",
    }
    return element("text", escape(content), x=x, y=y, font_size=size, fill=fill, text_anchor=anchor, **style)


def _message(message: str, top: float) -> list[str]:
    frame = element(
        "rect", x=LEFT, y=top, width=WIDTH - LEFT - RIGHT, height=_MESSAGE_HEIGHT, fill="#F4F4F4", stroke=GRID
    )
    rows = textwrap.wrap(message, 58)[:4]
    begin = top + 5 + _MESSAGE_HEIGHT / 2 - 9 * (len(rows) - 1)
    return [frame, *(label((LEFT + WIDTH) / 2, begin + 18 * i, row, anchor="middle") for i, row in enumerate(rows))]


def _text(content: str) -> str:
    # Query text and log lines may hold control characters, which XML does not allow in any form.
    return escape("".join(c if c.isprintable() else " " for c in content))


def _short(value: object) -> str:
    return f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else str(value)
