"""What PostgreSQL counted between two readings, and the guarded statements that end a session."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from runbook_lib.model import Table
from runbook_lib.model.evidence import Scalar

END_WAIT_MILLISECONDS = 2000
STATEMENT_KEY = ("userid", "dbid", "queryid", "toplevel")
STATEMENT_COLUMNS = (
    "query_id",
    "user",
    "database",
    "calls",
    "total_seconds",
    "mean_seconds",
    "earlier_calls",
    "earlier_mean_seconds",
    "share",
    "busy",
    "rows",
    "blocks_hit",
    "blocks_read",
    "query",
)
# Texts are read for the few statements that matter only: PostgreSQL keeps them in a file that it reads whole.
STATEMENT_TEXTS = """
SELECT DISTINCT ON (s.userid, s.dbid, s.queryid) s.userid::text, s.dbid::text, s.queryid::text,
       pg_get_userbyid(s.userid) AS "user", d.datname AS database, s.query
FROM pg_stat_statements s LEFT JOIN pg_database d ON d.oid = s.dbid
WHERE s.queryid::text = ANY(%s)
"""
HIDDEN_MIGRATIONS = """
SELECT c.oid::regclass::text AS name
FROM pg_class c
WHERE c.relkind IN ('r', 'p', 'v') AND NOT has_table_privilege(c.oid, 'SELECT')
  AND c.relname IN ('schema_migrations', 'alembic_version', 'django_migrations', 'flyway_schema_history',
    'databasechangelog', 'databasechangeloglock', '_prisma_migrations')
"""

# The session is named by what cannot be had twice: a pid is given to a new session as soon as the old one is gone.
_GUARD = """
FROM pg_stat_activity
WHERE pid = %(pid)s AND backend_start = %(backend_start)s::timestamptz
  AND xact_start IS NOT DISTINCT FROM %(xact_start)s::timestamptz
  AND backend_type = 'client backend' AND usename = ANY(%(users)s) AND pid <> pg_backend_pid()
"""
TERMINATE = f"SELECT pid, pg_terminate_backend(pid, {END_WAIT_MILLISECONDS}) AS done {_GUARD}"
CANCEL = f"""SELECT pid, pg_cancel_backend(pid) AS done {_GUARD}
  AND state = 'active' AND query_start = %(query_start)s::timestamptz"""

Snapshot = Mapping[tuple[Any, ...], Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class StatementChange:
    """What one statement added between two readings of pg_stat_statements.

    Args:
        key: values of ``STATEMENT_KEY``.
        calls: completed calls.
        seconds: their execution time, seconds.
        rows: rows they returned or changed.
        blocks_hit: blocks found in shared buffers.
        blocks_read: blocks read from outside.
        earlier_calls: calls before the first reading.
        earlier_seconds: their execution time, seconds.
    """

    key: tuple[Any, ...]
    calls: int
    seconds: float
    rows: int
    blocks_hit: int
    blocks_read: int
    earlier_calls: int
    earlier_seconds: float

    def row(self, names: Mapping[str, Any], total_seconds: float, elapsed_seconds: float) -> dict[str, Scalar]:
        """The change as a row of ``STATEMENT_COLUMNS``.

        Args:
            names: ``user``, ``database`` and ``query`` of the statement, as far as they are known.
            total_seconds: execution time of all statements, seconds.
            elapsed_seconds: time between the readings, seconds.
        """
        return {
            "query_id": self.key[2],
            "user": names.get("user"),
            "database": names.get("database"),
            "calls": self.calls,
            "total_seconds": self.seconds,
            "mean_seconds": self.seconds / self.calls,
            "earlier_calls": self.earlier_calls,
            "earlier_mean_seconds": self.earlier_seconds / self.earlier_calls if self.earlier_calls else None,
            "share": self.seconds / total_seconds,
            "busy": self.seconds / elapsed_seconds,
            "rows": self.rows,
            "blocks_hit": self.blocks_hit,
            "blocks_read": self.blocks_read,
            "query": names.get("query"),
        }


_NOTHING = {"calls": 0, "seconds": 0.0, "rows": 0, "blocks_hit": 0, "blocks_read": 0}


def statement_changes(before: Snapshot, after: Snapshot) -> list[StatementChange]:
    """What each statement added; an entry whose calls fell was thrown out in between and is left out."""
    changed = []
    for key, row in after.items():
        old = before.get(key, _NOTHING)
        if row["calls"] > old["calls"]:
            added = {name: row[name] - old[name] for name in _NOTHING}
            changed.append(
                StatementChange(key=key, earlier_calls=old["calls"], earlier_seconds=old["seconds"], **added)
            )
    return changed


def table_changes(before: Snapshot, after: Snapshot) -> Table:
    """How each table was read between two readings of pg_stat_user_tables, most rows scanned first."""
    rows = []
    for key, row in after.items():
        old = before.get(key, {})
        scans, read, index = (row[name] - old.get(name, 0) for name in ("seq_scan", "seq_tup_read", "idx_scan"))
        if min(scans, read, index) >= 0 and scans + read + index > 0:
            rows.append((row["relation"], scans, read, index, row["live_rows"], row["dead_rows"]))
    rows.sort(key=lambda row: -row[2])
    return Table(("relation", "seq_scans", "seq_rows", "index_scans", "live_rows", "dead_rows"), tuple(rows))
