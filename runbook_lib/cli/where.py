"""Where this call finds its catalogue and its records."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runbook_lib.record import archive as archives


def catalog_folder() -> Path | None:
    """The folder of the nearest catalogue; None when there is none."""
    from runbook_lib import catalog
    from runbook_lib.errors import CatalogError

    try:
        return catalog.find().parent
    except CatalogError:
        return None


def archive_of(given: str) -> archives.Archive:
    """The archive as given, as ``RUNBOOK_ARCHIVE`` or the catalogue names it, or ``outputs`` beside the catalogue."""
    from runbook_lib import catalog
    from runbook_lib.record.archive import Archive as Records

    return Records(given or os.environ.get("RUNBOOK_ARCHIVE", "") or catalog.load().archive)


def usual_place() -> tuple[str, str]:
    """Service and environment of a runbook that is begun: ``api`` and ``lab``, else the first ones of the catalogue."""
    from runbook_lib import catalog

    if catalog_folder() is None:
        return "api", "lab"
    known = catalog.load()
    return _usual("api", known.services), _usual("lab", known.environments)


def _usual(name: str, known: Iterable[str]) -> str:
    names = list(known)
    return name if name in names or not names else names[0]
