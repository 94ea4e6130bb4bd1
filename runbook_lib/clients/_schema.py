"""A migration as one transaction: locked, held against the tool's own table, run, held against it again, committed."""

from __future__ import annotations

import re
import zlib
from typing import TYPE_CHECKING, Any

from runbook_lib.clients import _migrations as migrations
from runbook_lib.errors import ActionRejectedError, OutcomeUnknownError
from runbook_lib.queries import load

if TYPE_CHECKING:
    import psycopg

#: What tools write around their statements; the transaction is ours.
_FRAME = re.compile(r"^\s*(BEGIN|COMMIT)\s*;\s*$", re.MULTILINE | re.IGNORECASE)
#: golang-migrate, database/util.go: GenerateAdvisoryLockId; what a running ``migrate`` holds.
_GO_SALT = 1486364155
_GO_LOCK = """SELECT pg_try_advisory_xact_lock(%s) AS ours"""
_XID = "SELECT pg_current_xact_id()::text AS xid"


def change(
    connection: psycopg.Connection[dict[str, Any]], script: str, *, before: str, after: str, dry_run: bool
) -> None:
    """See ``PostgresClient.change_schema``."""
    import psycopg

    asked = False
    try:
        connection.execute("BEGIN")
        table = _table(connection)
        _exclude(connection)
        # A migration that begins meanwhile waits, and then finds another version.
        connection.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE".encode())
        _expect(connection, before, "before")
        ours = _one(connection, _XID)["xid"]
        # Without parameters the whole text goes in one message, which may hold many statements.
        connection.execute(_FRAME.sub("", script).encode())
        if _one(connection, _XID)["xid"] != ours:
            raise OutcomeUnknownError("the script ended the transaction by itself; read what it left")
        _expect(connection, after, "afterwards")
        if dry_run:
            connection.execute("ROLLBACK")
            return
        asked = True
        connection.execute("COMMIT")
    except psycopg.Error as error:
        told = " ".join(str(error).split())
        if asked and (error.sqlstate is None or error.sqlstate.startswith(("57", "08"))):
            raise OutcomeUnknownError(f"no answer after COMMIT was sent: {told}") from error
        raise ActionRejectedError(f"PostgreSQL refused, and all of it was taken back: {told}") from error


def _state(connection: psycopg.Connection[dict[str, Any]]) -> dict[str, Any]:
    tables = connection.execute(load("postgres")["migrations"].text.encode()).fetchall()
    found = migrations.read(tables, lambda text: connection.execute(text.encode()).fetchall())["tools"]
    if len(found) != 1:
        raise ActionRejectedError(f"{len(found)} migration tools left a table; nothing was changed")
    return dict(found[0])


def _table(connection: psycopg.Connection[dict[str, Any]]) -> str:
    schema, _, name = str(_state(connection)["table"]).rpartition(".")
    return ".".join('"' + part.replace('"', '""') + '"' for part in (schema, name))


def _exclude(connection: psycopg.Connection[dict[str, Any]]) -> None:
    """Hold what golang-migrate holds while it works: it reads the version once, long before it writes the next one."""
    state = _state(connection)
    if state["tool"] != "golang-migrate":
        return
    schema, _, table = str(state["table"]).rpartition(".")
    database = str(_one(connection, "SELECT current_database() AS name")["name"])
    # Opened by a URL, as the command does, its name of the database is the URL's path.
    for name in (database, f"/{database}"):
        number = zlib.crc32("\0".join((schema, table, name)).encode()) * _GO_SALT % 2**32
        held = connection.execute(_GO_LOCK, [number]).fetchone()
        if not held or not held["ours"]:
            raise ActionRejectedError("golang-migrate holds its lock: a migration is under way; nothing was changed")


def _expect(connection: psycopg.Connection[dict[str, Any]], version: str, when: str) -> None:
    state = _state(connection)
    if state["dirty"] or state["newest"] != version:
        raise ActionRejectedError(
            f"{state['tool']} is at {state['newest']} {when}, not at {version}; nothing was changed"
        )


def _one(connection: psycopg.Connection[dict[str, Any]], text: str) -> dict[str, Any]:
    return dict(connection.execute(text.encode()).fetchone() or {})
