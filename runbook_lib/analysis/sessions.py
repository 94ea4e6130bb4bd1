"""Database sessions at fault by themselves: one long statement, or a transaction left open and idle."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from runbook_lib.analysis.claims import found, ruled_out
from runbook_lib.analysis.thresholds import THRESHOLDS
from runbook_lib.model import Evidence, Finding, Quantity, Severity
from runbook_lib.model.evidence import Scalar
from runbook_lib.model.times import duration


@dataclass(frozen=True, slots=True)
class Session:
    """One row of ``pg_stat_activity``; ages in seconds, NaN where there is none.

    Args:
        row: the row as it was read.
        pid: process id of the backend.
        state: ``active``, ``idle``, ``idle in transaction`` ...
        user: database role.
        application: what the client calls itself.
        waits_for: type of what it waits for; empty while it works.
        statement_seconds: since its statement began.
        transaction_seconds: since its transaction began.
        state_seconds: since its state changed.
    """

    row: Mapping[str, Scalar]
    pid: int
    state: str
    user: str
    application: str
    waits_for: str
    statement_seconds: float
    transaction_seconds: float
    state_seconds: float

    @property
    def who(self) -> str:
        """The session in words."""
        client = self.application or "no application name"
        return f"pid {self.pid} ({self.user or 'unknown user'}, {client})"

    @property
    def statement(self) -> str:
        """The start of its statement, literals already taken out by the client."""
        return shortened(self.row.get("query"))

    def subject(self, own: str = "") -> dict[str, Any]:
        """What a plan needs to end exactly this session and no other, and whether it is the service's ``own``."""
        keys = ("pid", "backend_start", "xact_start", "user", "application", "query_id", "database")
        named = {key: self.row[key] for key in keys if self.row.get(key) is not None}
        return {**named, "own": bool(own) and self.application == own}


def shortened(statement: Scalar) -> str:
    """A statement on one line of at most 80 characters."""
    text = " ".join(str(statement or "").split())
    return text if len(text) <= 80 else f"{text[:77]}..."


def sessions_of(activity: Evidence) -> list[Session]:
    """Client sessions other than our own, by pid."""
    rows = [row for row in activity.table.records() if isinstance(row.get("pid"), int) and _is_client(row)]
    return sorted((_session(row) for row in rows), key=lambda one: one.pid)


def _is_client(row: Mapping[str, Scalar]) -> bool:
    # Readings of our own, by this run or another, are no part of the incident.
    return str(row.get("application") or "").partition(":")[0] != "rb"


def _session(row: Mapping[str, Scalar]) -> Session:
    return Session(
        row=row,
        pid=int(row["pid"]),  # type: ignore[arg-type]
        state=str(row.get("state") or ""),
        user=str(row.get("user") or ""),
        application=str(row.get("application") or ""),
        waits_for=str(row.get("wait_event_type") or ""),
        statement_seconds=_seconds(row.get("query_seconds")),
        transaction_seconds=_seconds(row.get("transaction_seconds")),
        state_seconds=_seconds(row.get("state_seconds")),
    )


def _seconds(value: Scalar) -> float:
    return float(value) if isinstance(value, int | float) else math.nan


def own_application(sessions: list[Session]) -> str:
    """What the service calls itself: the application with most sessions, as it keeps a pool; empty when unclear."""
    counts = Counter(one.application for one in sessions if one.application).most_common(2)
    clear = len(counts) == 1 or (len(counts) > 1 and counts[0][1] > counts[1][1])
    return counts[0][0] if clear else ""


def working_sessions(sessions: list[Session], blocked: frozenset[int]) -> list[Session]:
    """Sessions that run a statement and wait for no lock; those that wait are victims, not causes."""
    return [one for one in sessions if one.state == "active" and one.waits_for != "Lock" and one.pid not in blocked]


def long_statements(activity: Evidence, working: list[Session], own: str = "") -> list[Finding]:
    """``db.long_query`` for the longest statement that works, or what rules it out.

    Args:
        activity: the evidence that findings cite.
        working: sessions that run a statement and wait for no lock.
        own: the application that is the service itself.
    """
    limit = THRESHOLDS["active_seconds"].value
    ages = {one.pid: one.statement_seconds for one in working if math.isfinite(one.statement_seconds)}
    long = sorted((one for one in working if ages.get(one.pid, 0.0) >= limit), key=lambda one: -ages[one.pid])
    if not long:
        oldest = max(ages.values(), default=None)
        title = f"{len(working)} statements run, the longest for {_age(oldest)}"
        return [_out("db.long_query", title, activity, oldest, "active_seconds")]
    worst = long[0]
    more = f" and {len(long) - 1} more" if len(long) > 1 else ""
    return [
        found(
            "db.long_query",
            Severity.CRITICAL,
            f"{worst.who}{more} runs one statement for {duration(ages[worst.pid])}: {worst.statement}",
            activity,
            observed=Quantity(ages[worst.pid], "s"),
            limit="active_seconds",
            since=_ago(activity, ages[worst.pid]),
            confidence=0.8,
            subject={**worst.subject(own), "sessions": [one.pid for one in long]},
        )
    ]


def idle_transactions(activity: Evidence, sessions: list[Session], blockers: Mapping[int, int]) -> list[Finding]:
    """``db.idle_in_transaction`` for sessions that hold a transaction open, those that block others first.

    Args:
        activity: the evidence that findings cite.
        sessions: what it holds.
        blockers: pid to the number of sessions that wait for it.
    """
    limit = THRESHOLDS["idle_in_transaction_seconds"].value
    idle = [one for one in sessions if one.state.startswith("idle in transaction")]
    ages = {one.pid: one.state_seconds for one in idle if math.isfinite(one.state_seconds)}
    # A session that blocks others does harm from its first second; before, it may be between two statements.
    harm_limit = THRESHOLDS["lock_wait_seconds"].value
    guilty = [one for one in idle if ages.get(one.pid, 0.0) >= (harm_limit if one.pid in blockers else limit)]
    if not guilty:
        oldest = max(ages.values(), default=None)
        title = f"{len(idle)} sessions are idle in a transaction, the longest for {_age(oldest)}"
        return [_out("db.idle_in_transaction", title, activity, oldest, "idle_in_transaction_seconds")]
    guilty.sort(key=lambda one: (-blockers.get(one.pid, 0), -ages.get(one.pid, 0.0), one.pid))
    worst, age = guilty[0], ages.get(guilty[0].pid, 0.0)
    victims = blockers.get(worst.pid, 0)
    own = own_application(sessions)
    harm = f" and blocks {victims} other sessions" if victims else ""
    more = f"; {len(guilty) - 1} more sessions do the same" if len(guilty) > 1 else ""
    held = worst.transaction_seconds if math.isfinite(worst.transaction_seconds) else age
    return [
        found(
            "db.idle_in_transaction",
            Severity.CRITICAL if victims or len(guilty) > 1 else Severity.WARNING,
            f"{worst.who} does nothing for {duration(age)} with a transaction open{harm}{more}",
            activity,
            observed=Quantity(age, "s"),
            limit="idle_in_transaction_seconds",
            since=_ago(activity, held),
            confidence=0.95 if victims else 0.7,
            subject={
                **worst.subject(own),
                "sessions": [one.pid for one in guilty],
                "blocks": victims,
            },
        )
    ]


def _out(cause: str, title: str, activity: Evidence, oldest: float | None, limit: str) -> Finding:
    return ruled_out(cause, title, activity, observed=Quantity(oldest, "s"), limit=limit)


def _age(seconds: float | None) -> str:
    return duration(seconds) if seconds is not None else "no time"


def _ago(activity: Evidence, seconds: float) -> datetime:
    return activity.read_at - timedelta(seconds=seconds)
