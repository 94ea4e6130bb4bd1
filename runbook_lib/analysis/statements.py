"""Which statement takes the database's time, and whether it used to take less."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from runbook_lib.analysis.claims import Given, found, ruled_out
from runbook_lib.analysis.sessions import Session
from runbook_lib.analysis.thresholds import THRESHOLDS
from runbook_lib.model import Evidence, Finding, Quantity, Severity
from runbook_lib.model.evidence import Scalar
from runbook_lib.model.times import duration
from runbook_lib.model.units import format_value


@dataclass(frozen=True, slots=True)
class Statement:
    """One normalised statement between two readings of ``pg_stat_statements``.

    Args:
        query_id: its id; empty when the source gives none.
        text: the statement without literals.
        calls: calls between the readings.
        seconds: execution time between the readings.
        mean_seconds: ``seconds / calls``.
        earlier_seconds: mean time of all calls before; NaN when there were none.
        busy: execution time per second between the readings: sessions that it kept busy on average.
    """

    query_id: str
    text: str
    calls: float
    seconds: float
    mean_seconds: float
    earlier_seconds: float
    busy: float

    @property
    def factor(self) -> float:
        """Mean time now as a multiple of before; NaN without a past."""
        return self.mean_seconds / self.earlier_seconds if self.earlier_seconds > 0 else math.nan


def statements_of(statements: Evidence) -> list[Statement]:
    """The statements that were called, most time first."""
    known = [_statement(row) for row in statements.table.records()]
    return sorted((one for one in known if one.calls > 0), key=lambda one: (-one.seconds, one.query_id, one.text))


def _statement(row: dict[str, Scalar]) -> Statement:
    calls, seconds = _number(row.get("calls"), 0.0), _number(row.get("total_seconds"), 0.0)
    return Statement(
        query_id=str(row.get("query_id") or ""),
        text=" ".join(str(row.get("query") or "").split())[:100],
        calls=calls,
        seconds=seconds,
        mean_seconds=seconds / calls if calls > 0 else math.nan,
        earlier_seconds=_number(row.get("earlier_mean_seconds"), math.nan),
        busy=_number(row.get("busy"), 0.0),
    )


def slow_statement(statements: Evidence, blocked: bool, tables: Given = None) -> Finding:
    """``db.slow_query`` for a frequent statement that became slow and takes most of the time, or what rules it out.

    Args:
        statements: the evidence that the finding cites.
        blocked: whether sessions wait for locks: then slow statements are victims and say nothing of themselves.
        tables: how tables are read between two readings; a large one read in full again and again lacks an index.
    """
    known = statements_of(statements)
    total = math.fsum(one.seconds for one in known)
    if not known or total <= 0:
        return ruled_out("db.slow_query", "no statement was called between two readings", statements)
    top = known[0]
    share = top.seconds / total
    scanned = scanned_table(tables)
    was = f", {format_value(top.earlier_seconds, 's')} before" if math.isfinite(top.earlier_seconds) else ""
    title = (
        f"{format_value(top.mean_seconds, 's')} a call on average{was}, {format_value(top.calls, 'count')} calls, "
        f"{format_value(share, 'ratio')} of the database's time: {top.text}"
    )
    if blocked or not _became_slow(top, share, bool(scanned)):
        return ruled_out(
            "db.slow_query", title, statements, observed=Quantity(top.mean_seconds, "s"), limit="statement_seconds"
        )
    return found(
        "db.slow_query",
        Severity.CRITICAL,
        f"{title}{_scanned(scanned)}",
        statements,
        tables if scanned else None,
        observed=Quantity(top.factor, "") if math.isfinite(top.factor) else Quantity(top.mean_seconds, "s"),
        limit="statement_factor" if math.isfinite(top.factor) else "crowd_seconds",
        confidence=0.9 if scanned else 0.8,
        subject={**_subject(top), "table": scanned},
    )


def crowded_statement(activity: Evidence, working: list[Session], tables: Given = None) -> Finding | None:
    """``db.slow_query`` when several sessions work on one and the same statement at the same moment.

    A statement that is cancelled for taking too long is never counted by ``pg_stat_statements``: of a frequent
    statement that always times out only the crowd is seen.

    Args:
        activity: the evidence that the finding cites.
        working: sessions that work and wait for no lock.
        tables: how tables are read between two readings.
    """
    least = THRESHOLDS["crowd_seconds"].value
    crowds: dict[str, list[Session]] = {}
    for one in working:
        if one.statement_seconds >= least:
            crowds.setdefault(str(one.row.get("query_id") or one.statement), []).append(one)
    crowd = max(crowds.values(), key=lambda group: (len(group), group[0].statement), default=[])
    scanned = scanned_table(tables)
    # Newcomers tell a frequent statement from a few long ones that began together.
    arriving = any(one.statement_seconds < THRESHOLDS["active_seconds"].value for one in crowd)
    if not arriving or len(crowd) < THRESHOLDS["crowd_sessions"].value - bool(scanned):
        return None
    oldest = max(one.statement_seconds for one in crowd)
    return found(
        "db.slow_query",
        Severity.CRITICAL,
        f"{len(crowd)} sessions work on the same statement, up to {duration(oldest)}: {crowd[0].statement}"
        f"{_scanned(scanned)}",
        activity,
        tables if scanned else None,
        observed=Quantity(len(crowd), "count"),
        limit="crowd_sessions",
        confidence=0.85 if scanned else 0.7,
        subject={
            "query_id": str(crowd[0].row.get("query_id") or ""),
            "query": crowd[0].statement,
            "sessions": [one.pid for one in crowd],
            "table": scanned,
        },
    )


def _scanned(table: str) -> str:
    return f"; {table} is read in full again and again" if table else ""


def scanned_table(tables: Given) -> str:
    """The large table that is read in full again and again, empty when there is none."""
    if not isinstance(tables, Evidence):
        return ""
    for row in tables.table.records():
        scans, rows = _number(row.get("seq_scans"), 0.0), _number(row.get("seq_rows"), 0.0)
        often = scans >= THRESHOLDS["statement_calls"].value
        if often and rows / scans >= THRESHOLDS["scanned_rows"].value:
            return str(row.get("relation"))
    return ""


def _became_slow(top: Statement, share: float, scans: bool) -> bool:
    frequent = top.calls >= THRESHOLDS["statement_calls"].value
    slow = top.mean_seconds >= THRESHOLDS["statement_seconds"].value
    dominant = share >= THRESHOLDS["statement_share"].value
    rose = top.factor >= THRESHOLDS["statement_factor"].value
    # A statement without a past is new, as with a release, and trouble that has lasted for long spoils the past:
    # what works as long as one may wait is slow, unless it always did.
    changed = math.isnan(top.factor) or top.factor >= THRESHOLDS["shift_factor"].value
    long = changed and top.mean_seconds >= THRESHOLDS["crowd_seconds"].value
    # Full scans of a large table stand in for the past, too.
    return frequent and slow and dominant and (scans or rose or long)


def _subject(top: Statement) -> dict[str, Any]:
    return {"query_id": top.query_id, "query": top.text, "calls": top.calls, "mean_seconds": round(top.mean_seconds, 6)}


def _number(value: Scalar, missing: float) -> float:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else missing
