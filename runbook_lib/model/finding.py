"""Findings, the closed vocabulary of causes, and the verdict of a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from runbook_lib.errors import UnknownNameError
from runbook_lib.model import show
from runbook_lib.model.evidence import Gap
from runbook_lib.model.times import rfc3339
from runbook_lib.model.units import Quantity

#: Cause id to its meaning. The set is closed: a finding with another id cannot be made.
CAUSES: Mapping[str, str] = {
    "none": "nothing is wrong",
    "db.long_query": "one or a few statements run for long and take the database's time",
    "db.lock_contention": "statements wait for locks that another transaction holds",
    "db.idle_in_transaction": "a session holds a transaction open and does nothing",
    "db.connections_saturated": "no connection is free, in the pool or in the server",
    "db.slow_query": "a frequent statement became slow, as after a lost index or a changed plan",
    "db.unreachable": "the database cannot be reached by the service",
    "redis.slow": "commands take long and block the cache's single thread",
    "redis.evicting": "the cache is full and throws entries away",
    "redis.saturated": "the cache has no connection or no processor time left",
    "redis.unreachable": "the cache cannot be reached by the service",
    "app.cpu_bound": "the pods use all the processor time they may",
    "app.bad_release": "it began with a release",
    "app.crash_loop": "pods start and die again and again",
    "app.replicas_missing": "fewer pods serve than were asked for",
    "app.errors": "the service answers with errors of its own",
    "dependency.slow": "a system behind the service answers slowly",
    "traffic.surge": "more requests arrive than before",
    "unknown": "the evidence does not say",
}


class Severity(StrEnum):
    """How bad a finding is; ``UNKNOWN`` is never shown as good."""

    CRITICAL = "critical"
    WARNING = "warning"
    NOTE = "note"
    UNKNOWN = "unknown"


class Role(StrEnum):
    """What a finding is for: the symptom, a cause, context around it, or a cause that the numbers rule out."""

    SYMPTOM = "symptom"
    CAUSE = "cause"
    CONTEXT = "context"
    RULED_OUT = "ruled_out"


class Verdict(StrEnum):
    """The conclusion of a run."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    FAILING = "failing"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Finding:
    """A claim with its severity and cause, resting on named evidence.

    Args:
        cause: a key of ``CAUSES``.
        severity: how bad it is.
        title: one sentence with the numbers.
        role: symptom, cause, context or ruled out.
        evidence: keys and digests of the evidence it rests on, ``source.name#sha256:...``.
        observed: the number that was seen.
        threshold: the number it was held against.
        threshold_source: where the threshold comes from.
        since: when it began, if the evidence tells.
        confidence: 0 to 1, orders causes of the same severity; how strongly the evidence points here.
        subject: what exactly is at fault, such as ``{"pid": 4711}``, for a plan to act on.
    """

    cause: str
    severity: Severity
    title: str
    role: Role = Role.CAUSE
    evidence: tuple[str, ...] = ()
    observed: Quantity | None = None
    threshold: Quantity | None = None
    threshold_source: str = ""
    since: datetime | None = None
    confidence: float = 0.5
    subject: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.cause not in CAUSES:
            raise UnknownNameError("cause", self.cause, CAUSES)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data, as ``runbook run --json`` and the journal hold it."""
        return {
            "cause": self.cause,
            "severity": str(self.severity),
            "title": self.title,
            "role": str(self.role),
            "evidence": list(self.evidence),
            "observed": self.observed.to_json() if self.observed else None,
            "threshold": self.threshold.to_json() if self.threshold else None,
            "threshold_source": self.threshold_source,
            "since": rfc3339(self.since) if self.since else None,
            "confidence": round(self.confidence, 3),
            "subject": dict(self.subject),
        }

    def __str__(self) -> str:
        return f"{show.SIGNS[str(self.severity)]} {self.severity.upper()} {self.cause}: {self.title}"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return show.finding_html(self)


@dataclass(frozen=True, slots=True)
class Findings:
    """What a run knows at one moment, gaps first.

    Args:
        items: findings, strongest first, without what was ruled out.
        ruled_out: causes that the numbers rule out.
        gaps: what could not be read.
        verdict: the conclusion these allow.
        part: whether these answer one question only: what rules out one cause says nothing of the service's health.
    """

    items: tuple[Finding, ...]
    ruled_out: tuple[Finding, ...]
    gaps: tuple[Gap, ...]
    verdict: Verdict
    part: bool = False

    @property
    def top(self) -> Finding | None:
        """The strongest finding; None when there is none."""
        return self.items[0] if self.items else None

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.items)

    def _headline(self) -> tuple[str, str]:
        if self.part and not self.items and not self.gaps:
            return "note", "nothing found here"
        return str(self.verdict), str(self.verdict)

    def __str__(self) -> str:
        level, word = self._headline()
        lines = [f"{show.SIGNS[level]} {word.upper()}"]
        lines += [f"  {gap}" for gap in self.gaps]
        lines += [f"  {finding}" for finding in self.items]
        lines += [f"  ruled out {finding.cause}: {finding.title}" for finding in self.ruled_out]
        return "\n".join(lines)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        parts = [f"<div>{show.chip(*self._headline())}</div>"]
        parts += [f"<div>{gap._repr_html_()}</div>" for gap in self.gaps]
        parts += [show.finding_html(finding) for finding in self.items]
        if self.ruled_out:
            rows = [(finding.cause, finding.title) for finding in self.ruled_out]
            parts.append(f"<div><b>ruled out</b></div>{show.table(('cause', 'by'), rows)}")
        return "".join(parts)
