"""Runbooks of one team."""

from __future__ import annotations

from pathlib import Path


def notebooks() -> Path:
    """The folder of the notebooks in this package."""
    return Path(__file__).parent / "notebooks"
