"""Everything that must be known and imported before the first target of a fleet is started."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from runbook_lib import catalog
from runbook_lib.errors import UsageError
from runbook_lib.fleet.start import Start, forked, spawned
from runbook_lib.fleet.targets import Target
from runbook_lib.headless import forking, notebooks
from runbook_lib.headless.execution import source
from runbook_lib.headless.session import DRIVERS

#: How processes are made: ``auto`` forks where the system can.
ENGINES = ("auto", "fork", "spawn")


def starter(engine: str, notebook: Path, targets: Sequence[Target], found: Path | None) -> Start:
    """How the process of each target is started.

    Args:
        engine: one of ``ENGINES``.
        notebook: the runbook.
        targets: what it runs on.
        found: the catalogue; None when there is none.

    Raises:
        UsageError: the engine is not known, or forking was asked for where it cannot be done.
    """
    if engine not in ENGINES:
        raise UsageError(f"engine {engine!r} is not known; allowed: {', '.join(ENGINES)}")
    if engine == "fork" and not forking.AVAILABLE:
        raise UsageError("this system cannot fork prepared processes; use --engine spawn")
    if engine != "spawn" and forking.AVAILABLE and forking.prepare(modules(notebook, targets, found)):
        return forked
    return spawned


def modules(notebook: Path, targets: Sequence[Target], found: Path | None) -> list[str]:
    """What the runs will import: what the notebook names, and the drivers of the systems that it may ask."""
    cells: list[dict[str, Any]] = notebooks.cells(notebook)
    named = forking.imports_of(source(cell) for cell in cells if cell.get("cell_type") == "code")
    if found is None:
        return named
    known = catalog.load(found)
    places = {target.environment for target in targets if target.environment}
    endpoints = {system for place in places for system in known.environment(place).endpoints}
    return [*named, *(module for system, module in DRIVERS.items() if system in endpoints)]
