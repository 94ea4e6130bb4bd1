"""Run a runbook again on what a record holds, without any network, and say what came out differently."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runbook_lib.errors import RecordError
from runbook_lib.headless import notebooks
from runbook_lib.headless.parameters import Parameters
from runbook_lib.headless.runner import execute
from runbook_lib.record.diff import Difference, divergences
from runbook_lib.record.record import Record
from runbook_lib.record.status import Status

if TYPE_CHECKING:
    from runbook_lib.headless.session import RunResult

#: How a replay may end and still have come to its own conclusion.
_TO_THE_END = {Status.SUCCEEDED, Status.ATTENTION, Status.PARTIAL, Status.FAILED, Status.REFUSED, Status.STOPPED_EARLY}


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a replay gave.

    Args:
        run_id: the run that was replayed.
        result: how the replay ended; its record says ``replay`` as its mode.
        changed: whether the runbook is another than the one that ran.
        differences: what it asked or concluded differently; empty when it reached the same.
    """

    run_id: str
    result: RunResult
    changed: bool
    differences: tuple[Difference, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data, as ``runbook records replay --json`` prints."""
        return {
            "run_id": self.run_id,
            "replay": self.result.run_id,
            "verdict": self.result.verdict,
            "runbook_changed": self.changed,
            "same": not self.differences,
            "differences": [one.to_json() for one in self.differences],
        }


def replay(record: Path, *, archive: str, notebook: Path | None = None, catalog: Path | None = None) -> Replayed:
    """Run a record's runbook again, answered from the record alone; changes nothing.

    Args:
        record: folder of the record.
        archive: where the record of the replay goes.
        notebook: the runbook; the one of the record's name when omitted.
        catalog: the service catalogue; the nearest one when omitted.

    Raises:
        UsageError: the runbook is not known, or does not take the record's parameters.
        RecordError: the record cannot be read, or the replay did not come to its end.
    """
    kept = Record.read(record)
    if not kept.events or kept.events[0].kind != "run.started":
        raise RecordError(f"{record}: the record does not say what was run; it cannot be replayed")
    path = notebook or notebooks.find(str(kept.run["runbook"]), catalog.parent if catalog else None)
    known = {item.name for item in Parameters.read(path).items}
    given = {name: value for name, value in kept.run.get("parameters", {}).items() if name in known}
    result = execute(path, given, catalog=catalog, archive=archive, replay=record)
    if result.status not in _TO_THE_END:
        raise RecordError(f"the replay did not come to its end: {result.reason or result.status}")
    again = Record.read(result.record)
    changed = again.run.get("runbook_digest") != kept.run.get("runbook_digest")
    ended = tuple(_ending(kept, again))
    return Replayed(kept.run_id, result, changed, (*ended, *divergences(kept, again)))


def _ending(kept: Record, again: Record) -> list[Difference]:
    left, right = ({one.name: one for one in record.cells} for record in (kept, again))
    return [
        Difference("cell", name, left[name].status, f"{cell.status} {cell.error}".strip())
        for name, cell in right.items()
        if name in left and cell.status != left[name].status
    ]
