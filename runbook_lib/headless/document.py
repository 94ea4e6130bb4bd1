"""The filled notebook on disk: always whole, and not written more often than it is worth."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

# A save in mid-run must have twice the content of the one before: all saves together then cost at most three times
# the last one.
_GROWTH = 2
_LEAST_SECONDS_BETWEEN = 2.0


class Document:
    """Saves a notebook while it fills.

    Args:
        notebook: the notebook, which others fill in.
        write: puts the bytes of the whole file where they belong.
    """

    def __init__(self, notebook: Mapping[str, Any], write: Callable[[bytes], object]) -> None:
        self._notebook, self._write = notebook, write
        self._saved_bytes = 0
        self._saved_at = time.monotonic()

    def grown(self, output_bytes: int) -> None:
        """Save if enough came since the last time.

        Args:
            output_bytes: size of all outputs so far.
        """
        now = time.monotonic()
        if output_bytes < _GROWTH * self._saved_bytes or now - self._saved_at < _LEAST_SECONDS_BETWEEN:
            return
        self._saved_bytes, self._saved_at = max(output_bytes, 1), now
        self.save()

    def save(self) -> None:
        """Save now."""
        self._write(content(self._notebook))


def content(notebook: Mapping[str, Any]) -> bytes:
    """The bytes of a notebook file, one cell a line: with an indent, Python's encoder takes ten times as long."""
    cells = ",\n".join(_text(cell) for cell in notebook["cells"])
    members = (f"{_text(key)}: " + (f"[\n{cells}\n]" if key == "cells" else _text(notebook[key])) for key in notebook)
    return ("{" + ",\n".join(members) + "}\n").encode()


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def replace(path: Path, data: bytes) -> None:
    """Write a file whole: a reader sees the old content or the new, and a full disk keeps the old.

    Raises:
        OSError: it cannot be written; the old content stays.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        with suppress(OSError):
            temporary.unlink()
        raise
