"""SVG to PNG without a browser, with the same letters on every machine."""

from __future__ import annotations

import math
from importlib import resources

_FONT = resources.files("runbook_lib.charts") / "fonts" / "DejaVuSans-subset.ttf"
#: Pixels of the PNG for one unit of the SVG: letters stay sharp on a phone, and plotly's renderer in JupyterLab, which
#: shows the PNG first and pays no heed to its declared width, still shows the whole picture in a cell.
ZOOM = 1.5
# What the bundled subset can draw; a picture with any other letter also asks the fonts of the machine.
_COVERED = (
    (0x20, 0x7E),
    (0xA0, 0x17F),
    (0x391, 0x3C9),
    (0x2010, 0x2015),
    (0x2018, 0x201E),
    (0x2020, 0x2022),
    (0x2026, 0x2026),
    (0x2030, 0x2030),
    (0x2190, 0x2193),
    (0x2212, 0x2212),
    (0x221E, 0x221E),
    (0x2248, 0x2248),
    (0x2260, 0x2260),
    (0x2264, 0x2265),
    (0x25A0, 0x25A0),
    (0x25B2, 0x25B2),
    (0x25C6, 0x25C6),
    (0x25CF, 0x25CF),
    (0x2713, 0x2713),
    (0x2715, 0x2715),
)


def png(svg: str) -> bytes:
    """The picture as PNG, ``ZOOM`` pixels for one unit.

    The bundled font makes the text appear on a machine without any font. Looking through the machine's fonts
    takes longer than drawing, so it is done only for letters that the bundled font lacks.

    Args:
        svg: a whole SVG document.
    """
    import resvg_py

    drawn: bytes = resvg_py.svg_to_bytes(
        svg_string=svg,
        background="#ffffff",
        zoom=ZOOM,
        skip_system_fonts=covered(svg),
        font_files=[str(_FONT)],
        font_family="DejaVu Sans",
        sans_serif_family="DejaVu Sans",
    )
    return bytes(drawn)


def covered(text: str) -> bool:
    """Whether the bundled font can draw every letter of ``text``."""
    return all(any(low <= ord(c) <= high for low, high in _COVERED) for c in set(text) - {"\n"})


def text_width(text: str, size: float) -> float:
    """A width that ``text`` does not exceed at a font size of ``size``, in the unit of ``size``.

    0.64 em is the width of DejaVu's digits; its lower-case letters are narrower on average.
    """
    return math.ceil(0.64 * size * len(text))


def fitted(text: str, size: float, width: float) -> str:
    """``text``, cut with an ellipsis where it would be wider than ``width``."""
    room = max(int(width / (0.64 * size)), 1)
    return text if len(text) <= room else text[: room - 1].rstrip() + "…"
