"""Plans, approvals, outcomes and verifications: what is to change, who allowed it, what became of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from runbook_lib.model import show
from runbook_lib.model.canonical import digest
from runbook_lib.model.times import parse_rfc3339, rfc3339
from runbook_lib.model.units import Quantity


@dataclass(frozen=True, slots=True)
class Plan:
    """One action made concrete.

    Args:
        kind: the kind of action, such as ``"scale"``.
        service: the service it is for.
        environment: where it acts.
        target: what it changes, such as ``"production/deployment/api-deployment"``.
        before: the state it was made against; ``from`` in JSON.
        after: the state it asks for; ``to`` in JSON.
        preconditions: what must still hold when it is applied (uid, generation, backend start); no clock.
        effect: what a person will see.
        way_back: how to undo it, as a sentence with a command.
        command: the exact command it equals, for a person to copy.
        diff: the server's own dry run as a unified diff; empty when the target has none.
        warnings: what a person must know first, such as a coming revert.
        destructive: whether a second person must approve.
    """

    kind: str
    service: str
    environment: str
    target: str
    before: Mapping[str, Any]
    after: Mapping[str, Any]
    preconditions: Mapping[str, Any]
    effect: str
    way_back: str
    command: str
    diff: str = ""
    warnings: tuple[str, ...] = ()
    destructive: bool = False

    @property
    def digest(self) -> str:
        """``sha256:`` of what an approval binds; holds no clock, so the same world gives the same digest."""
        return digest(
            {
                "kind": self.kind,
                "environment": self.environment,
                "target": self.target,
                "from": self.before,
                "to": self.after,
                "preconditions": self.preconditions,
                "way_back": self.way_back,
            }
        )

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data, as ``runbook run --json`` and the journal hold it."""
        return {
            "digest": self.digest,
            "kind": self.kind,
            "service": self.service,
            "environment": self.environment,
            "target": self.target,
            "from": dict(self.before),
            "to": dict(self.after),
            "preconditions": dict(self.preconditions),
            "effect": self.effect,
            "way_back": self.way_back,
            "command": self.command,
            "diff": self.diff,
            "warnings": list(self.warnings),
            "destructive": self.destructive,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Plan:
        """The plan that ``to_json`` wrote; its digest is computed anew."""
        named = {key: value[key] for key in value if key not in {"digest", "from", "to", "warnings"}}
        return cls(before=value["from"], after=value["to"], warnings=tuple(value["warnings"]), **named)

    def __str__(self) -> str:
        return f"PLAN {self.digest[7:19]} {self.kind} {self.target}: {self.effect}"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return show.plan_html(self)


@dataclass(frozen=True, slots=True)
class NoPlan:
    """That no action is proposed, why, and what a person can do instead.

    Args:
        reason: why there is no plan.
        advice: next steps for a person, most useful first.
        diff: what those steps would change, such as statements that a person runs; may be empty.
        blocked: whether something stands against a change that was asked for; the run then fails.
    """

    reason: str
    advice: tuple[str, ...] = ()
    diff: str = ""
    blocked: bool = False

    def to_json(self) -> dict[str, Any]:
        """``{reason, advice}``, and ``diff`` where there is one."""
        return {"reason": self.reason, "advice": list(self.advice), **({"diff": self.diff} if self.diff else {})}

    def __str__(self) -> str:
        return "NO PLAN: " + " ".join((self.reason, *self.advice))

    __repr__ = __str__

    def _repr_html_(self) -> str:
        steps = "".join(f"<li>{show.text(step)}</li>" for step in self.advice)
        told = f"<div>{show.chip('note', 'no plan')} {show.text(self.reason)}</div>"
        return told + (f"<ul>{steps}</ul>" if steps else "") + show.difference(self.diff)


@dataclass(frozen=True, slots=True)
class GuardResult:
    """One condition that was checked immediately before applying."""

    name: str
    passed: bool
    reason: str

    def to_json(self) -> dict[str, Any]:
        """``{name, passed, reason}``."""
        return {"name": self.name, "passed": self.passed, "reason": self.reason}


@dataclass(frozen=True, slots=True)
class Approval:
    """Who allowed which exact plan, until when.

    Args:
        plan: digest of the plan.
        environment: the environment it holds for.
        approver: who approved.
        known_by: how the approver is known: ``configuration``, ``ssh-signature``, ``github-environment``, ``card``.
        granted_at: when.
        expires_at: until when it may be used.
        nonce: makes it usable once.
        signature: armoured signature over the rest; empty where identity comes from elsewhere.
    """

    plan: str
    environment: str
    approver: str
    known_by: str
    granted_at: datetime
    expires_at: datetime
    nonce: str
    signature: str = field(default="", repr=False)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data, as the journal holds it."""
        return {
            "plan": self.plan,
            "environment": self.environment,
            "approver": self.approver,
            "known_by": self.known_by,
            "granted_at": rfc3339(self.granted_at),
            "expires_at": rfc3339(self.expires_at),
            "nonce": self.nonce,
            "signature": self.signature,
        }


class OutcomeStatus(StrEnum):
    """What became of a plan. ``WAITING``: planned only, nothing was asked for. ``UNKNOWN``: sent, effect untold."""

    WAITING = "waiting"
    APPLIED = "applied"
    REFUSED = "refused"
    REJECTED = "rejected"
    FAILED = "failed"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a plan, with what was read back.

    Args:
        plan: digest of the plan.
        status: see ``OutcomeStatus``.
        reason: one sentence for a person.
        read_back: the target's state as read after the request.
        guards: the guards that were checked, in order.
        sent_at: when the one request was sent; None when none was.
    """

    plan: str
    status: OutcomeStatus
    reason: str
    read_back: Mapping[str, Any] = field(default_factory=dict)
    guards: tuple[GuardResult, ...] = ()
    sent_at: datetime | None = None

    @property
    def applied(self) -> bool:
        """Whether the change took place."""
        return self.status is OutcomeStatus.APPLIED

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data, as ``runbook run --json`` and the journal hold it."""
        return {
            "plan": self.plan,
            "outcome": str(self.status),
            "reason": self.reason,
            "read_back": dict(self.read_back),
            "guards": [guard.to_json() for guard in self.guards],
            "sent_at": rfc3339(self.sent_at) if self.sent_at else None,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Outcome:
        """The outcome that ``to_json`` wrote."""
        return cls(
            plan=value["plan"],
            status=OutcomeStatus(value["outcome"]),
            reason=value["reason"],
            read_back=value["read_back"],
            guards=tuple(GuardResult(**guard) for guard in value["guards"]),
            sent_at=parse_rfc3339(value["sent_at"]) if value["sent_at"] else None,
        )

    def __str__(self) -> str:
        return f"{self.status.upper()}: {self.reason}"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return show.outcome_html(self)


@dataclass(frozen=True, slots=True)
class Verification:
    """The same evidence read again after a change, against before.

    Args:
        status: ``held`` (the objective holds again), ``not_held``, ``unknown`` (could not be read) or
            ``not_needed`` (nothing was applied).
        sentence: what was compared, with the numbers.
        before: the number before the change.
        after: the number after it.
        evidence: keys and digests of both readings.
    """

    status: str
    sentence: str
    before: Quantity | None = None
    after: Quantity | None = None
    evidence: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data, as ``runbook run --json`` and the journal hold it."""
        return {
            "status": self.status,
            "sentence": self.sentence,
            "before": self.before.to_json() if self.before else None,
            "after": self.after.to_json() if self.after else None,
            "evidence": list(self.evidence),
        }

    def __str__(self) -> str:
        return f"VERIFICATION {self.status.replace('_', ' ').upper()}: {self.sentence}"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        level = {"held": "healthy", "not_held": "critical", "not_needed": "note"}.get(self.status, "unknown")
        return show.chip(level, self.status.replace("_", " ")) + show.text(f" {self.sentence}")
