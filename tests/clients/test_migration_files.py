"""The way back that authors of migrations wrote into files, read in the tool's order; golang-migrate's is also run."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from runbook_lib.clients.migrations import MigrationsClient
from runbook_lib.clients.postgres import PostgresClient
from runbook_lib.errors import ActionRejectedError
from runbook_lib.lab.postgres import Postgres
from runbook_lib.model import Evidence, Gap

#: File to its text; the undo of 2 is the undo of 10 below it when a version is read as text.
GO = {
    "000001_init.up.sql": "CREATE TABLE items (id bigint PRIMARY KEY);",
    "000001_init.down.sql": "DROP TABLE items;",
    "000002_note.up.sql": "ALTER TABLE items ADD COLUMN note text;",
    "000002_note.down.sql": "BEGIN;\nALTER TABLE items DROP COLUMN note;\nCOMMIT;",
    "000010_price.up.sql": "ALTER TABLE items ADD COLUMN price int;",
    "000010_price.down.sql": "ALTER TABLE items DROP COLUMN price;",
    "000011_final.up.sql": "CREATE INDEX items_price ON items (price);",
}
FLYWAY = {
    "V1__init.sql": "CREATE TABLE items (id bigint PRIMARY KEY);",
    "V1.1__note.sql": "ALTER TABLE ${schema}.items ADD COLUMN note text;",
    "U1.1__note.sql": "ALTER TABLE ${schema}.items DROP COLUMN note;",
    "V1.10__price.sql": "ALTER TABLE items ADD COLUMN price int;",
    "U1.10__price.sql": "ALTER TABLE items DROP COLUMN price;",
    "R__views.sql": "CREATE OR REPLACE VIEW all_items AS SELECT * FROM items;",
}
LIQUIBASE = """--liquibase formatted sql

--changeset jo:1
CREATE TABLE items (id bigint PRIMARY KEY);
--rollback DROP TABLE items;

--changeset jo:2 labels:price
--comment: the price
ALTER TABLE items ADD COLUMN price int;
--rollback ALTER TABLE items
--rollback   DROP COLUMN price;

--changeset ann:3
ALTER TABLE items ADD COLUMN note text;
/* liquibase rollback
ALTER TABLE items DROP COLUMN note;
*/

--changeset ann:4
INSERT INTO items VALUES (1);
--rollback empty

--changeset ann:5
DELETE FROM items;

--changeset ann:6
SELECT 1;
--rollback changesetId:1 changesetAuthor:jo
"""


@pytest.fixture
def script(make: Any, tmp_path: Path) -> Callable[..., Evidence | Gap]:
    """What a tool would run, by its files."""

    def written(tool: str, before: str, after: str, *, back: bool = True, without: str = "") -> Evidence | Gap:
        for name, text in (GO if tool == "golang-migrate" else FLYWAY).items():
            (tmp_path / name).write_text(text, encoding="utf-8")
        (tmp_path / "changes.sql").write_text(LIQUIBASE, encoding="utf-8")
        if without:
            (tmp_path / without).unlink()
        config = tmp_path / ("changes.sql" if tool == "liquibase" else "manage.py" if tool == "django" else "")
        made: MigrationsClient = make(MigrationsClient, {"tool": tool, "config": str(config)})
        return made.script(before=before, after=after, back=back)

    return written


def statements(sql: str) -> list[str]:
    """The statements without comments, each on one line."""
    kept = " ".join(line for line in sql.splitlines() if not line.startswith("--"))
    return [" ".join(one.split()) for one in kept.split(";") if one.strip()]


@pytest.mark.parametrize(
    ("tool", "before", "after", "expected", "command"),
    [
        pytest.param(
            "golang-migrate",
            "10",
            "1",
            [
                "ALTER TABLE items DROP COLUMN price",
                "BEGIN",
                "ALTER TABLE items DROP COLUMN note",
                "COMMIT",
                "UPDATE schema_migrations SET version = 1, dirty = false WHERE version = 10",
            ],
            "goto 1",
            id="golang-migrate",
        ),
        pytest.param(
            "flyway",
            "1.10",
            "1",
            ["ALTER TABLE items DROP COLUMN price", "ALTER TABLE ${schema}.items DROP COLUMN note"],
            "flyway undo -target=1.1",
            id="flyway",
        ),
        pytest.param(
            "liquibase",
            "db/changes.sql::4::ann",
            "db/changes.sql::1::jo",
            ["ALTER TABLE items DROP COLUMN note", "ALTER TABLE items DROP COLUMN price"],
            "liquibase rollback-count 3",
            id="liquibase",
        ),
    ],
)
def test_way_back_is_read(script, tool, before, after, expected, command) -> None:
    """What undoes a migration comes newest first, by number and not by text, with the tool's own command."""
    found = script(tool, before, after)
    assert isinstance(found, Evidence), found
    assert expected == statements(found.document["sql"])
    assert (True, tool == "golang-migrate") == (
        found.document["command"].endswith(command),
        found.document["one_row"],
    )
    assert ("${" in found.document["sql"]) == bool(found.warnings)


@pytest.mark.parametrize(
    ("tool", "before", "after", "expected"),
    [
        ("golang-migrate", "1", "2", ["ALTER TABLE items ADD COLUMN note text"]),
        ("flyway", "1.1", "1.10", ["ALTER TABLE items ADD COLUMN price int"]),
        ("liquibase", "changes.sql::1::jo", "changes.sql::2::jo", ["ALTER TABLE items ADD COLUMN price int"]),
    ],
    ids=["golang-migrate", "flyway", "liquibase"],
)
def test_way_forward_is_read(script, tool, before, after, expected) -> None:
    """What a release's migrations would do is read from the same files."""
    found = script(tool, before, after, back=False)
    assert isinstance(found, Evidence), found
    assert expected == statements(found.document["sql"])[:1]


@pytest.mark.parametrize(
    ("tool", "before", "after", "told"),
    [
        ("golang-migrate", "11", "1", "000011_final.up.sql has no file that undoes it"),
        ("golang-migrate", "12", "1", "no file of version 12 is in"),
        ("golang-migrate", "1", "2", "2 is not older than 1"),
        ("golang-migrate", "2; DROP", "1", "'2; DROP' is no version"),
        ("flyway", "1", "0.9", "no file of version 0.9 is in"),
        ("liquibase", "changes.sql::5::ann", "changes.sql::4::ann", "changeset ann:5 has no --rollback"),
        ("liquibase", "changes.sql::6::ann", "changes.sql::5::ann", "is undone by another changeset"),
        ("liquibase", "other.sql::2::jo", "changes.sql::1::jo", "is no changeset of changes.sql"),
        ("django", "shop.0002_price", "shop.0001_initial", "manage.py migrate shop 0001_initial"),
        ("django", "shop.0002_price", "auth.0001_initial", "not migrations of one Django app"),
        ("rails", "2", "1", "the SQL of rails is not read here"),
    ],
    ids=lambda value: str(value)[:40] if " " in str(value) else str(value),
)
def test_what_cannot_be_undone_is_a_gap(script, tool, before, after, told) -> None:
    """A migration without a way back, a version that is not there, and a tool that writes its own SQL, each by name."""
    found = script(tool, before, after)
    assert isinstance(found, Gap), found
    assert told in found.reason


def test_flyway_without_an_undo_script_is_a_gap(script) -> None:
    """Most migrations of Flyway have none, and none is made up."""
    found = script("flyway", "1.10", "1", without="U1.1__note.sql")
    assert isinstance(found, Gap), found
    assert "V1.1__note.sql has no file that undoes it" in found.reason


def test_other_changelogs_name_liquibases_own_command(make: Any, tmp_path: Path) -> None:
    """XML is no file of SQL."""
    (tmp_path / "a.xml").write_text("<databaseChangeLog/>", encoding="utf-8")
    made: MigrationsClient = make(MigrationsClient, {"tool": "liquibase", "config": str(tmp_path / "a.xml")})
    found = made.script(before="a.xml::2::jo", after="a.xml::1::jo", back=True)
    assert isinstance(found, Gap)
    assert "liquibase rollback-count-sql" in found.reason


@pytest.fixture
def database(postgres: Postgres) -> Iterator[psycopg.Connection[Any]]:
    """A database at version 10 of golang-migrate, as its owner."""
    with postgres.connect("postgres", "postgres") as admin:
        admin.execute("DROP DATABASE IF EXISTS gone WITH (FORCE)")
        admin.execute("CREATE DATABASE gone OWNER app")
    with postgres.connect("app", "gone") as connection:
        connection.execute("CREATE TABLE schema_migrations (version bigint PRIMARY KEY, dirty boolean NOT NULL)")
        connection.execute("INSERT INTO schema_migrations VALUES (10, false)")
        for name in sorted(name for name in GO if name.endswith("up.sql"))[:3]:
            connection.execute(GO[name].encode())
        yield connection


@pytest.fixture
def client(make: Any, postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> PostgresClient:
    """A client that may change that schema."""
    monkeypatch.setenv("MIGRATE_PASSWORD", postgres.passwords["rb_migrate"])
    settings = {"host": "127.0.0.1", "database": "gone", "migrate_user": "rb_migrate", "migrate_role": "app"}
    made: PostgresClient = make(
        PostgresClient,
        {**settings, "port": postgres.port, "sslmode": "disable"},
        secrets={"migrate_password": "env:MIGRATE_PASSWORD"},
    )
    return made


def state(database: psycopg.Connection[Any]) -> tuple[list[tuple[int, bool]], list[str]]:
    """The rows of golang-migrate, and the columns of ``items``."""
    rows = database.execute("SELECT version, dirty FROM schema_migrations").fetchall()
    columns = database.execute("SELECT column_name FROM information_schema.columns WHERE table_name = 'items'")
    return [(row[0], row[1]) for row in rows], sorted(row[0] for row in columns)


def test_golang_migrate_is_undone_in_one_transaction(database, client, script) -> None:
    """The files and the row of the version are one transaction, on the version of the plan only."""
    sql = script("golang-migrate", "10", "1").document["sql"]
    client.change_schema(sql, before="10", after="1", dry_run=True)
    assert ([(10, False)], ["id", "note", "price"]) == state(database)
    client.change_schema(sql, before="10", after="1")
    assert ([(1, False)], ["id"]) == state(database)
    with pytest.raises(ActionRejectedError, match="is at 1 before, not at 10"):
        client.change_schema(sql, before="10", after="1")


def test_dirty_golang_migrate_is_left_alone(database, client, script) -> None:
    """A migration that stopped half-way is for a person."""
    database.execute("UPDATE schema_migrations SET dirty = true")
    with pytest.raises(ActionRejectedError, match="nothing was changed"):
        client.change_schema(script("golang-migrate", "10", "1").document["sql"], before="10", after="1")
    assert ([(10, True)], ["id", "note", "price"]) == state(database)


def test_a_file_that_fails_changes_nothing(database, client, script) -> None:
    """An error in the last file takes back the first one and the version."""
    sql = script("golang-migrate", "10", "1").document["sql"].replace("COLUMN note", "COLUMN gone")
    with pytest.raises(ActionRejectedError, match="does not exist"):
        client.change_schema(sql, before="10", after="1")
    assert ([(10, False)], ["id", "note", "price"]) == state(database)


@pytest.mark.parametrize("number", [417885523, 1447825969], ids=["as a library", "as a command"])
def test_a_running_migrate_is_not_overtaken(database, client, script, number: int) -> None:
    """Whoever holds golang-migrate's own lock is at work: the command's number stood in pg_locks while it worked."""
    database.execute("SELECT pg_advisory_lock(%s::bigint)", [number])
    with pytest.raises(ActionRejectedError, match="golang-migrate holds its lock"):
        client.change_schema(script("golang-migrate", "10", "1").document["sql"], before="10", after="1")
    assert ([(10, False)], ["id", "note", "price"]) == state(database)


@pytest.mark.skipif(shutil.which("migrate") is None, reason="needs golang-migrate's command migrate on PATH")
def test_the_real_migrate_goes_on_from_there(database, client, script, postgres, tmp_path) -> None:
    """What was undone here golang-migrate itself reads, does again and undoes."""
    client.change_schema(script("golang-migrate", "10", "2").document["sql"], before="10", after="2")
    url = f"postgres://app:{postgres.passwords['app']}@127.0.0.1:{postgres.port}/gone?sslmode=disable"
    for words, expected in ((["goto", "10"], ["id", "note", "price"]), (["down", "2"], ["id"])):
        argv = ["migrate", "-path", str(tmp_path), "-database", url, *words]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False, env=dict(os.environ))
        assert 0 == done.returncode, done.stderr
        assert expected == state(database)[1]
