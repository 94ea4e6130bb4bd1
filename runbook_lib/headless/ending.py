"""How a run is judged from its own record, and the exit code that tells it."""

from __future__ import annotations

from dataclasses import dataclass

from runbook_lib import errors
from runbook_lib.headless.execution import Ending
from runbook_lib.model import OutcomeStatus
from runbook_lib.record.record import Record
from runbook_lib.record.settled import settled
from runbook_lib.record.status import EXIT_CODES, Status

# Events that only a run (`Run.start`) writes: a notebook with them must also have come to a verdict.
_OF_A_RUN = ("evidence", "gap", "finding", "plan")


@dataclass(frozen=True, slots=True)
class Judgement:
    """What is written into ``run.ended``."""

    status: Status
    verdict: str
    reason: str
    exit_code: int


def judge(record: Record, ending: Ending) -> Judgement:
    """Weigh what stopped the cells against what the record says of actions, gaps and findings.

    An action whose effect nobody knows outranks everything: it must be looked at before anything else is done.

    Args:
        record: the record as the kernel left it.
        ending: what stopped the cells, or that nothing did.
    """
    verdict = str(record.last("verdict").get("verdict") or "unknown")
    outcomes = [one for one in (record.outcome_of(plan["digest"]) for plan in record.plans) if one is not None]
    if record.open_intents or any(one["outcome"] == OutcomeStatus.UNKNOWN for one in outcomes):
        told = f"; {ending.reason}" if ending.reason else ""
        reason = f"it cannot be told whether an action took effect: runbook records reconcile {record.run_id}{told}"
        return Judgement(Status.UNKNOWN, verdict, reason, EXIT_CODES[Status.UNKNOWN])
    if ending.error == "SystemExit" and record.stopped is not None:
        # The runbook said why it needs no further cell; without a word the same exit is a failure.
        status = settled(record)
        return Judgement(status, verdict, record.stopped, EXIT_CODES[status])
    if ending.status is not Status.SUCCEEDED:
        return Judgement(ending.status, verdict, ending.reason, _exit_code(ending))
    if not record.last("verdict"):
        if any(record.all(kind) for kind in _OF_A_RUN):
            reason = "the notebook came to no verdict: run.close() was not reached"
            return Judgement(Status.PARTIAL, verdict, reason, EXIT_CODES[Status.PARTIAL])
        return Judgement(Status.SUCCEEDED, verdict, "", EXIT_CODES[Status.SUCCEEDED])
    status = settled(record)
    return Judgement(status, verdict, "", EXIT_CODES[status])


def _exit_code(ending: Ending) -> int:
    if ending.exit_code is not None:
        return ending.exit_code
    # An error of this library that a cell let through owns its exit code: a wrong name is 2, a lost record 7.
    raised = getattr(errors, ending.error, None) if ending.error else None
    if isinstance(raised, type) and issubclass(raised, errors.RunbookError):
        return raised.exit_code
    return EXIT_CODES[ending.status]
