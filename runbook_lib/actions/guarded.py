"""The one path of every action: observe, guards, approval, lock, intent, one request, classify, read back."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runbook_lib.actions import approval as approvals
from runbook_lib.actions.ledger import RATE_SECONDS, Ledger
from runbook_lib.actions.lock import cluster_lease
from runbook_lib.actions.protocol import InCluster
from runbook_lib.errors import ActionError, ActionRejectedError, GuardError, OutcomeUnknownError, RunbookError
from runbook_lib.model import GuardResult, Outcome, OutcomeStatus, Plan
from runbook_lib.model.times import rfc3339, utc_now

#: What was observed longer ago says nothing about now, seconds (records-and-actions, section 7 step 2).
FRESH_SECONDS = 30.0

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from runbook_lib.actions.protocol import Action, Context


def apply(action: Action, plan: Plan, context: Context, approval: str = "") -> Outcome:
    """Carry out a plan, once, or say why not.

    Args:
        action: the kind of action, bound to its client.
        plan: the plan that was shown.
        context: the run that acts.
        approval: path of an approval file; empty plans only.

    Returns:
        The outcome; a refusal is an outcome, not an exception.
    """
    if not context.requested:
        return Outcome(plan.digest, OutcomeStatus.WAITING, "nothing was changed; the plan waits for an approval")
    guards: list[GuardResult] = []
    try:
        _check(action, plan, context, guards)
        with _locked(action, plan, context, guards):
            _admit(plan, context, guards)
            guards.append(_approved(plan, context, approval))
            key = _intent(plan, context)
            return _once(action, plan, context, key, guards)
    except GuardError as refusal:
        outcome = Outcome(plan.digest, OutcomeStatus.REFUSED, str(refusal), guards=tuple(guards))
        context.journal("action.outcome", outcome.to_json())
        return outcome


def _check(action: Action, plan: Plan, context: Context, guards: list[GuardResult]) -> None:
    """Every guard in order, all of them recorded; raises GuardError naming the ones that refused."""
    environment = context.environment
    frozen = environment.frozen(plan.kind, utc_now())
    guards += [
        GuardResult(
            "environment allows it",
            plan.kind in environment.actions,
            f"{environment.name} allows {_list(environment.actions)}",
        ),
        GuardResult("no change freeze", not frozen, frozen or "no freeze"),
        GuardResult("same environment", plan.environment == environment.name, f"the plan is for {plan.environment}"),
    ]
    guards.append(_still_fits(action, plan))
    guards += action.guards(plan, environment)
    _refuse(guards)


def _admit(plan: Plan, context: Context, guards: list[GuardResult]) -> None:
    """What can only be told while no other run acts on the target: nothing unsettled, and not too much lately."""
    ledger, limit = Ledger(context.ledger), context.environment.max_changes
    # A target whose state was not observed cannot be reconciled by reading it; the approval is all there is.
    unsettled = ledger.unsettled(plan) if plan.preconditions else ()
    told = f"a request of {unsettled[0]['run_id']} has no known outcome: runbook records reconcile" if unsettled else ""
    sent = ledger.recent(plan)
    guards += [
        GuardResult("nothing unsettled on the target", not unsettled, told or "every request has its outcome"),
        GuardResult("rate", sent < limit, f"{sent} requests in {RATE_SECONDS / 60:.0f} minutes, at most {limit}"),
    ]
    _refuse(guards)


def _refuse(guards: list[GuardResult]) -> None:
    refused = [guard for guard in guards if not guard.passed]
    if refused:
        raise GuardError("; ".join(f"{guard.name}: {guard.reason}" for guard in refused))


def _still_fits(action: Action, plan: Plan) -> GuardResult:
    """Observe the target anew: only the world that was approved may be changed, and only while it is known."""
    began = time.monotonic()
    fresh = action.observe(plan)
    took_seconds = time.monotonic() - began
    if not isinstance(fresh, Plan):
        return GuardResult("the plan still fits", False, fresh.reason)
    if fresh.digest != plan.digest:
        return GuardResult("the plan still fits", False, "the target changed since the plan was made; plan again")
    if took_seconds > FRESH_SECONDS:
        told = f"observing took {took_seconds:.0f} s; what is older than {FRESH_SECONDS:.0f} s says nothing about now"
        return GuardResult("the plan still fits", False, told)
    return GuardResult("the plan still fits", True, "observed again just now")


def _approved(plan: Plan, context: Context, approval: str) -> GuardResult:
    environment = context.environment
    if environment.rule(plan.kind, destructive=plan.destructive) == "none":
        return GuardResult("approved", True, f"{environment.name} asks for no approval of {plan.kind}")
    if not approval:
        raise GuardError(f"{plan.kind} needs an approval: runbook approve {context.run_id} --plan {plan.digest}")
    granted = approvals.read(Path(approval))
    approvals.use(granted, plan, requester=context.actor, environment=environment, ledger=context.ledger / "approvals")
    context.journal("approval", granted.to_json())
    told = f"by {granted.approver} ({granted.known_by}) at {rfc3339(granted.granted_at)}"
    return GuardResult("approved", True, told)


@contextmanager
def _locked(action: Action, plan: Plan, context: Context, guards: list[GuardResult]) -> Iterator[None]:
    """One action a target at a time: among the runs of this archive, and in the cluster among all."""
    with ExitStack() as held:
        held.callback(context.lock(f"{plan.environment}/{plan.target}"))
        if isinstance(action, InCluster):
            result, release = cluster_lease(action.kubernetes, plan.service, holder=f"{context.actor}/{context.run_id}")
            guards.append(result)
            held.callback(release)
        yield


def _intent(plan: Plan, context: Context) -> str:
    """Durable before anything is sent."""
    key = Ledger(context.ledger).begin(plan, context.run_id)
    context.journal("action.intent", {"key": key, "plan": plan.digest, "kind": plan.kind, "target": plan.target})
    return key


def _once(action: Action, plan: Plan, context: Context, key: str, guards: list[GuardResult]) -> Outcome:
    """Observe a last time, send the one request, and write down what became of it."""
    try:
        last = _still_fits(action, plan)
    except RunbookError as error:
        last = GuardResult("the plan still fits", False, f"the target cannot be observed: {error}")
    if last.passed:
        outcome = _send(action, plan, context, tuple(guards))
    else:
        reason = f"{last.name}: {last.reason}; nothing was sent"
        outcome = Outcome(plan.digest, OutcomeStatus.REFUSED, reason, guards=(*guards, last))
    if outcome.status is not OutcomeStatus.UNKNOWN:
        Ledger(context.ledger).settle(plan, key, str(outcome.status), context.run_id)
    context.journal("action.outcome", {**outcome.to_json(), "key": key})
    return outcome


def _send(action: Action, plan: Plan, context: Context, guards: tuple[GuardResult, ...]) -> Outcome:
    sent_at = utc_now()
    try:
        action.send(plan)
        status, reason = OutcomeStatus.APPLIED, plan.effect
    except ActionRejectedError as error:
        status, reason = OutcomeStatus.REJECTED, str(error)
    except OutcomeUnknownError as error:
        status, reason = (
            OutcomeStatus.UNKNOWN,
            f"{error}; it is not sent again: runbook records reconcile {context.run_id}",
        )
    except ActionError as error:
        # It took effect, and not as planned: a Helm revision that failed, for one.
        status, reason = OutcomeStatus.FAILED, str(error)
    return _outcome(action, plan, status, reason, guards, sent_at)


def _outcome(
    action: Action, plan: Plan, status: OutcomeStatus, reason: str, guards: tuple[GuardResult, ...], sent_at: datetime
) -> Outcome:
    try:
        read_back: Mapping[str, Any] = action.read_back(plan)
    except RunbookError as error:
        read_back = {"unreadable": str(error)}
    return Outcome(plan.digest, status, reason, read_back, guards, sent_at)


def _list(names: tuple[str, ...]) -> str:
    return ", ".join(names) or "no action"
