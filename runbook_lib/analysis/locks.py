"""Who waits for whom in the database: the root blocker and its victims."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from runbook_lib.analysis.claims import found, ruled_out
from runbook_lib.analysis.sessions import shortened
from runbook_lib.analysis.thresholds import THRESHOLDS
from runbook_lib.model import Evidence, Finding, Quantity, Severity
from runbook_lib.model.evidence import Scalar
from runbook_lib.model.times import duration


@dataclass(frozen=True, slots=True)
class Waits:
    """The waits of one moment.

    Args:
        roots: root pid to one of its rows, which describes the root itself.
        victims: root pid to the pids that wait because of it, directly or through others.
        longest_seconds: root pid to the longest of those waits; NaN where the source does not say.
    """

    roots: Mapping[int, Mapping[str, Scalar]]
    victims: Mapping[int, tuple[int, ...]]
    longest_seconds: Mapping[int, float]

    @property
    def blocked(self) -> frozenset[int]:
        """Every pid that waits."""
        return frozenset(pid for pids in self.victims.values() for pid in pids)

    @property
    def blockers(self) -> dict[int, int]:
        """Root pid to the number of its victims, for roots that do harm: brief waits belong to every busy database."""
        return {root: len(pids) for root, pids in self.victims.items() if self._harms(root, len(pids))}

    def _harms(self, root: int, count: int) -> bool:
        # Before PostgreSQL 14 the length of a wait is not known; then it counts as long.
        long = self.longest_seconds.get(root, math.inf) >= THRESHOLDS["lock_wait_seconds"].value
        return long or count >= THRESHOLDS["lock_victims"].value


def waits_of(blocking: Evidence) -> Waits:
    """Read the pairs of a root and a session that waits for it, directly or behind others."""
    roots: dict[int, Mapping[str, Scalar]] = {}
    victims: dict[int, set[int]] = {}
    longest: dict[int, float] = {}
    for row in blocking.table.records():
        root, pid = row.get("root_pid"), row.get("victim_pid")
        if not isinstance(root, int) or not isinstance(pid, int) or root == pid:
            continue
        roots.setdefault(root, row)
        victims.setdefault(root, set()).add(pid)
        waited = row.get("waited_seconds")
        if isinstance(waited, int | float) and math.isfinite(waited):
            longest[root] = max(longest.get(root, 0.0), float(waited))
    return Waits(roots, {root: tuple(sorted(pids)) for root, pids in sorted(victims.items())}, longest)


def lock_contention(blocking: Evidence, waits: Waits, own: str = "") -> list[Finding]:
    """``db.lock_contention`` for the root that most sessions wait for, or what rules it out.

    Args:
        blocking: the evidence that findings cite.
        waits: what it holds.
        own: the application that is the service itself.
    """
    blockers = waits.blockers
    if not blockers:
        longest = max(waits.longest_seconds.values(), default=0.0)
        title = f"{len(waits.blocked)} sessions wait for a lock, the longest for {duration(longest)}"
        return [
            ruled_out("db.lock_contention", title, blocking, observed=Quantity(longest, "s"), limit="lock_wait_seconds")
        ]
    root = max(blockers, key=lambda pid: (blockers[pid], waits.longest_seconds.get(pid, 0.0), -pid))
    pids, waited = waits.victims[root], waits.longest_seconds.get(root, math.nan)
    more = f"; {len(blockers) - 1} other sessions block too" if len(blockers) > 1 else ""
    wait = f", the longest for {duration(waited)}" if math.isfinite(waited) else ""
    title = f"{len(pids)} sessions wait for a lock{wait}; all because of {_who(root, waits.roots[root])}{more}"
    return [
        found(
            "db.lock_contention",
            Severity.CRITICAL,
            title,
            blocking,
            observed=Quantity(waited if math.isfinite(waited) else None, "s"),
            limit="lock_wait_seconds",
            since=_since(blocking, waited),
            confidence=0.9,
            subject={**_subject(root, waits.roots[root], own), "victims": list(pids)},
        )
    ]


def _who(pid: int, row: Mapping[str, Scalar]) -> str:
    """The root in words; a root without a session is a prepared transaction."""
    state = row.get("root_state")
    if not state:
        return f"pid {pid} ({row.get('root_type') or 'prepared transaction'})"
    client = row.get("root_application") or "no application name"
    return (
        f"pid {pid} ({row.get('root_user') or 'unknown user'}, {client}), {state}: {shortened(row.get('root_query'))}"
    )


def _subject(pid: int, row: Mapping[str, Scalar], own: str) -> dict[str, Scalar]:
    keys = ("backend_start", "xact_start", "user", "application")
    named = {key: row[f"root_{key}"] for key in keys if row.get(f"root_{key}") is not None}
    return {"pid": pid, **named, "own": bool(own) and named.get("application") == own}


def _since(blocking: Evidence, waited: float) -> datetime | None:
    return blocking.read_at - timedelta(seconds=waited) if math.isfinite(waited) else None
