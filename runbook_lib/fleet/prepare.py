"""Everything that must be known and imported before the first target of a fleet is started."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from runbook_lib import catalog
from runbook_lib.errors import UsageError
from runbook_lib.fleet.start import Engine, Local, forked, spawned
from runbook_lib.fleet.targets import Target
from runbook_lib.headless import forking, notebooks
from runbook_lib.headless.execution import source
from runbook_lib.headless.session import DRIVERS

#: Where runs go on: in processes of this machine (``auto`` forks where the system can), or on dask's workers.
ENGINES = ("auto", "fork", "spawn", "dask")


def prepared(
    engine: str, notebook: Path, targets: Sequence[Target], found: Path | None, *, scheduler: str = ""
) -> Engine:
    """Where the runs of a fleet go on.

    Args:
        engine: one of ``ENGINES``.
        notebook: the runbook.
        targets: what it runs on.
        found: the catalogue; None when there is none.
        scheduler: address of dask's scheduler, such as ``tcp://10.0.0.5:8786``.

    Raises:
        UsageError: the engine is not known, forking was asked for where it cannot be done, or there is no scheduler
            with workers.
    """
    if engine not in ENGINES:
        raise UsageError(f"engine {engine!r} is not known; allowed: {', '.join(ENGINES)}")
    if (engine == "dask") != bool(scheduler):
        raise UsageError("--engine dask and --scheduler ADDRESS belong together")
    if engine == "dask":
        from runbook_lib.fleet.dask import Workers

        return Workers(scheduler, modules(notebook, targets, found))
    if engine == "fork" and not forking.AVAILABLE:
        raise UsageError("this system cannot fork prepared processes; use --engine spawn")
    if engine != "spawn" and forking.AVAILABLE and forking.prepare(modules(notebook, targets, found)):
        return Local(forked)
    return Local(spawned)


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
