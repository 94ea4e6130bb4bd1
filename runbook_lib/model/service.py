"""What users depend on, where it runs, and what it promises."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
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


@dataclass(frozen=True, slots=True)
class Environment:
    """One place where a service runs, carrying how cautious to be.

    Args:
        name: its key in the catalogue.
        description: what it is.
        actions: kinds of action it allows; empty means read only.
        approval: kind of action to who must approve: ``none``, ``one`` or ``two``; ``default`` for the rest.
        endpoints: source to how it is reached.
        freeze: reason of a change freeze; empty when there is none.
        max_replicas: upper bound of a scale.
    """

    name: str
    description: str
    actions: tuple[str, ...]
    approval: Mapping[str, str]
    endpoints: Mapping[str, Endpoint]
    freeze: str = ""
    max_replicas: int = 20


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
