"""The status that a record's own account amounts to, for whoever seals it."""

from __future__ import annotations

from runbook_lib.model import Gap
from runbook_lib.record.record import Record
from runbook_lib.record.status import Status, settle


def settled(record: Record) -> Status:
    """The status of a run whose last cell ended well, from what its record says."""
    outcomes = [(plan, one) for plan in record.plans if (one := record.outcome_of(plan["digest"])) is not None]
    # A message that arrived changes nothing that an objective could be held against.
    counted = [one for plan, one in outcomes if (plan["kind"], one["outcome"]) != ("notify", "applied")]
    status = settle(
        record.verdict,
        [Gap.from_json(gap) for gap in record.gaps],
        [str(one["outcome"]) for one in counted],
        str((record.verification or {}).get("status", "")),
        findings=sum(one.get("severity") != "note" for one in record.findings),
        waiting=len(record.plans) - len(outcomes),
        failed_checks=sum(check["status"] == "failed" and check["needed"] for check in record.checks),
    )
    # Ending itself early is no success, and hides none of the actions' endings.
    calm = status in {Status.SUCCEEDED, Status.ATTENTION, Status.PARTIAL}
    return Status.STOPPED_EARLY if calm and record.stopped is not None else status
