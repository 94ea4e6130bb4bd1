"""A target that counts its effects, and the surroundings of a run that acts on it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from runbook_lib import actions
from runbook_lib.actions.lock import file_lock
from runbook_lib.actions.protocol import Context
from runbook_lib.model import Environment, GuardResult, NoPlan, Plan

PLAN = Plan(
    kind="scale",
    service="api",
    environment="prod",
    target="production/deployment/api-deployment",
    before={"replicas": 3},
    after={"replicas": 5},
    preconditions={"uid": "u-1"},
    effect="runs 5 pods instead of 3",
    way_back="scale back to 3",
    command="kubectl scale deployment api-deployment --replicas=5",
)
KNOWN = {"one": ("configuration",), "two": ("configuration",)}
PROD = Environment("prod", "", actions=("scale",), approval={"default": "one"}, endpoints={}, known_by=KNOWN)


@dataclass
class Target:
    """Something with replicas that can be scaled; ``answer`` is raised after the effect, ``before`` instead of it."""

    replicas: int = 3
    effects: int = 0
    answer: Exception | None = None
    instead: Exception | None = None
    refusals: tuple[str, ...] = ()
    seen_at_send: list[str] = field(default_factory=list)
    events: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)

    def observe(self, plan: Plan) -> Plan | NoPlan:
        """The plan against the replicas as they are."""
        return replace(plan, before={"replicas": self.replicas})

    def guards(self, plan: Plan, environment: Environment) -> Iterator[GuardResult]:
        """One guard that passes, and one for each configured refusal."""
        yield GuardResult("size", True, "fine")
        for reason in self.refusals:
            yield GuardResult("own guard", False, reason)

    def send(self, plan: Plan) -> None:
        """Scale, and note what the journal held at that moment."""
        self.seen_at_send = [kind for kind, _ in self.events]
        if self.instead:
            raise self.instead
        self.effects += 1
        self.replicas = plan.after["replicas"]
        if self.answer:
            raise self.answer

    def read_back(self, plan: Plan) -> Mapping[str, Any]:
        """The replicas now."""
        return {"replicas": self.replicas}


@pytest.fixture
def target() -> Target:
    """A target with three replicas."""
    return Target()


@pytest.fixture
def context(tmp_path: Path, target: Target) -> Context:
    """A run of ann in prod that asked for changes."""
    return Context(
        run_id="run-1",
        actor="ann",
        environment=PROD,
        requested=True,
        ledger=tmp_path / "ledger",
        journal=lambda kind, data: target.events.append((kind, data)),
        lock=lambda name: file_lock(tmp_path / "ledger/locks", name),
    )


@pytest.fixture
def approval(tmp_path: Path) -> str:
    """An approval of the plan by bob."""
    return str(actions.grant(PLAN, tmp_path / "approvals", approver="bob", known_by="configuration"))
