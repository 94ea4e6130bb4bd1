"""Quantities beside each other: the top rows of a table, and connections against their limit."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from runbook_lib.charts.chart import Chart
from runbook_lib.charts.figure import CONFIG, base_layout, plain
from runbook_lib.charts.plot import FAINT, LIMIT_COLOUR, SERIES_COLOURS
from runbook_lib.charts.raster import fitted, text_width
from runbook_lib.charts.svg import WIDTH, document, element, label
from runbook_lib.charts.timeline import names
from runbook_lib.model import Evidence, Gap
from runbook_lib.model.units import format_value

# Shares of a connection limit at which people are warned by convention; there is no authoritative source.
WARNING_SHARE, CRITICAL_SHARE = 0.8, 0.9
_AMBER = "#E69F00"
_LEFT, _TRACK, _STEP = 14, 532, 44


@dataclass(frozen=True, slots=True)
class Bar:
    """One quantity.

    Args:
        name: what it belongs to.
        value: how much, not negative.
        text: the number as a person reads it, with its unit.
        full: the limit that ``value`` is a share of; None when it is only compared with the other bars.
        held: whether it is warned of near the limit; a part of a whole is not.
    """

    name: str
    value: float
    text: str
    full: float | None = None
    held: bool = True

    @property
    def sign(self) -> str:
        """``!`` and ``✕`` beyond the two shares of the limit; the word beside the colour."""
        share = self.value / self.full if self.full and self.held else 0
        return " ✕" if share >= CRITICAL_SHARE else " !" if share >= WARNING_SHARE else ""

    @property
    def colour(self) -> str:
        """Blue, amber from the warning share on, vermilion from the critical one on."""
        return {" ✕": LIMIT_COLOUR, " !": _AMBER, "": SERIES_COLOURS[0]}[self.sign]


def top(evidence: Evidence | Gap, *, label: str, value: str, count: int = 10, title: str = "") -> Chart:
    """The rows of a table with the largest values, largest first.

    Args:
        evidence: a table.
        label: the column that names a row.
        value: the numeric column, in the unit of the evidence.
        count: most rows to draw.
        title: heading; the question's title when empty.
    """
    if isinstance(evidence, Gap):
        return _chart(title or evidence.title, [], f"no data: {evidence.source}: {evidence.reason}")
    numbers = [(str(r.get(label)), v) for r in evidence.table.records() if (v := _number(r.get(value))) is not None]
    if not numbers:
        return _chart(title or evidence.title, [], f"no data: {evidence.source}: no row has a number in {value!r}")
    ranked = sorted(numbers, key=lambda pair: -pair[1])
    shown = [Bar(name, amount, format_value(amount, evidence.unit)) for name, amount in ranked[:count]]
    more = f"; {len(ranked) - count} smaller rows are not drawn" if len(ranked) > count else ""
    return _chart(title or evidence.title, shown, more)


def connections(*evidence: Evidence | Gap, title: str = "Connections") -> Chart:
    """Connections in use, held against their limit where one is known.

    Args:
        evidence: any of: a document with ``used`` and ``usable`` or ``max`` (a server's saturation), a table with a
            ``state`` column (a server's sessions, counted by state), series of the ratio used / max (pools) or of
            connections in use, whose newest values are drawn.
        title: heading.
    """
    limit = next((full for one in evidence if isinstance(one, Evidence) and (full := _limit(one))), None)
    bars = [bar for one in evidence if isinstance(one, Evidence) for bar in _connection_bars(one, limit)]
    lost = [f"{one.source}: {one.reason}" for one in evidence if isinstance(one, Gap)]
    note = f"no data: {'; '.join(lost)}" if lost else ""
    if bars:
        return _chart(title, bars, f"; {note}" if note else "")
    return _chart(title, [], note or "no data: the answer holds no connections")


def _limit(one: Evidence) -> float | None:
    return next((v for key in ("usable", "max_connections", "max") if (v := _number(one.document.get(key)))), None)


def _connection_bars(one: Evidence, limit: float | None) -> Iterable[Bar]:
    used, full = _number(one.document.get("used")), _limit(one)
    if used is not None:
        yield Bar(one.source, used, _of(used, full), full)
    elif one.document.get("refused") is True:
        # The server had no slot left even for the question: that is full, not unknown.
        yield Bar(one.source, 1, "all in use: the server refused one more", 1)
    if "state" in one.table.columns:
        counted: dict[str, int] = {}
        for row in one.table.records():
            state = str(row["state"] or "no state")
            counted[state] = counted.get(state, 0) + 1
        for state, count in sorted(counted.items(), key=lambda pair: -pair[1]):
            yield Bar(state, count, _of(count, limit), limit, held=False)
    for name, series in names(one):
        if series.last is not None and one.unit == "ratio":
            yield Bar(name, series.last, f"{format_value(series.last, 'ratio')} in use", 1.0)
        elif series.last is not None:
            whose = name if one.source in name.casefold() else f"{name} ({one.source})"
            yield Bar(whose, series.last, _of(series.last, limit), limit)


def _of(used: float, full: float | None) -> str:
    told = format_value(used, "count")
    return f"{told} of {format_value(full, 'count')} ({format_value(used / full, 'ratio')})" if full else told


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return max(float(value), 0.0)


def _chart(title: str, bars: Sequence[Bar], rest: str) -> Chart:
    """A chart of the bars; ``rest`` ends the sentence, or stands in the picture when there is no bar."""
    told = ", ".join(f"{bar.name} {bar.text}{bar.sign}" for bar in bars)
    sentence = f"{title}: {told}{rest}." if bars else f"{title}: {rest}."
    return Chart(title, sentence, _svg(title, bars, rest, sentence), _figure(title, bars, rest))


def _shares(bars: Sequence[Bar]) -> list[float]:
    largest = max((bar.value for bar in bars if not bar.full), default=0) or 1
    return [min(bar.value / (bar.full or largest), 1.0) for bar in bars]


def _svg(title: str, bars: Sequence[Bar], rest: str, sentence: str) -> str:
    body = [label(10, 22, fitted(title, 15, WIDTH - 20), size=15)]
    if not bars:
        body.append(element("rect", x=_LEFT, y=36, width=_TRACK, height=60, fill="#F4F4F4"))
        body.append(label(WIDTH / 2, 70, fitted(rest, 13, _TRACK - 20), anchor="middle"))
        return document(108, body, sentence)
    for number, (bar, share) in enumerate(zip(bars, _shares(bars), strict=True)):
        y = 36 + _STEP * number
        text = bar.text + bar.sign
        room = _TRACK - text_width(text, 13) - 10
        body += [
            label(_LEFT, y + 12, fitted(bar.name, 13, room)),
            label(_LEFT + _TRACK, y + 12, text, anchor="end"),
            element("rect", x=_LEFT, y=y + 18, width=_TRACK, height=14, fill="#EFEFEF"),
            element("rect", x=_LEFT, y=y + 18, width=max(share * _TRACK, 1), height=14, fill=bar.colour),
        ]
        for limit in (WARNING_SHARE, CRITICAL_SHARE) if bar.full and bar.held else ():
            body.append(element("path", d=f"M{_LEFT + _TRACK * limit:g} {y + 16}v18", stroke=FAINT, stroke_width=1.5))
    bottom = 36 + _STEP * len(bars)
    if any(bar.full for bar in bars):
        legend = f"ticks: warning {WARNING_SHARE:.0%}, critical {CRITICAL_SHARE:.0%} of the limit"
        body.append(label(_LEFT, bottom + 8, legend, size=12, fill=FAINT))
        bottom += 18
    return document(bottom + 4, body, sentence)


def _figure(title: str, bars: Sequence[Bar], rest: str) -> dict[str, Any]:
    layout = base_layout(title, 120 + 40 * max(len(bars), 1))
    layout |= {"hovermode": "closest", "bargap": 0.4, "margin": {"l": 20, "r": 20, "t": 60, "b": 30}}
    layout["xaxis"] = {"visible": False, "range": [0, 1]}
    layout["yaxis"] = {"autorange": "reversed", "automargin": True, "type": "category"}
    if not bars:
        note = {"text": plain(rest), "showarrow": False, "x": 0.5, "y": 0.5, "xref": "paper", "yref": "paper"}
        return {"data": [], "layout": {**layout, "annotations": [note]}, "config": dict(CONFIG)}
    shares = [round(share, 4) for share in _shares(bars)]
    trace = {
        "type": "bar",
        "orientation": "h",
        "x": shares,
        "y": [plain(bar.name) for bar in bars],
        "text": [plain(bar.text + bar.sign) for bar in bars],
        "textposition": "auto",
        "hoverinfo": "y+text",
        "marker": {"color": [bar.colour for bar in bars]},
    }
    if any(bar.full for bar in bars):
        at = (WARNING_SHARE, CRITICAL_SHARE)
        style = {"color": FAINT, "dash": "dash", "width": 1}
        layout["shapes"] = [
            {"type": "line", "x0": x, "x1": x, "y0": 0, "y1": 1, "yref": "paper", "line": style} for x in at
        ]
    return {"data": [trace], "layout": layout, "config": dict(CONFIG)}
