"""How a run stands or ended, and the exit code that belongs to it."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from runbook_lib.model import Gap, OutcomeStatus, Verdict


class Status(StrEnum):
    """The life of a run: ``RUNNING`` from the first byte, one of the others when it is sealed.

    ``SUCCEEDED``: nothing needs a person. ``ATTENTION``: findings or a waiting plan do. ``PARTIAL``: a gap leaves the
    verdict unknown. ``FAILED``: a cell raised or an action failed. ``REFUSED``: a guard or a missing approval stopped
    an action. ``STOPPED_EARLY``: the runbook ended itself before its last cell. ``INTERRUPTED``: a signal or a crash
    of the runner. ``TIMED_OUT``: a deadline passed. ``KERNEL_DIED``: the kernel was gone. ``UNKNOWN``: an action's
    effect, or the run's own end, cannot be told.
    """

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    ATTENTION = "attention"
    PARTIAL = "partial"
    FAILED = "failed"
    REFUSED = "refused"
    STOPPED_EARLY = "stopped_early"
    INTERRUPTED = "interrupted"
    TIMED_OUT = "timed_out"
    KERNEL_DIED = "kernel_died"
    UNKNOWN = "unknown"


#: Status of a sealed record to the exit code of the run; a signal's own code (143) takes the place of 130.
EXIT_CODES = {
    Status.SUCCEEDED: 0,
    Status.FAILED: 1,
    Status.ATTENTION: 3,
    Status.STOPPED_EARLY: 3,
    Status.REFUSED: 4,
    Status.PARTIAL: 5,
    Status.UNKNOWN: 6,
    Status.RUNNING: 7,
    Status.TIMED_OUT: 124,
    Status.INTERRUPTED: 130,
    Status.KERNEL_DIED: 138,
}


def settle(
    verdict: Verdict | str,
    gaps: Iterable[Gap],
    outcomes: Iterable[str],
    verification: str = "",
    *,
    findings: int = 0,
    waiting: int = 0,
    failed_checks: int = 0,
) -> Status:
    """The status of a run whose last cell ended well.

    The worst truth wins: an unknown effect, then a failed action, a refusal, a verdict that gaps leave unknown, and
    only then what still needs a person.

    Args:
        verdict: the run's conclusion.
        gaps: what could not be read.
        outcomes: status of every action's outcome, see ``OutcomeStatus``.
        verification: status of the last verification; empty when there was none.
        findings: number of findings, without notes and without causes that were ruled out.
        waiting: number of plans that wait for approval.
        failed_checks: number of needed checks that failed.
    """
    seen = {OutcomeStatus(one) for one in outcomes}
    if OutcomeStatus.UNKNOWN in seen:
        return Status.UNKNOWN
    if seen & {OutcomeStatus.FAILED, OutcomeStatus.REJECTED}:
        return Status.FAILED
    if failed_checks:
        return Status.FAILED
    if OutcomeStatus.REFUSED in seen:
        return Status.REFUSED
    if OutcomeStatus.APPLIED in seen:
        # The change was made: what counts now is whether the objective holds again.
        return {"held": Status.SUCCEEDED, "not_held": Status.ATTENTION}.get(verification, Status.PARTIAL)
    if verdict == Verdict.UNKNOWN or (verdict == Verdict.HEALTHY and any(gap.needed for gap in gaps)):
        return Status.PARTIAL
    if waiting or findings or verdict != Verdict.HEALTHY:
        return Status.ATTENTION
    return Status.SUCCEEDED
