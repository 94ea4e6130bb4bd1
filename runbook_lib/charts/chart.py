"""A chart: one bundle that every viewer can show something of."""

from __future__ import annotations

import base64
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from runbook_lib.charts.figure import MIME
from runbook_lib.charts.raster import ZOOM, png
from runbook_lib.charts.svg import WIDTH


@dataclass(frozen=True, eq=False)
class Chart:
    """A picture of evidence.

    A notebook front end zooms in the plotly figure, a static viewer shows the PNG, a terminal prints the sentence.

    Args:
        title: what it shows.
        sentence: the same in words, with the numbers and their units.
        svg: the picture as a whole SVG document.
        figure_json: the picture as a plotly figure, ``{data, layout, config}``; sharing is switched off.
    """

    title: str
    sentence: str
    svg: str
    figure_json: Mapping[str, Any]

    @cached_property
    def png(self) -> bytes:
        """The picture as PNG, drawn from the SVG without a browser."""
        return png(self.svg)

    def _repr_mimebundle_(
        self, include: Collection[str] | None = None, exclude: Collection[str] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        bundle = {
            MIME: dict(self.figure_json),
            "image/png": base64.b64encode(self.png).decode(),
            "text/plain": self.sentence,
        }
        chosen = {k: v for k, v in bundle.items() if (not include or k in include) and k not in (exclude or ())}
        width, height = (round(int.from_bytes(self.png[at : at + 4], "big") / ZOOM) for at in (16, 20))
        return chosen, {"image/png": {"alt": self.sentence, "width": min(width, WIDTH), "height": height}}

    def __str__(self) -> str:
        return self.sentence

    __repr__ = __str__
