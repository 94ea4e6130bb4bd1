"""The one path of every action: observe, guards, approval, lock, intent, one request, classify, read back."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runbook_lib.actions import approval as approvals
from runbook_lib.errors import ActionRejectedError, GuardError, OutcomeUnknownError, RunbookError
from runbook_lib.model import GuardResult, NoPlan, Outcome, OutcomeStatus, Plan
from runbook_lib.model.times import rfc3339, utc_now

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
        with _locked(context, plan):
            guards.append(_approved(plan, context, approval))
            key = _intent(plan, context)
            return _send(action, plan, context, key, tuple(guards))
    except GuardError as refusal:
        outcome = Outcome(plan.digest, OutcomeStatus.REFUSED, str(refusal), guards=tuple(guards))
        context.journal("action.outcome", outcome.to_json())
        return outcome


def _check(action: Action, plan: Plan, context: Context, guards: list[GuardResult]) -> None:
    """Every guard in order, all of them recorded; raises GuardError naming the ones that refused."""
    environment = context.environment
    guards += [
        _guard(
            "environment allows it",
            plan.kind in environment.actions,
            f"{environment.name} allows {_list(environment.actions)}",
        ),
        _guard("no change freeze", not environment.freeze, environment.freeze or "no freeze"),
        _guard("same environment", plan.environment == environment.name, f"the plan is for {plan.environment}"),
    ]
    fresh = action.observe(plan)
    same = isinstance(fresh, Plan) and fresh.digest == plan.digest
    changed = fresh.reason if isinstance(fresh, NoPlan) else "the target changed since the plan was made; plan again"
    guards.append(_guard("the plan still fits", same, "observed again just now" if same else changed))
    guards += action.guards(plan, environment)
    refused = [guard for guard in guards if not guard.passed]
    if refused:
        raise GuardError("; ".join(f"{guard.name}: {guard.reason}" for guard in refused))


def _approved(plan: Plan, context: Context, approval: str) -> GuardResult:
    rule = context.environment.approval.get(plan.kind, context.environment.approval.get("default", "one"))
    rule = "two" if plan.destructive else rule
    if rule == "none":
        return _guard("approved", True, f"{context.environment.name} asks for no approval of {plan.kind}")
    if not approval:
        raise GuardError(f"{plan.kind} needs an approval: runbook approve {context.run_id} --plan {plan.digest}")
    granted = approvals.read(Path(approval))
    approvals.use(granted, plan, requester=context.actor, rule=rule, ledger=context.ledger / "approvals")
    context.journal("approval", granted.to_json())
    return _guard("approved", True, f"by {granted.approver} ({granted.known_by}) at {rfc3339(granted.granted_at)}")


@contextmanager
def _locked(context: Context, plan: Plan) -> Iterator[None]:
    release = context.lock(f"{plan.environment}/{plan.target}")
    try:
        yield
    finally:
        release()


def _intent(plan: Plan, context: Context) -> str:
    """Durable before anything is sent: insert-if-absent on the key of plan and run."""
    key = f"{plan.digest[7:]}-{context.run_id}"
    folder = context.ledger / "intents"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        descriptor = os.open(folder / f"{key}.json", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise GuardError("this run has applied this plan before; an action is sent once") from error
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump({"kind": plan.kind, "target": plan.target, "at": rfc3339(utc_now()), "run_id": context.run_id}, file)
        file.flush()
        os.fsync(file.fileno())
    context.journal("action.intent", {"key": key, "plan": plan.digest, "kind": plan.kind, "target": plan.target})
    return key


def _send(action: Action, plan: Plan, context: Context, key: str, guards: tuple[GuardResult, ...]) -> Outcome:
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
    outcome = _outcome(action, plan, status, reason, guards, sent_at)
    context.journal("action.outcome", {**outcome.to_json(), "key": key})
    return outcome


def _outcome(
    action: Action, plan: Plan, status: OutcomeStatus, reason: str, guards: tuple[GuardResult, ...], sent_at: datetime
) -> Outcome:
    try:
        read_back: Mapping[str, Any] = action.read_back(plan)
    except RunbookError as error:
        read_back = {"unreadable": str(error)}
    return Outcome(plan.digest, status, reason, read_back, guards, sent_at)


def _guard(name: str, passed: bool, reason: str) -> GuardResult:
    return GuardResult(name, passed, reason)


def _list(names: tuple[str, ...]) -> str:
    return ", ".join(names) or "no action"
