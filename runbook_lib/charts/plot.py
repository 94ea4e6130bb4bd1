"""What a picture shows, before it is drawn: one description that the SVG and the plotly figure both follow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from runbook_lib.charts.lines import Run
from runbook_lib.model import Window

# Okabe and Ito's palette for colour-blind readers. Vermilion is kept for limits, so no series may look like one.
SERIES_COLOURS = ("#0072B2", "#009E73", "#E69F00", "#CC79A7", "#56B4E9", "#000000")
LIMIT_COLOUR = "#D55E00"
WARNING_COLOUR = "#B8860B"
INK, FAINT, GRID = "#222222", "#595959", "#DDDDDD"

#: One dash per series, so that a grey print still tells them apart: SVG ``stroke-dasharray``, plotly's own word.
DASHES = (
    ("", "solid"),
    ("8 4", "dash"),
    ("2 3", "dot"),
    ("8 3 2 3", "dashdot"),
    ("14 4", "longdash"),
    ("14 3 2 3", "longdashdot"),
)
#: More lines than this cannot be told apart; the sentence says how many are left out.
MAX_LINES = len(SERIES_COLOURS)


@dataclass(frozen=True, slots=True)
class Line:
    """One series as it is drawn.

    Args:
        name: what the legend calls it.
        runs: unbroken stretches of samples; a line is never drawn across a hole.
        rank: index of its colour and dash.
    """

    name: str
    runs: tuple[Run, ...]
    rank: int = 0

    @property
    def colour(self) -> str:
        """Its colour."""
        return SERIES_COLOURS[self.rank % len(SERIES_COLOURS)]

    @property
    def dash(self) -> tuple[str, str]:
        """Its dash, for SVG and for plotly."""
        return DASHES[self.rank % len(DASHES)]


@dataclass(frozen=True, slots=True)
class Limit:
    """A horizontal line that values are held against, in the unit of its panel."""

    value: float
    label: str
    colour: str = LIMIT_COLOUR


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that happened at one moment.

    Args:
        time: epoch seconds.
        label: what the picture says about it.
        sign: one character that tells its kind without colour.
    """

    time: float
    label: str
    sign: str = "▲"


@dataclass(frozen=True, slots=True)
class Panel:
    """One pair of axes.

    Args:
        title: what is measured.
        unit: unit of the values, see ``model.units.UNITS``.
        lines: what is drawn.
        limits: what it is held against.
        violations: ``(start, end)`` in epoch seconds where a line is beyond the first limit.
        holes: ``(start, end)`` in epoch seconds where no line has data.
        message: shown in place of the lines when there are none.
    """

    title: str
    unit: str
    lines: tuple[Line, ...] = ()
    limits: tuple[Limit, ...] = ()
    violations: tuple[tuple[float, float], ...] = ()
    holes: tuple[tuple[float, float], ...] = ()
    message: str = ""

    @property
    def largest(self) -> float:
        """The largest value or limit, which the axis must reach."""
        values = [v for line in self.lines for run in line.runs for _, v in run]
        return max([*values, *(limit.value for limit in self.limits)], default=1)


@dataclass(frozen=True, slots=True)
class Plot:
    """Panels above each other over one window, with the marks that run through all of them.

    Args:
        title: heading.
        window: the time axis.
        panels: from the top.
        marks: what happened.
        timed: whether anything is known about time; a picture of gaps alone has no axis to show.
    """

    title: str
    window: Window
    panels: Sequence[Panel]
    marks: Sequence[Mark] = ()
    timed: bool = True
