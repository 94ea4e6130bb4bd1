"""What users depend on, where it runs, and what it promises."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class Objective:
    """A target over a window (an SLO).

    Args:
        name: its key in the catalogue, such as ``"latency"``.
        kind: ``"latency"`` or ``"availability"``.
        target: share of good events, 0 to 1 (0.999), or for latency the quantile that must hold (0.95).
        threshold_seconds: for latency, the duration below which a request is good; None for availability.
        window_days: the period that the error budget covers, days.
    """

    name: str
    kind: str
    target: float
    threshold_seconds: float | None
    window_days: int

    @property
    def error_budget(self) -> float:
        """The share of events that may be bad, 0 to 1."""
        return 1 - self.target

    def __str__(self) -> str:
        if self.threshold_seconds is not None:
            return f"p{self.target * 100:g} latency < {self.threshold_seconds * 1000:g} ms"
        return f"{self.target * 100:g} % availability per {self.window_days} days"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """How one system is reached in one environment.

    Args:
        source: the system, such as ``"prometheus"``.
        settings: plain settings (``url``, ``host``, ``port``, ``namespace`` ...).
        secrets: setting name to the *name* of a secret (``env:``, ``file:``, ``k8s:``), never its value.
    """

    source: str
    settings: Mapping[str, str | int | float | bool]
    secrets: Mapping[str, str] = field(default_factory=dict)


#: How an approver may be known. Only the first cannot be claimed by whoever writes the approval's file.
KNOWN_BY = ("ssh-signature", "github-environment", "configuration", "operating system user", "card")


@dataclass(frozen=True, slots=True)
class Freeze:
    """A time without changes.

    Args:
        start: when it begins.
        end: when it is over.
        reason: why.
        allow: kinds of action that go on.
    """

    start: datetime
    end: datetime
    reason: str
    allow: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Environment:
    """One place where a service runs, carrying how cautious to be.

    Args:
        name: its key in the catalogue.
        description: what it is.
        actions: kinds of action it allows; empty means read only.
        approval: kind of action to who must approve: ``none``, ``one`` or ``two``; ``default`` for the rest.
        endpoints: source to how it is reached.
        freeze: reason of a change freeze without an end; empty when there is none.
        max_replicas: upper bound of a scale.
        max_factor: by how much one scale may multiply the pods.
        max_changes: how many requests one target may get within ten minutes.
        freezes: change freezes with a beginning and an end.
        known_by: rule (``one``, ``two``) to how an approver may be known; see ``KNOWN_BY``.
        approvers: kind of action, or ``default``, to the people who may approve it; empty: whoever is known.
        signers: path of the public keys that are trusted, see ssh-keygen(1); empty when there are none.
    """

    name: str
    description: str
    actions: tuple[str, ...]
    approval: Mapping[str, str]
    endpoints: Mapping[str, Endpoint]
    freeze: str = ""
    max_replicas: int = 20
    max_factor: float = 2.0
    max_changes: int = 10
    freezes: tuple[Freeze, ...] = ()
    known_by: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    approvers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    signers: str = ""

    def frozen(self, kind: str, at: datetime) -> str:
        """Why this kind of action must wait at that moment; empty when it need not."""
        for one in self.freezes:
            if one.start <= at < one.end and kind not in one.allow:
                return f"{one.reason} until {one.end:%Y-%m-%d %H:%M %Z}"
        return self.freeze

    def rule(self, kind: str, *, destructive: bool = False) -> str:
        """Who must approve this kind of action: ``none``, ``one`` or ``two``; never less than two what destroys."""
        return "two" if destructive else self.approval.get(kind, self.approval.get("default", "one"))

    def accepts(self, rule: str) -> tuple[str, ...]:
        """How an approver may be known under a rule; a signature, unless the environment says otherwise."""
        return self.known_by.get(rule, ("ssh-signature",))

    def may_approve(self, kind: str) -> tuple[str, ...]:
        """Who may approve this kind of action; empty: whoever is known."""
        return self.approvers.get(kind, self.approvers.get("default", ()))


@dataclass(frozen=True, slots=True)
class Service:
    """What users depend on and what carries the objectives.

    Args:
        name: its key in the catalogue.
        description: what it does.
        owner: the owning team.
        contacts: role (``primary``, ``secondary``) to address.
        dependencies: name to what must hold for it.
        tools: tool to the least version a person needs.
        access: rights that a person needs.
        links: name to a template with ``{from}`` and ``{to}`` (epoch milliseconds).
        alerts: where alerts go.
        objectives: name to objective.
        workload: ``namespace``, ``deployment``, ``release``, ``chart``, ``container``, ``repository`` ...
    """

    name: str
    description: str
    owner: str
    contacts: Mapping[str, str]
    dependencies: Mapping[str, str]
    tools: Mapping[str, str]
    access: tuple[str, ...]
    links: Mapping[str, str]
    alerts: tuple[str, ...]
    objectives: Mapping[str, Objective]
    workload: Mapping[str, Any]
