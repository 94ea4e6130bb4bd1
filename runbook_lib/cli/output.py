"""How verbs print: one JSON object on stdout with --json, plain lines otherwise; logs go to stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import typer

Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]


def emit(value: Any) -> None:
    """Write one JSON object to stdout."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def line(text: object = "") -> None:
    """Write one line to stdout."""
    sys.stdout.write(f"{text}\n")


def log(text: object) -> None:
    """Write one line to stderr."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def columns(rows: Iterable[Sequence[object]], header: Sequence[str]) -> None:
    """Write rows under a header, each column as wide as its widest cell."""
    table = [[str(cell) for cell in row] for row in (header, *rows)]
    widths = [max(len(row[i]) for row in table) for i in range(len(header))]
    for row in table:
        line("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
