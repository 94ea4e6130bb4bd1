"""A plot as a plotly figure in JSON, built without plotly: importing it takes longer than drawing."""

from __future__ import annotations

from typing import Any

from runbook_lib.charts.axes import Scale, scale_for
from runbook_lib.charts.lines import thin
from runbook_lib.charts.plot import FAINT, GRID, INK, LIMIT_COLOUR, Line, Panel, Plot
from runbook_lib.model.times import from_epoch

MIME = "application/vnd.plotly.v1+json"
#: Since version 7 plotly's tool bar offers to upload the data of a chart; evidence must not leave that way.
CONFIG = {"showSendToCloud": False, "plotlyServerURL": "", "displaylogo": False, "responsive": True}
# Columns of pixels of a wide screen; zooming further in than one column needs the evidence itself.
_COLUMNS = 600


def figure(plot: Plot, spoken: str) -> dict[str, Any]:
    """``{data, layout, config}`` of the plot; values are in the unit of their axis, times are UTC.

    Args:
        plot: what to show.
        spoken: the sentence below the title.
    """
    count = len(plot.panels)
    layout = base_layout(plot.title, 260 + 140 * (count - 1))
    layout["xaxis"] = _time_axis(plot, f"y{_suffix(count - 1)}")
    layout["meta"] = {"sentence": spoken}
    data: list[dict[str, Any]] = []
    shapes: list[dict[str, Any]] = []
    notes: list[dict[str, Any]] = []
    for index, panel in enumerate(plot.panels):
        scale = scale_for(panel.unit, panel.largest)
        layout[f"yaxis{_suffix(index)}"] = _value_axis(panel, scale, index, count)
        data += [_trace(line, plot, scale, index, shown=len(panel.lines) > 1) for line in panel.lines]
        _limits(panel, scale, index, shapes, notes)
        if not panel.lines:
            notes.append(_note(panel.message, x=0.5, xref="paper", y=0.5, yref=f"y{_suffix(index)} domain"))
    for number, mark in enumerate(plot.marks):
        moment = utc(mark.time)
        shapes.append(_shape("line", moment, moment, 0, 1, "paper", line={"color": FAINT, "dash": "dot", "width": 1}))
        # "auto" keeps a label inside at both edges; neighbours are put at different heights.
        place = {"x": moment, "xref": "x", "y": 1, "yref": "paper", "xanchor": "auto", "yshift": 14 * (number % 3)}
        notes.append(_note(f"{mark.sign} {mark.label}", **place))
    return {"data": data, "layout": {**layout, "shapes": shapes, "annotations": notes}, "config": dict(CONFIG)}


def utc(epoch_seconds: float) -> str:
    """A time as plotly reads it without moving it to another zone."""
    return f"{from_epoch(epoch_seconds):%Y-%m-%d %H:%M:%S.%f}"[:-3].removesuffix(".000")


def plain(text: str) -> str:
    """Text that plotly shows as it is: a ``<`` would open a tag of its own small markup."""
    return text.replace("&", "&amp;").replace("<", "&lt;")


def base_layout(title: str, height: int) -> dict[str, Any]:
    """The small layout that all figures share; the default template alone would be 7 kB a figure."""
    return {
        "template": {},
        "title": {"text": plain(title), "x": 0, "font": {"size": 16}},
        "font": {"color": INK, "size": 13},
        "height": height,
        "margin": {"l": 70, "r": 20, "t": 70, "b": 50},
        "paper_bgcolor": "#ffffff",
        "plot_bgcolor": "#ffffff",
        "hovermode": "x unified",
        "legend": {"orientation": "h", "y": -0.25},
    }


def _suffix(index: int) -> str:
    return "" if index == 0 else str(index + 1)


def _time_axis(plot: Plot, anchor: str) -> dict[str, Any]:
    edges = [utc(plot.window.start.timestamp()), utc(plot.window.end.timestamp())]
    return {
        "type": "date",
        "visible": plot.timed,
        "range": edges,
        "title": {"text": "UTC"},
        "anchor": anchor,
        "gridcolor": GRID,
    }


def _value_axis(panel: Panel, scale: Scale, index: int, count: int) -> dict[str, Any]:
    share = 1 / count
    top = 1 - index * share
    name = plain(f"{panel.title}, {scale.name}" if scale.name else panel.title)
    return {
        "title": {"text": name if count == 1 and len(name) < 40 else scale.name},
        "domain": [round(top - share * 0.82, 3), round(top, 3)] if count > 1 else [0, 1],
        "rangemode": "tozero",
        "gridcolor": GRID,
        "anchor": "x",
    }


def _trace(line: Line, plot: Plot, scale: Scale, index: int, *, shown: bool) -> dict[str, Any]:
    start, end = plot.window.start.timestamp(), plot.window.end.timestamp()
    times: list[str | None] = []
    values: list[float | None] = []
    for number, run in enumerate(line.runs):
        if number:
            # A null breaks the line; plotly would otherwise join the two sides of a hole.
            times.append(times[-1])
            values.append(None)
        for time, value in thin(run, start, end, _COLUMNS, corners=2):
            times.append(utc(time))
            values.append(float(f"{value * scale.factor:.6g}"))
    lone = any(len(run) == 1 for run in line.runs)
    return {
        "type": "scatter",
        "mode": "lines+markers" if lone else "lines",
        "name": plain(line.name),
        "x": times,
        "y": values,
        "xaxis": "x",
        "yaxis": f"y{_suffix(index)}",
        "showlegend": shown,
        "connectgaps": False,
        "line": {"color": line.colour, "dash": line.dash[1], "width": 2},
        "marker": {"size": 4},
        "hovertemplate": f"%{{y:.4g}} {scale.name}",
    }


def _limits(panel: Panel, scale: Scale, index: int, shapes: list[dict[str, Any]], notes: list[dict[str, Any]]) -> None:
    axis = f"y{_suffix(index)}"
    for left, right in panel.violations:
        shaded = {"fillcolor": LIMIT_COLOUR, "opacity": 0.16, "line": {"width": 0}, "layer": "below"}
        shapes.append(_shape("rect", utc(left), utc(right), 0, 1, f"{axis} domain", **shaded))
    for left, right in panel.holes:
        shaded = {"fillcolor": "#EFEFEF", "line": {"width": 0}, "layer": "below"}
        shapes.append(_shape("rect", utc(left), utc(right), 0, 1, f"{axis} domain", **shaded))
    for limit in panel.limits:
        y = limit.value * scale.factor
        style = {"color": limit.colour, "dash": "dash", "width": 2}
        shapes.append({**_shape("line", 0, 1, y, y, axis, line=style), "xref": "paper"})
        where = {"x": 1, "xref": "paper", "y": y, "yref": axis, "xanchor": "right"}
        notes.append(_note(limit.label, **where, font={"color": limit.colour}))


def _shape(kind: str, x0: object, x1: object, y0: float, y1: float, yref: str, **style: Any) -> dict[str, Any]:
    return {"type": kind, "xref": "x", "x0": x0, "x1": x1, "yref": yref, "y0": y0, "y1": y1, **style}


def _note(text: str, **place: Any) -> dict[str, Any]:
    return {"text": plain(text), "showarrow": False, "yanchor": "bottom", **place}
