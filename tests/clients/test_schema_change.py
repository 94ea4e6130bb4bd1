"""Undoing migrations in a real database: what the tool writes, run once, and only on the version of the plan."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from runbook_lib.clients.migrations import MigrationsClient
from runbook_lib.clients.postgres import PostgresClient
from runbook_lib.errors import ActionRejectedError, OutcomeUnknownError
from runbook_lib.lab.postgres import Postgres
from runbook_lib.lab.service import migrations
from runbook_lib.model import Evidence, Gap


@pytest.fixture(scope="module")
def at_four(postgres: Postgres) -> str:
    """Name of a database at version 4 of the lab's api, to be copied."""
    with postgres.connect("postgres", "postgres") as admin:
        admin.execute("CREATE DATABASE at_four OWNER app")
    with postgres.connect("app", "at_four") as connection:
        migrations.migrate(connection, postgres.url("app", "at_four"), 4)
    return "at_four"


@pytest.fixture
def database(postgres: Postgres, at_four: str) -> Iterator[psycopg.Connection[Any]]:
    """A copy of that database, as its owner."""
    with postgres.connect("postgres", "postgres") as admin:
        admin.execute("DROP DATABASE IF EXISTS undone WITH (FORCE)")
        admin.execute(f"CREATE DATABASE undone OWNER app TEMPLATE {at_four}")
    with postgres.connect("app", "undone") as connection:
        yield connection


@pytest.fixture
def client(make: Any, postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Builds a client that may change the schema, through a port."""
    monkeypatch.setenv("MIGRATE_PASSWORD", postgres.passwords["rb_migrate"])
    settings = {"host": "127.0.0.1", "database": "undone", "migrate_user": "rb_migrate", "migrate_role": "app"}
    secrets = {"migrate_password": "env:MIGRATE_PASSWORD"}

    def build(port: int = postgres.port, **more: Any) -> PostgresClient:
        made: PostgresClient = make(PostgresClient, {**settings, "port": port, "sslmode": "disable"}, secrets=secrets)
        return made

    return build


@pytest.fixture
def script(make: Any) -> Any:
    """What Alembic writes for two versions of the lab's api."""

    def written(before: str, after: str, *, back: bool = True, config: Path = migrations.CONFIG) -> Evidence | Gap:
        made: MigrationsClient = make(MigrationsClient, {"config": str(config)})
        return made.script(before=before, after=after, back=back)

    return written


def state(database: psycopg.Connection[Any]) -> tuple[str, list[str]]:
    """The recorded version, and the columns of ``orders`` that came with versions 2 to 4."""
    version = database.execute("SELECT version_num FROM alembic_version").fetchone()
    rows = database.execute("SELECT column_name FROM information_schema.columns WHERE table_name = 'orders'")
    known = {"note", "currency", "amount_cents", "total_cents"}
    return version[0] if version else "", sorted(row[0] for row in rows if row[0] in known)


def test_the_tools_own_sql_undoes_it(database, client, script) -> None:
    """What Alembic writes offline is run as the tables' owner, and its table says so; tried first, and taken back."""
    found = script("4", "3")
    assert isinstance(found, Evidence), found
    assert "RENAME COLUMN amount_cents TO total_cents" in found.document["sql"]
    client().change_schema(found.document["sql"], before="4", after="3", dry_run=True)
    assert ("4", ["amount_cents", "currency", "note"]) == state(database)
    client().change_schema(found.document["sql"], before="4", after="3")
    assert ("3", ["currency", "note", "total_cents"]) == state(database)
    with pytest.raises(ActionRejectedError, match="is at 3 before, not at 4"):
        client().change_schema(found.document["sql"], before="4", after="3")


@pytest.mark.parametrize(
    ("more", "told"),
    [
        pytest.param("SELECT no_such_column FROM orders;", "does not exist", id="fails"),
        pytest.param("CREATE INDEX CONCURRENTLY one ON orders (id);", "cannot run inside", id="no-transaction"),
        pytest.param("UPDATE alembic_version SET version_num = '2';", "is at 2 afterwards", id="other-version"),
    ],
)
def test_what_does_not_end_as_planned_changes_nothing(database, client, script, more: str, told: str) -> None:
    """Any error, and any other end than the planned one, takes all of it back."""
    sql = f"{script('4', '3').document['sql']}\n{more}"
    with pytest.raises(ActionRejectedError, match=told):
        client().change_schema(sql, before="4", after="3")
    assert ("4", ["amount_cents", "currency", "note"]) == state(database)


def test_an_answer_lost_after_commit_is_unknown(database, client, script, proxy, postgres) -> None:
    """The connection breaks after COMMIT reached the server: nobody says that it failed, and it is not sent again."""
    between = proxy(postgres.port)
    between.drop_after = b"COMMIT"
    with pytest.raises(OutcomeUnknownError, match="after COMMIT was sent"):
        client(between.port).change_schema(script("4", "3").document["sql"], before="4", after="3")
    assert "3" == state(database)[0]


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        pytest.param("9", "3", "locate revision", id="no-such-version"),
        pytest.param("--help", "3", "is no version", id="option"),
        pytest.param("4", "3:2", "is no version", id="range"),
    ],
)
def test_versions_are_names(script, before: str, after: str, told: str) -> None:
    """What is no version never becomes a word of a command line."""
    found = script(before, after)
    assert isinstance(found, Gap)
    assert told in found.reason


def test_missing_configuration_is_a_gap(script, tmp_path: Path) -> None:
    """A file that is not there is told, and is no empty script."""
    found = script("4", "3", config=tmp_path / "none.ini")
    assert isinstance(found, Gap), found
