"""Imports nbformat without the part that costs more than all the rest of a run's start."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

# jsonschema, which nbformat imports, tries this package for one format check (IRIs) that notebooks do not use. Building
# its grammar takes 1.3 s of processor time when JupyterLab happens to be installed beside us.
_GRAMMAR = "rfc3987_syntax"


@contextmanager
def without_grammar() -> Iterator[None]:
    """While this lasts the grammar counts as not installed; an import that is tried afterwards finds it."""
    if _GRAMMAR in sys.modules:
        yield
        return
    sys.modules[_GRAMMAR] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[_GRAMMAR]
