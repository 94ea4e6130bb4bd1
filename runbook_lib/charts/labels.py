"""Where the labels of marks go, so that none touches another."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from runbook_lib.charts.plot import Mark
from runbook_lib.charts.raster import fitted, text_width

SIZE = 12
#: Rows of labels above the panels; marks without room in any of them are counted instead.
ROWS = 3
_GAP, _SIGN_HALF = 6, 5


@dataclass(frozen=True, slots=True)
class Placed:
    """A label and its place.

    Args:
        mark: what it belongs to.
        row: its row, from the top.
        x: where it begins, or ends with ``anchor`` ``end``.
        anchor: ``start``, or ``end`` for a label on the left of its mark.
        text: the label with the mark's sign on the side of the mark.
    """

    mark: Mark
    row: int
    x: float
    anchor: str
    text: str


def placed(marks: Iterable[Mark], x_of: Callable[[float], float], width: float) -> list[Placed]:
    """A place for as many labels as fit, in the order of time.

    Args:
        marks: the marks.
        x_of: epoch seconds to position.
        width: of the picture.
    """
    taken = [0.0] * ROWS
    found = []
    for mark in sorted(marks, key=lambda one: one.time):
        x = x_of(mark.time)
        right = width - x >= x
        text = fitted(mark.label, SIZE, (width - x if right else x) - 30)
        needed = text_width(f"{mark.sign} {text}", SIZE)
        fits_right = x - _SIGN_HALF + needed <= width - 4
        start = x - _SIGN_HALF if fits_right else x + _SIGN_HALF - needed
        row = next((i for i, end in enumerate(taken) if end <= start), None)
        if row is None:
            continue
        taken[row] = start + needed + _GAP
        if fits_right:
            found.append(Placed(mark, row, start, "start", f"{mark.sign} {text}"))
        else:
            found.append(Placed(mark, row, x + _SIGN_HALF, "end", f"{text} {mark.sign}"))
    return found
