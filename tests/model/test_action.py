"""A plan's digest binds what an approval must bind, and nothing that changes by itself."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from runbook_lib.errors import UnknownNameError
from runbook_lib.model import CAUSES, Finding, Outcome, OutcomeStatus, Plan, Severity

PLAN = Plan(
    kind="scale",
    service="api",
    environment="production",
    target="production/deployment/api-deployment",
    before={"replicas": 3},
    after={"replicas": 5},
    preconditions={"uid": "u-1"},
    effect="runs 5 pods",
    way_back="scale back to 3",
    command="kubectl scale ...",
)


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "deploy"},
        {"environment": "staging"},
        {"target": "other"},
        {"before": {"replicas": 4}},
        {"after": {"replicas": 50}},
        {"preconditions": {"uid": "u-2"}},
        {"way_back": "none"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_digest_binds(change: dict[str, object]) -> None:
    """Changing anything that an approver relies on changes the digest."""
    assert PLAN.digest != replace(PLAN, **change).digest  # type: ignore[arg-type]


def test_digest_does_not_bind_words() -> None:
    """The wording of the effect is for people and does not change the digest."""
    assert PLAN.digest == replace(PLAN, effect="other words", diff="- a\n+ b").digest


def test_plan_round_trip() -> None:
    """A plan reads back with the same digest."""
    assert Plan.from_json(PLAN.to_json()) == PLAN


def test_causes_are_a_closed_set() -> None:
    """A finding with a cause that nobody documented cannot be made, and the nearest one is offered."""
    with pytest.raises(UnknownNameError, match=r"Did you mean 'db\.long_query'"):
        Finding("db.long_queri", Severity.CRITICAL, "x")
    assert "unknown" in CAUSES


def test_outcome_shows_when_it_was_sent_and_what_was_read_back() -> None:
    """A person sees the moment of the request and the target's state after it, beside the guards."""
    sent = datetime(2026, 3, 1, 20, 31, 5, tzinfo=UTC)
    shown = Outcome("sha256:1", OutcomeStatus.APPLIED, "5 pods", {"replicas": 5, "ready": 3}, sent_at=sent)
    assert all(part in shown._repr_html_() for part in ("20:31:05 UTC", "replicas 5, ready 3"))
