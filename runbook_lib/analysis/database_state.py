"""What ails the database: sessions, locks, statements, connections, in the order in which they cause one another."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from runbook_lib.analysis.claims import Given, found, has_no_room, ruled_out, untold
from runbook_lib.analysis.locks import Waits, lock_contention, waits_of
from runbook_lib.analysis.sessions import (
    Session,
    idle_transactions,
    long_statements,
    own_application,
    sessions_of,
    working_sessions,
)
from runbook_lib.analysis.statements import crowded_statement, slow_statement
from runbook_lib.analysis.thresholds import THRESHOLDS
from runbook_lib.model import Evidence, Finding, Gap, Quantity, Severity
from runbook_lib.model.units import format_value


def database(
    activity: Evidence | Gap,
    blocking: Given = None,
    statements: Given = None,
    saturation: Given = None,
    tables: Given = None,
) -> tuple[Finding, ...]:
    """Look for a cause in the database.

    Args:
        activity: sessions, one row each, as the client reads ``pg_stat_activity``.
        blocking: sessions that wait for locks, with the root of their chain.
        statements: statements between two readings of ``pg_stat_statements``, with their earlier mean.
        saturation: connections used and usable.
        tables: how tables are read between two readings.

    Returns:
        ``db.idle_in_transaction``, ``db.lock_contention``, ``db.long_query``, ``db.slow_query`` and
        ``db.connections_saturated``, each found with the ``subject`` that a plan needs, or ruled out by its number;
        severity unknown for what was asked and not answered.
    """
    refused = _refused(activity, saturation)
    findings = [refused] if refused else []
    waits = waits_of(blocking) if isinstance(blocking, Evidence) else Waits({}, {}, {})
    sessions = sessions_of(activity) if isinstance(activity, Evidence) else []
    findings.extend(_from_sessions(activity, sessions, waits, tables))
    if isinstance(blocking, Gap):
        findings.append(untold("who waits for locks", blocking))
    elif blocking is not None:
        findings.extend(lock_contention(blocking, waits, own_application(sessions)))
    if isinstance(statements, Gap):
        findings.append(untold("which statement takes the database's time", statements))
    elif statements is not None:
        findings.append(slow_statement(statements, bool(waits.blockers), tables))
    if saturation is not None and refused is None:
        findings.append(_connections(saturation, sessions))
    return tuple(findings)


def _from_sessions(activity: Evidence | Gap, sessions: list[Session], waits: Waits, tables: Given) -> list[Finding]:
    """What the sessions of one moment tell: idle transactions, long statements, a crowd on one statement."""
    if isinstance(activity, Gap):
        return [untold("which sessions hold the database up", activity)]
    findings = idle_transactions(activity, sessions, waits.blockers)
    working = working_sessions(sessions, waits.blocked | frozenset(waits.victims))
    crowd = None if waits.blockers else crowded_statement(activity, working, tables)
    of_crowd = crowd.subject["sessions"] if crowd else ()
    findings.extend([crowd] if crowd else [])
    others = [one for one in working if one.pid not in of_crowd]
    return [*findings, *long_statements(activity, others, own_application(sessions))]


def _refused(*given: Given) -> Finding | None:
    """A connection that the server refuses for want of room is the finding itself."""
    for one in given:
        reason = _refusal(one)
        if reason:
            return found(
                "db.connections_saturated",
                Severity.CRITICAL,
                f"the server refuses new connections: {reason}",
                one,
                limit="connections_critical_ratio",
                confidence=0.95,
                subject={"scope": "server", "idle_share": 1.0},
            )
    return None


def _refusal(given: Given) -> str:
    if isinstance(given, Evidence):
        return str(given.document.get("reason") or "no slot is free") if given.document.get("refused") is True else ""
    return given.reason if given and has_no_room(given) else ""


def _connections(saturation: Evidence | Gap, sessions: list[Session]) -> Finding:
    if isinstance(saturation, Gap):
        return untold("whether the database has connections left", saturation)
    used, usable = _field(saturation.document, "used"), _field(saturation.document, "usable")
    if used is None or not usable:
        return untold("whether the database has connections left", saturation)
    ratio = used / usable
    states = _states(sessions)
    title = f"{used:.0f} of {usable:.0f} usable connections are taken ({format_value(ratio, 'ratio')}{states})"
    observed = Quantity(ratio, "ratio")
    if ratio < THRESHOLDS["connections_warning_ratio"].value:
        return ruled_out(
            "db.connections_saturated", title, saturation, observed=observed, limit="connections_warning_ratio"
        )
    critical = ratio >= THRESHOLDS["connections_critical_ratio"].value
    idle = sum(one.state == "idle" for one in sessions) / len(sessions) if sessions else 1.0
    holder, held = _biggest(sessions)
    return found(
        "db.connections_saturated",
        Severity.CRITICAL if critical else Severity.WARNING,
        f"{title}; {holder} holds {held}" if holder else title,
        saturation,
        observed=observed,
        limit="connections_critical_ratio" if critical else "connections_warning_ratio",
        confidence=0.85 if critical else 0.5,
        subject={"scope": "server", "idle_share": round(idle, 3), "holder": holder, "held": held},
    )


def _states(sessions: list[Session]) -> str:
    counts: dict[str, int] = {}
    for one in sessions:
        counts[one.state or "unknown"] = counts.get(one.state or "unknown", 0) + 1
    return "".join(
        f", {count} {state}" for state, count in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    )


def _biggest(sessions: list[Session]) -> tuple[str, int]:
    """The application that holds most connections, and how many."""
    counts: dict[str, int] = {}
    for one in sessions:
        counts[one.application or one.user] = counts.get(one.application or one.user, 0) + 1
    return max(counts.items(), key=lambda pair: (pair[1], pair[0]), default=("", 0))


def _field(document: Mapping[str, Any], name: str) -> float | None:
    value = document.get(name)
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
