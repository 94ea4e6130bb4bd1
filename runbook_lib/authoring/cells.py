"""Cells and notebooks as the repository keeps them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell.

    Args:
        id: words.
        source: its text.
        tag: of a code cell; empty for markdown.
    """

    id: str
    source: str
    tag: str = ""

    def to_json(self) -> dict[str, Any]:
        """The cell in nbformat 4's shape."""
        source = self.source.splitlines(keepends=True)
        if not self.tag:
            return {"cell_type": "markdown", "id": self.id, "metadata": {}, "source": source}
        return {
            "cell_type": "code",
            "execution_count": None,
            "id": self.id,
            "metadata": {"tags": [self.tag]},
            "outputs": [],
            "source": source,
        }


class Ids:
    """Names for cells, made of words and each used once."""

    def __init__(self) -> None:
        self._used: set[str] = set()

    def take(self, text: str) -> str:
        """A free name that says what ``text`` says."""
        words = re.findall(r"[a-z]+", text.lower())
        base = "-".join(words[:6]) or "cell"
        name, number = base, 0
        while name in self._used:
            name, number = f"{base}-{_letters(number + 1)}", number + 1
        self._used.add(name)
        return name


def notebook(cells: Iterable[Cell], metadata: Mapping[str, Any]) -> dict[str, Any]:
    """A whole notebook.

    Args:
        cells: in order.
        metadata: what stands under ``runbook``.
    """
    return {
        "cells": [cell.to_json() for cell in cells],
        "metadata": {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
            "runbook": dict(metadata),
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def text(content: Mapping[str, Any]) -> str:
    """A notebook's file, as the repository keeps it."""
    return json.dumps(content, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def _letters(number: int) -> str:
    letters = ""
    while number:
        number, rest = divmod(number, 26)
        letters = chr(ord("a") + rest) + letters
    return letters
