"""The faults there are; applying and healing them on a running lab."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from runbook_lib.errors import LabError, UnknownNameError, UsageError
from runbook_lib.lab import components
from runbook_lib.lab import state as states
from runbook_lib.lab.faults.catalogue import FAULTS
from runbook_lib.lab.faults.fault import Fault
from runbook_lib.lab.faults.world import World


def all_faults() -> tuple[Fault, ...]:
    """Every fault, in the order of the documentation."""
    return FAULTS


def get(name: str) -> Fault:
    """The fault of that name.

    Raises:
        UnknownNameError: there is none; carries the nearest name.
    """
    for fault in FAULTS:
        if fault.name == name:
            return fault
    raise UnknownNameError("fault", name, (fault.name for fault in FAULTS))


def apply(directory: Path, name: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Break the lab in one named way, for real.

    Args:
        directory: the lab's folder.
        name: name of the fault.
        parameters: its sizes, as values or as the text of a command line; the rest keep their defaults.

    Returns:
        ``fault, cause, parameters, applied`` (RFC 3339) and what heals it.

    Raises:
        UsageError: unknown fault or parameter, a value that does not fit, or the fault is there already.
        LabError: the lab does not run, or the fault could not be brought about; then nothing of it is left.
    """
    fault = get(name)
    values = fault.values(parameters)
    directory = directory.resolve()
    with states.locked(directory):
        state = states.running(directory)
        if name in state.faults:
            raise UsageError(f"fault {name} is there already; heal it first: runbook lab heal {name}")
        applied = datetime.now(UTC).isoformat(timespec="milliseconds")
        details: dict[str, Any] = {}
        # Written down before it is begun: an interrupted start is healed like a finished one.
        state.faults[name] = {"cause": fault.cause, "parameters": values, "applied": applied, "details": details}
        state.save()
        world = World(state)
        try:
            details |= fault.start(world, values)
        except BaseException:
            _end(world, fault)
            raise
        state.save()
    return {"fault": name, "cause": fault.cause, "parameters": values, "applied": applied, "healed_by": fault.healed_by}


def heal(directory: Path, name: str | None = None) -> dict[str, Any]:
    """Undo one fault, or all of them, newest first.

    Args:
        directory: the lab's folder.
        name: name of the fault; None for all.

    Returns:
        ``healed``: the names of the faults that were there and are gone.

    Raises:
        UnknownNameError: there is no fault of that name.
        LabError: the lab does not run, or something could not be restored; the other faults are healed first.
    """
    wanted = None if name is None else get(name).name
    directory = directory.resolve()
    healed, problems = [], []
    with states.locked(directory):
        state = states.running(directory)
        world = World(state)
        for applied in [one for one in reversed(state.faults) if wanted in (None, one)]:
            try:
                _end(world, get(applied))
                healed.append(applied)
            except LabError as error:
                problems.append(f"{applied}: {error}")
    if problems:
        raise LabError("; ".join(problems))
    return {"healed": healed}


def _end(world: World, fault: Fault) -> None:
    fault.end(world, world.state.faults[fault.name]["details"])
    components.reap()
    del world.state.faults[fault.name]
    world.state.save()
