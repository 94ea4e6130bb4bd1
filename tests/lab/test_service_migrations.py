"""Migrations run when the service starts, once, and leave a trace of failure."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from runbook_lib.lab.postgres import Postgres
from runbook_lib.lab.service import migrations
from runbook_lib.lab.service.database import Database
from runbook_lib.lab.service.migrations import MigrationError, applied
from runbook_lib.lab.service.releases import RELEASES
from runbook_lib.lab.service.settings import Settings
from runbook_lib.lab.service.telemetry import Telemetry

Connection = psycopg.Connection[Any]


@pytest.fixture
def schema(postgres: Postgres) -> Iterator[Connection]:
    """An empty database of its own, as its owner."""
    with postgres.connect("postgres", "postgres") as superuser:
        superuser.execute("CREATE DATABASE scratch OWNER app")
        with postgres.connect("app", "scratch") as connection:
            yield connection
        superuser.execute("DROP DATABASE scratch WITH (FORCE)")


def migrate(connection: Connection, target: int, *, failing: bool = False) -> int:
    """Migrate the scratch database."""
    info = connection.info
    url = f"postgresql://app:{info.password}@{info.host}:{info.port}/{info.dbname}"
    return migrations.migrate(connection, url, target, failing=failing)


def columns(connection: Connection) -> set[str]:
    rows = connection.execute("SELECT column_name FROM information_schema.columns WHERE table_name = 'orders'")
    return {row[0] for row in rows}


@pytest.mark.parametrize(
    ("target", "column"), [(1, "total_cents"), (2, "note"), (3, "currency"), (4, "amount_cents")], ids=str
)
def test_schema_reaches_the_release(schema: Connection, target: int, column: str) -> None:
    """Each version brings its column and is recorded."""
    assert target == migrate(schema, target)
    assert target == applied(schema)
    assert column in columns(schema)


def test_second_start_changes_nothing(schema: Connection) -> None:
    """A schema that is up to date is left alone."""
    migrate(schema, 3)

    assert 3 == migrate(schema, 3)


def test_older_release_leaves_a_newer_schema(schema: Connection) -> None:
    """A rolled back release does not migrate down."""
    migrate(schema, 3)

    assert 3 == migrate(schema, 2)
    assert "currency" in columns(schema)


def test_replicas_that_start_together_migrate_once(schema: Connection, postgres: Postgres) -> None:
    """Three replicas at once neither fail nor repeat a step."""

    def start(_number: int) -> int:
        with postgres.connect("app", "scratch") as connection:
            return migrate(connection, 4)

    with ThreadPoolExecutor(3) as threads:
        versions = list(threads.map(start, range(3)))

    assert [4, 4, 4] == versions
    assert [("4",)] == schema.execute("SELECT version_num FROM alembic_version").fetchall()


def test_migration_that_fails_half_way_stops_everybody(schema: Connection) -> None:
    """What it did until then stays, its version is not recorded, and nobody starts on it."""
    with pytest.raises(MigrationError, match="UndefinedColumn"):
        migrate(schema, 3, failing=True)

    assert (2, True) == (applied(schema), "currency" in columns(schema))
    with pytest.raises(MigrationError, match="DuplicateColumn"):
        migrate(schema, 3)


@pytest.mark.parametrize("tag", ["v1", "v2", "v3"])
def test_renamed_column_breaks_earlier_releases(schema: Connection, postgres: Postgres, tag: str) -> None:
    """On the schema of v4 every earlier release fails its own check, and v4 passes it."""
    migrate(schema, 4)

    with pytest.raises(psycopg.errors.UndefinedColumn):
        check(postgres, tag)
    check(postgres, "v4")


def check(postgres: Postgres, tag: str) -> None:
    settings = Settings(RELEASES[tag], postgres.url("app", "scratch"), "redis://x", "http://x", 1, pool_min=1)
    database = Database(settings, Telemetry(tag))
    try:
        database.open()
        database.pool.wait(5)
        database.check()
    finally:
        database.close()


@pytest.mark.parametrize(
    ("env", "message"),
    [
        ({"PORT": ""}, "PORT"),
        ({"DATABASE_URL": ""}, "DATABASE_URL is not set"),
        ({"APP_VERSION": "v0"}, "is no release. Known: v1"),
        ({"WORK_MS": "fast"}, "WORK_MS='fast' is not a number"),
        ({"ERROR_RATE": "-1"}, "must not be negative"),
        ({"DB_POOL_MAX": "nan"}, "must not be negative or infinite"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_wrong_settings_are_named(env: dict[str, str], message: str) -> None:
    """A wrong variable is named with what is wrong about it."""
    from runbook_lib.errors import UsageError

    good = {"APP_VERSION": "v1", "DATABASE_URL": "x", "REDIS_URL": "x", "DEPENDENCY_URL": "x", "PORT": "80"}

    with pytest.raises(UsageError, match=message):
        Settings.from_environment({**good, **env})


def test_release_adds_to_the_configuration() -> None:
    """The release's own work comes on top of what is configured."""
    env = {"APP_VERSION": "v2-slow", "DATABASE_URL": "x", "REDIS_URL": "x", "DEPENDENCY_URL": "x", "PORT": "80"}

    assert 10.0 + RELEASES["v2-slow"].extra_work_ms == Settings.from_environment({**env, "WORK_MS": "10"}).work_ms
