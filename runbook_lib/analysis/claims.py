"""How findings are made: every one cites its evidence, its number, its threshold and the threshold's source."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from runbook_lib.analysis.thresholds import THRESHOLDS
from runbook_lib.model import Evidence, Finding, Gap, Quantity, Role, Severity

_REASON_LENGTH = 90
#: How PostgreSQL (SQLSTATE 53300), its client and Redis say that no connection is left.
_NO_ROOM = (
    "53300",
    "too many clients",
    "too many connections",
    "remaining connection slots",
    "no slot is free",
    "max number of clients",
)
#: What a source gave: an answer, no answer, or None when the runbook did not ask.
Given = Evidence | Gap | None


def cite(*given: Given) -> tuple[str, ...]:
    """``source.name#sha256:...`` of each evidence, ``source.name`` of each gap, in the order given."""
    cited = (f"{one.key}#{one.digest}" if isinstance(one, Evidence) else one.key for one in given if one is not None)
    return tuple(dict.fromkeys(cited))


def found(
    cause: str,
    severity: Severity,
    title: str,
    *given: Given,
    observed: Quantity | None = None,
    limit: str = "",
    since: datetime | None = None,
    confidence: float = 0.5,
    subject: Mapping[str, Any] | None = None,
    role: Role = Role.CAUSE,
) -> Finding:
    """A finding that rests on ``given``; ``limit`` is a key of ``THRESHOLDS``."""
    threshold = THRESHOLDS[limit] if limit else None
    return Finding(
        cause=cause,
        severity=severity,
        title=title,
        role=role,
        evidence=cite(*given),
        observed=observed,
        threshold=threshold.quantity if threshold else None,
        threshold_source=threshold.source if threshold else "",
        since=since,
        confidence=confidence,
        subject=subject or {},
    )


def ruled_out(cause: str, title: str, *given: Given, observed: Quantity | None = None, limit: str = "") -> Finding:
    """A cause that a number rules out."""
    return found(
        cause, Severity.NOTE, title, *given, observed=observed, limit=limit, confidence=0.0, role=Role.RULED_OUT
    )


def untold(question: str, given: Evidence | Gap, reason: str = "") -> Finding:
    """The answer to ``question`` is unknown because ``given`` holds none.

    A gap that no verdict needs is context; any other missing answer is a finding of severity unknown.
    """
    needed = given.needed if isinstance(given, Gap) else True
    because = reason or (given.reason if isinstance(given, Gap) else "the answer holds no usable number")
    # The gap itself stands beside its findings with the whole reason.
    because = because if len(because) <= _REASON_LENGTH or reason else f"{because[:_REASON_LENGTH]}..."
    return found(
        "unknown",
        Severity.UNKNOWN if needed else Severity.NOTE,
        f"cannot tell {question}: {given.source}: {because}",
        given,
        confidence=0.0,
        role=Role.CAUSE if needed else Role.CONTEXT,
    )


def has_no_room(gap: Gap) -> bool:
    """Whether the system answered that it has no connection left: it is there, and full."""
    reason = gap.reason.casefold()
    return any(words in reason for words in _NO_ROOM)


def has_samples(given: Given) -> bool:
    """Whether ``given`` is evidence with at least one finite sample."""
    return isinstance(given, Evidence) and any(True for one in given.series for _ in one.points())
