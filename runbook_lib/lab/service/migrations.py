"""Migrations that run when the service starts: Alembic, in a process of its own that only the first replica needs."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import psycopg

LOG = logging.getLogger("api.migrations")
#: One number that every replica knows: only one of them migrates, the others wait for it.
ADVISORY_LOCK = 0x6D696772
CONFIG = Path(__file__).parent / "schema" / "alembic.ini"
_SECONDS = 60.0


class MigrationError(Exception):
    """Alembic ended with an error; a person must look before anybody goes on."""


def migrate(connection: psycopg.Connection[Any], url: str, target: int, *, failing: bool = False) -> int:
    """Bring the schema up to ``target``; a schema that is ahead is left alone.

    Args:
        connection: an autocommit connection of the owner of the tables; holds the lock.
        url: the same database and role, for Alembic.
        target: the newest version that this release knows.
        failing: whether version 3 fails after its first statement, which then stays.

    Returns:
        The version that the schema has now.

    Raises:
        MigrationError: a migration failed; carries the database's words.
    """
    connection.execute("SELECT pg_advisory_lock(%s)", [ADVISORY_LOCK])
    try:
        version = applied(connection)
        if version > target:
            LOG.warning("schema version %d is ahead of this release, which knows %d", version, target)
        if version >= target:
            return version
        _alembic(url, "upgrade", str(target), failing=failing)
        LOG.info("applied migrations up to %d", target)
        return target
    finally:
        connection.execute("SELECT pg_advisory_unlock(%s)", [ADVISORY_LOCK])


def applied(connection: psycopg.Connection[Any]) -> int:
    """The recorded schema version; 0 for none."""
    known = connection.execute("SELECT to_regclass('alembic_version')::text").fetchone()
    if known is None or known[0] is None:
        return 0
    row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    return int(row[0]) if row else 0


def _alembic(url: str, *words: str, failing: bool) -> None:
    environment = {**os.environ, "DATABASE_URL": url, "FAIL_HALF_WAY": "1" if failing else ""}
    argv = [sys.executable, "-m", "alembic", "-c", str(CONFIG), *words]
    done = subprocess.run(
        argv, env=environment, capture_output=True, text=True, timeout=_SECONDS, check=False, stdin=subprocess.DEVNULL
    )
    if done.returncode:
        told = [line for line in done.stderr.splitlines() if "Error" in line or "errors." in line]
        raise MigrationError(told[0].strip() if told else f"alembic ended with {done.returncode}")
