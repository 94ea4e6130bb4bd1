"""How a runbook ends itself before its last cell, on purpose and with a reason."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from runbook_lib.record.record import STOP

if TYPE_CHECKING:
    from runbook_lib.run import Run


def stop_early(run: Run, reason: str) -> NoReturn:
    """End the run here: what was found so far is its verdict, no further cell runs, the status is ``stopped_early``.

    Without this, a cell that exits is a failure: nobody can tell an accident from a decision.

    Args:
        run: the run.
        reason: one sentence for a person, such as ``"the backup is older than a day"``.

    Raises:
        SystemExit: always; that is what ends the cell.
    """
    run._journal("note", {"what": STOP, "text": reason, "important": True})
    run.close()
    raise SystemExit(reason)
