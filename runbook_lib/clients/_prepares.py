"""Whether the statements of a service still fit the schema: each is parsed by the server, none is executed.

A statement that names a column or table that is gone fails to parse, and so does one whose types no longer fit. An
INSERT that leaves out a column which must now be given parses and would fail later: that is told from the catalogue.
What cannot be told this way: ``SELECT *``, new checks and enum values, and what a changed value means.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from runbook_lib.clients._sql import without_literals

if TYPE_CHECKING:
    import psycopg

COLUMNS = ("query", "status", "code", "problem", "first_seen")
#: SQLSTATE of what a changed schema does to a statement: column, table, function, operator or type that does not fit.
#: https://www.postgresql.org/docs/current/errcodes-appendix.html
_BROKEN = frozenset({"42703", "42P01", "42883", "42804", "42704", "3F000", "42702", "42P10"})
_INSERT = re.compile(r"\s*insert\s+into\s+(?P<table>[\w.\"]+)\s*\((?P<columns>[^()]*)\)", re.IGNORECASE)
#: Columns of a table that every INSERT must name.
_MUST_BE_GIVEN = """
SELECT a.attname::text AS name
FROM pg_attribute a
WHERE a.attrelid = to_regclass(%s) AND a.attnum > 0 AND NOT a.attisdropped
  AND a.attnotnull AND NOT a.atthasdef AND a.attidentity = '' AND a.attgenerated = ''
"""
#: Statements of the roles that PostgreSQL has counted in this database; since when, only PostgreSQL 17 or newer says.
STATEMENTS = """
SELECT s.query, extract(epoch FROM min((to_jsonb(s) ->> 'stats_since')::timestamptz))::float8 AS first_seen
FROM pg_stat_statements s
WHERE s.userid IN (SELECT oid FROM pg_roles WHERE rolname = ANY(%s))
  AND s.dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND s.query ~* '^\\s*(select|insert|update|delete|merge|with)\\M'
GROUP BY s.query
ORDER BY 1
"""


def rows(connection: psycopg.Connection[dict[str, Any]], users: list[str]) -> Iterator[Mapping[str, Any]]:
    """A row for each statement that these roles ran: ``query``, ``status`` (fits, broken, untold), ``code``,
    ``problem``, ``first_seen`` (epoch seconds, None where it is not known)."""
    for one in connection.execute(STATEMENTS, [users]).fetchall():
        text = str(one["query"])
        code, problem = _parsed(connection, text)
        if not code and (left_out := _left_out(connection, text)):
            code, problem = "23502", f"{', '.join(left_out)} must be given by now"
        status = "fits" if not code else "broken" if code in _BROKEN or code == "23502" else "untold"
        yield {
            "query": without_literals(text),
            "status": status,
            "code": code,
            "problem": problem,
            "first_seen": one["first_seen"],
        }


def _parsed(connection: psycopg.Connection[dict[str, Any]], text: str) -> tuple[str, str]:
    """SQLSTATE and message of the server's parser; empty when it accepts the statement.

    The protocol's own Parse takes one statement only, whatever its text says.
    """
    from psycopg.pq import DiagnosticField, ExecStatus

    result = connection.pgconn.prepare(b"", text.encode())
    if result.status == ExecStatus.COMMAND_OK:
        return "", ""
    code = (result.error_field(DiagnosticField.SQLSTATE) or b"unknown").decode()
    return code, (result.error_field(DiagnosticField.MESSAGE_PRIMARY) or b"").decode(errors="replace")


def _left_out(connection: psycopg.Connection[dict[str, Any]], text: str) -> list[str]:
    found = _INSERT.match(text)
    if found is None:
        return []
    given = {name.strip().strip('"') for name in found["columns"].split(",")}
    needed = connection.execute(_MUST_BE_GIVEN, [found["table"]]).fetchall()
    return [str(row["name"]) for row in needed if row["name"] not in given]
