"""The one path of every action: nothing without being asked, nothing twice, nothing untold."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from runbook_lib import actions
from runbook_lib.actions.ledger import Ledger
from runbook_lib.actions.protocol import Context
from runbook_lib.errors import ActionRejectedError, OutcomeUnknownError, UsageError
from runbook_lib.model import OutcomeStatus
from runbook_lib.model.times import parse_rfc3339, rfc3339
from tests.actions.conftest import PLAN, PROD, Target


def test_applies_an_approved_plan_once(target: Target, context: Context, approval: str) -> None:
    """An approved plan is applied by one request, and the target is read back."""
    outcome = actions.apply(target, PLAN, context, approval)
    assert (OutcomeStatus.APPLIED, 1, {"replicas": 5}) == (outcome.status, target.effects, outcome.read_back)


def test_intent_is_written_before_the_request(target: Target, context: Context, approval: str) -> None:
    """The journal holds the approval and the intent at the moment the request leaves."""
    actions.apply(target, PLAN, context, approval)
    assert ["approval", "action.intent"] == target.seen_at_send
    assert "action.outcome" == target.events[-1][0]


def test_nothing_happens_unasked(target: Target, context: Context, approval: str) -> None:
    """Without being asked for, a plan only waits, even when an approval is at hand."""
    outcome = actions.apply(target, PLAN, replace(context, requested=False), approval)
    assert (OutcomeStatus.WAITING, 0) == (outcome.status, target.effects)


@pytest.mark.parametrize(
    ("reason", "change"),
    [
        ("environment allows it", {"environment": replace(PROD, actions=())}),
        ("change freeze", {"environment": replace(PROD, freeze="end of year")}),
        ("same environment", {"environment": replace(PROD, name="staging")}),
        ("needs a second person", {"actor": "bob", "environment": replace(PROD, approval={"scale": "two"})}),
    ],
    ids=["kind", "freeze", "environment", "self-approved"],
)
def test_policy_refuses(
    target: Target, context: Context, approval: str, reason: str, change: dict[str, object]
) -> None:
    """A policy of the environment refuses the action with its reason, and nothing is sent."""
    outcome = actions.apply(target, PLAN, replace(context, **change), approval)  # type: ignore[arg-type]
    assert (OutcomeStatus.REFUSED, 0) == (outcome.status, target.effects)
    assert reason in outcome.reason


def test_missing_approval_names_the_next_command(target: Target, context: Context) -> None:
    """Without an approval the refusal says how to get one."""
    outcome = actions.apply(target, PLAN, context)
    assert (OutcomeStatus.REFUSED, 0) == (outcome.status, target.effects)
    assert f"runbook approve run-1 --plan {PLAN.digest}" in outcome.reason


def test_changed_target_voids_the_plan(target: Target, context: Context, approval: str) -> None:
    """A target that changed since the plan was made is left alone."""
    target.replicas = 4
    outcome = actions.apply(target, PLAN, context, approval)
    assert (OutcomeStatus.REFUSED, 0) == (outcome.status, target.effects)
    assert "changed since the plan was made" in outcome.reason


def test_own_guard_refuses_and_all_are_recorded(target: Target, context: Context, approval: str) -> None:
    """A guard of the kind refuses, and the outcome lists every guard that was checked."""
    target.refusals = ("quota is used up",)
    outcome = actions.apply(target, PLAN, context, approval)
    assert "quota is used up" in outcome.reason
    assert [True, False] == [guard.passed for guard in outcome.guards][-2:]
    assert 0 == target.effects


def test_approval_of_another_plan(target: Target, context: Context, tmp_path: Path) -> None:
    """An approval binds one exact plan."""
    other = actions.grant(replace(PLAN, after={"replicas": 4}), tmp_path / "approvals", approver="bob", known_by="x")
    outcome = actions.apply(target, PLAN, context, str(other))
    assert (OutcomeStatus.REFUSED, 0) == (outcome.status, target.effects)


def test_approval_is_good_once(target: Target, context: Context, approval: str) -> None:
    """The same approval is refused for a second action, also by another run."""
    actions.apply(target, PLAN, context, approval)
    target.replicas = 3
    again = actions.apply(target, PLAN, replace(context, run_id="run-2"), approval)
    assert (OutcomeStatus.REFUSED, 1) == (again.status, target.effects)
    assert "used before" in again.reason


@pytest.mark.parametrize("shift_minutes", [-20, 20], ids=["expired", "not-yet"])
def test_approval_has_its_time(target: Target, context: Context, approval: str, shift_minutes: int) -> None:
    """An approval is refused after its end and before its beginning."""
    value = json.loads(Path(approval).read_text(encoding="utf-8"))
    for key in ("granted_at", "expires_at"):
        value[key] = rfc3339(parse_rfc3339(value[key]) + timedelta(minutes=shift_minutes))
    Path(approval).write_text(json.dumps(value), encoding="utf-8")
    outcome = actions.apply(target, PLAN, context, approval)
    assert (OutcomeStatus.REFUSED, 0) == (outcome.status, target.effects)


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"plan": 3}'], ids=["empty", "object", "list", "partial"])
def test_garbage_is_no_approval(target: Target, context: Context, tmp_path: Path, text: str) -> None:
    """A file that holds no approval is a clear error and nothing is sent."""
    path = tmp_path / "approval.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match="holds no approval"):
        actions.apply(target, PLAN, context, str(path))
    assert 0 == target.effects


def test_unknown_outcome_is_never_sent_again(target: Target, context: Context, approval: str) -> None:
    """When the answer is lost after the effect, the outcome is unknown, and the plan is not sent a second time."""
    target.answer = OutcomeUnknownError("no answer within 15 s")
    outcome = actions.apply(target, PLAN, context, approval)
    assert (OutcomeStatus.UNKNOWN, 1) == (outcome.status, target.effects)
    assert "reconcile" in outcome.reason


def test_unsettled_target_is_left_alone(target: Target, context: Context, approval: str, tmp_path: Path) -> None:
    """After a lost answer no run acts on the target until its outcome is known."""
    target.answer = OutcomeUnknownError("no answer within 15 s")
    actions.apply(target, PLAN, context, approval)
    target.answer, again = None, replace(PLAN, before={"replicas": 5}, after={"replicas": 6})
    path = actions.grant(again, tmp_path / "approvals", approver="bob", known_by="configuration")
    other = replace(context, run_id="run-2")
    refused = actions.apply(target, again, other, str(path))
    assert (OutcomeStatus.REFUSED, 1) == (refused.status, target.effects)
    assert "run-1 has no known outcome" in refused.reason
    ledger = Ledger(context.ledger)
    assert ledger.settle(PLAN, f"{PLAN.digest[7:]}-run-1", "applied", "run-3")
    assert actions.apply(target, again, other, str(path)).applied


def test_target_that_changes_before_the_request_is_left_alone(
    target: Target, context: Context, approval: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change between the approval and the request voids the plan: nothing is sent, and the intent is settled."""

    def journal(kind: str, data: object) -> None:
        if kind == "action.intent":
            target.replicas = 4

    outcome = actions.apply(target, PLAN, replace(context, journal=journal), approval)
    assert (OutcomeStatus.REFUSED, 0) == (outcome.status, target.effects)
    assert () == Ledger(context.ledger).unsettled(PLAN)


def test_rate_of_a_target_is_limited(target: Target, context: Context, tmp_path: Path) -> None:
    """One target gets no more requests in ten minutes than the environment allows; another one is free."""
    run = replace(context, environment=replace(PROD, approval={"default": "none"}, max_changes=2))
    for number in range(2):
        actions.apply(target, replace(PLAN, before={"replicas": target.replicas}, after={"replicas": number + 6}), run)
    plan = replace(PLAN, before={"replicas": 7}, after={"replicas": 8})
    assert "2 requests in 10 minutes, at most 2" in str(actions.apply(target, plan, run))
    assert actions.apply(target, replace(plan, target="production/deployment/other"), run).applied


def test_rejection_is_told(target: Target, context: Context, approval: str) -> None:
    """What the target refuses is rejected, with its reason and the state read back."""
    target.instead = ActionRejectedError("409 conflict")
    outcome = actions.apply(target, PLAN, context, approval)
    assert (OutcomeStatus.REJECTED, 0, {"replicas": 3}) == (outcome.status, target.effects, outcome.read_back)


def test_one_effect_of_many_racing(target: Target, context: Context, approval: str) -> None:
    """Of many runs that race with one approval, exactly one has an effect."""
    with ThreadPoolExecutor(max_workers=25) as pool:
        runs = [replace(context, run_id=f"run-{number}") for number in range(25)]
        outcomes = list(pool.map(lambda run: actions.apply(target, PLAN, run, approval), runs))
    assert 1 == target.effects
    assert 1 == sum(outcome.applied for outcome in outcomes)


def test_lock_keeps_others_out(target: Target, context: Context, approval: str) -> None:
    """While another run holds the target's lock, the action is refused and the approval is not spent."""
    release = context.lock(f"{PLAN.environment}/{PLAN.target}")
    refused = actions.apply(target, PLAN, context, approval)
    release()
    assert OutcomeStatus.REFUSED == refused.status
    assert "another run is changing" in refused.reason
    assert actions.apply(target, PLAN, context, approval).applied


@pytest.mark.parametrize("minutes", [0, -1, 16, 600], ids=["zero", "negative", "just-over", "hours"])
def test_long_approvals_cannot_be_made(tmp_path: Path, minutes: float) -> None:
    """An approval lasts at most 15 minutes."""
    with pytest.raises(UsageError, match="up to 15 minutes"):
        actions.grant(PLAN, tmp_path, approver="bob", known_by="x", minutes=minutes)
