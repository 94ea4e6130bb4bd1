"""The page of figures has a place for each line of ``make bench``, and names no line that there is not."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

from benchmarks.__main__ import LINES

PAGE = (Path(__file__).parents[2] / "docs" / "performance.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", LINES)
def test_every_line_can_be_run_and_written_down(name: str) -> None:
    """Its function is there, the page says how to run it alone, and ``--write`` finds its place."""
    module, _, function = LINES[name].partition(":")
    assert callable(getattr(importlib.import_module(f"benchmarks.{module}"), function or "main"))
    assert f"`python -m benchmarks {name}`" in PAGE
    assert re.search(rf"<!-- {name} -->\n.*?<!-- end of {name} -->", PAGE, re.DOTALL)


def test_every_named_line_exists() -> None:
    """What the page says can be run alone can be."""
    assert set(re.findall(r"`python -m benchmarks ([a-z]+)`", PAGE)) <= LINES.keys()
