from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path

import pytest

from runbook_lib.charts import raster
from runbook_lib.charts.svg import document, label


def letters(font: bytes) -> set[int]:
    """The code points in the font's character map, format 4 of OpenType's ``cmap``."""
    tables = {font[12 + 16 * i : 16 + 16 * i]: 12 + 16 * i for i in range(struct.unpack_from(">H", font, 4)[0])}
    start = struct.unpack_from(">I", font, tables[b"cmap"] + 8)[0]
    count = struct.unpack_from(">H", font, start + 2)[0]
    offsets = [struct.unpack_from(">I", font, start + 8 + 8 * i)[0] for i in range(count)]
    at = next(start + o for o in offsets if struct.unpack_from(">H", font, start + o)[0] == 4)
    size = struct.unpack_from(">H", font, at + 6)[0]
    ends = struct.unpack_from(f">{size // 2}H", font, at + 14)
    starts = struct.unpack_from(f">{size // 2}H", font, at + 16 + size)
    return {c for low, high in zip(starts, ends, strict=True) for c in range(low, high + 1)}


def test_the_bundled_font_has_the_letters_it_promises() -> None:
    """What is claimed to be covered is in the font, but for letters that Unicode never assigned."""
    promised = {c for low, high in raster._COVERED for c in range(low, high + 1)} - {0x3A2}
    assert set() == promised - letters(raster._FONT.read_bytes())


def test_text_appears_without_any_font_on_the_machine() -> None:
    """Letters are drawn from the bundled font alone."""
    empty = raster.png(document(40, [], ""))
    written = raster.png(document(40, [label(10, 20, "p95 612 ms ▲ ✕ µ")], ""))
    assert raster.covered("p95 612 ms ▲ ✕ µ")
    assert len(written) > len(empty) + 500


@pytest.mark.parametrize(
    ("text", "expected"), [("Größe", True), ("延迟", False), ("🔥", False)], ids=["latin", "han", "emoji"]
)
def test_other_letters_ask_the_machine(text: str, expected: bool) -> None:
    """Only a picture with letters beyond the bundled font looks through the machine's fonts."""
    assert expected is raster.covered(text)


@pytest.mark.parametrize(
    ("text", "width", "expected"),
    [("short", 200, "short"), ("a long title", 60, "a long…"), ("x", 0, "x")],
    ids=["fits", "cut", "no room"],
)
def test_fitted_cuts_what_is_too_wide(text: str, width: float, expected: str) -> None:
    """Text that does not fit ends in an ellipsis."""
    assert expected == raster.fitted(text, 12, width)


def test_drawing_imports_neither_plotly_nor_pandas() -> None:
    """The charts stay cheap to import."""
    code = (
        "import sys, runbook_lib.charts; print([m for m in ('plotly','pandas','numpy','resvg_py') if m in sys.modules])"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60, cwd=root
    )
    assert "[]" == done.stdout.strip()
