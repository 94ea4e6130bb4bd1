"""A failed run that is run again: what it had changed is looked at, never sent a second time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runbook_lib import actions
from runbook_lib.errors import RunbookError
from runbook_lib.model import NoPlan, Outcome, OutcomeStatus, Plan
from runbook_lib.record.record import Record

if TYPE_CHECKING:
    from runbook_lib.run import Run

#: The ``what`` of the note that tells what became of an earlier run's change.
RESUMED = "resumed"


@dataclass(frozen=True, slots=True)
class Finished:
    """A change that an earlier run has made.

    Args:
        run_id: that run.
        plan: what it did.
        outcome: what became of it then.
    """

    run_id: str
    plan: Plan
    outcome: Outcome

    def fits(self, plan: Plan | NoPlan) -> bool:
        """Whether a new plan would do the same; without one, the notebook found that nothing is left to do."""
        if isinstance(plan, NoPlan):
            return True
        same = ("kind", "service", "environment", "target", "after")
        return all(getattr(plan, name) == getattr(self.plan, name) for name in same)

    def checked(self, run: Run) -> Outcome:
        """What the target says now: still as asked for, or not, or that it cannot be read."""
        from runbook_lib.run.reconcile import settled

        try:
            action = actions.bind(self.plan, run)
            found = action.read_back(self.plan)
            status = settled(action, self.plan, found)
        except RunbookError as error:
            return replace(self.outcome, status=OutcomeStatus.UNKNOWN, reason=f"its target cannot be read: {error}")
        if "unreadable" in found:
            reason = f"its target cannot be read: {found['unreadable']}"
            return replace(self.outcome, status=OutcomeStatus.UNKNOWN, reason=reason)
        if status is not OutcomeStatus.APPLIED:
            reason = f"done by {self.run_id}, and undone since"
            return replace(self.outcome, status=OutcomeStatus.REJECTED, reason=reason, read_back=found)
        reason = f"done by {self.run_id} and still so; nothing was sent again: {self.plan.effect}"
        return replace(self.outcome, reason=reason, read_back=found)


class Resumed:
    """The changes of the run that this one goes on from, each looked at once.

    Args:
        record: folder of that run; None when this run begins from nothing.
    """

    def __init__(self, record: Path | None) -> None:
        self._left = list(_finished(Record.read(record))) if record else []

    def take(self, plan: Plan | NoPlan, run: Run) -> tuple[Finished, Outcome] | None:
        """The earlier change that a plan would repeat, with what its target says now; None when there is none."""
        done = next((one for one in self._left if one.fits(plan)), None)
        if done is None:
            return None
        self._left.remove(done)
        return done, done.checked(run)


def note(done: Finished, outcome: Outcome) -> Mapping[str, Any]:
    """What the journal keeps of it."""
    return {
        "what": RESUMED,
        "text": outcome.reason,
        "run_id": done.run_id,
        "plan": done.plan.digest,
        "done": done.plan.to_json(),
        "outcome": outcome.to_json(),
    }


def _finished(record: Record) -> list[Finished]:
    found = []
    for each in record.plans:
        told = record.outcome_of(each["digest"])
        if told is not None and told["outcome"] == OutcomeStatus.APPLIED:
            found.append(Finished(record.run_id, Plan.from_json(each), Outcome.from_json(told)))
    # A run that was itself resumed hands on what it found still standing.
    for kept in (event.data for event in record.all("note") if event.data.get("what") == RESUMED):
        if kept["outcome"]["outcome"] == OutcomeStatus.APPLIED:
            found.append(Finished(kept["run_id"], Plan.from_json(kept["done"]), Outcome.from_json(kept["outcome"])))
    return found
