"""What migration tools left in a real database, read by the monitoring role."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from runbook_lib.clients.postgres import PostgresClient
from runbook_lib.model import Evidence, Gap

#: Tool to the statements that make its tables as it makes them.
TABLES = {
    "golang-migrate": """
        CREATE TABLE schema_migrations (version bigint primary key, dirty boolean not null);
        INSERT INTO schema_migrations VALUES (7, false);
    """,
    "golang-migrate dirty": """
        CREATE TABLE schema_migrations (version bigint primary key, dirty boolean not null);
        INSERT INTO schema_migrations VALUES (8, true);
    """,
    "rails": """
        CREATE TABLE schema_migrations (version varchar primary key);
        INSERT INTO schema_migrations VALUES ('20260101000000'), ('20260201000000');
    """,
    "alembic": """
        CREATE TABLE alembic_version (version_num varchar(32) primary key);
        INSERT INTO alembic_version VALUES ('ae1027a6acf');
    """,
    "django": """
        CREATE TABLE django_migrations (id serial, app text, name text, applied timestamptz);
        INSERT INTO django_migrations (app, name) VALUES ('shop', '0001_initial'), ('shop', '0002_price');
    """,
    "flyway": """
        CREATE TABLE flyway_schema_history
          (installed_rank int, version text, description text, type text, success boolean);
        INSERT INTO flyway_schema_history VALUES (1, '1', 'init', 'SQL', true), (2, '2', 'price', 'SQL', false);
    """,
    "flyway undone": """
        CREATE TABLE flyway_schema_history
          (installed_rank int, version text, description text, type text, success boolean);
        INSERT INTO flyway_schema_history VALUES (1, '1', 'init', 'SQL', true), (2, '2', 'price', 'SQL', true),
          (3, '3', 'note', 'SQL', true), (4, '3', 'note', 'UNDO_SQL', true), (5, '2', 'price', 'UNDO_SQL', true),
          (6, '2', 'price', 'SQL', true), (7, null, 'views', 'SQL', true);
    """,
    "liquibase": """
        CREATE TABLE databasechangelog (id text, author text, filename text, orderexecuted int, exectype text);
        INSERT INTO databasechangelog VALUES ('1', 'jane', 'a.xml', 1, 'EXECUTED');
        CREATE TABLE databasechangeloglock (id int, locked boolean);
        INSERT INTO databasechangeloglock VALUES (1, true);
    """,
    "prisma": """
        CREATE TABLE _prisma_migrations (migration_name text, started_at timestamptz,
          finished_at timestamptz, rolled_back_at timestamptz);
        INSERT INTO _prisma_migrations VALUES ('1_init', now(), now(), null), ('2_price', now(), null, now());
    """,
}
#: Tool to what is expected of it.
EXPECTED: dict[str, dict[str, Any]] = {
    "golang-migrate": {"applied": ["7"], "newest": "7", "dirty": False},
    "golang-migrate dirty": {"applied": [], "newest": "8", "dirty": True},
    "rails": {"applied": ["20260101000000", "20260201000000"], "dirty": False},
    "alembic": {"applied": ["ae1027a6acf"], "dirty": False},
    "django": {"applied": ["shop.0001_initial", "shop.0002_price"], "dirty": False},
    "flyway": {"applied": ["1"], "newest": "2", "dirty": True},
    "flyway undone": {"applied": ["1", "2", "views"], "dirty": False},
    "liquibase": {"applied": ["a.xml::1::jane"], "dirty": False, "locked": True},
    "prisma": {"applied": ["1_init"], "dirty": False},
}


@pytest.fixture
def database(postgres) -> Iterator[psycopg.Connection[Any]]:
    """A session in an empty database."""
    with postgres.connect() as admin:
        admin.execute("DROP DATABASE IF EXISTS migrated WITH (FORCE)")
        admin.execute("CREATE DATABASE migrated")
    with postgres.connect("postgres", "migrated") as connection:
        yield connection


@pytest.fixture
def client(make, postgres, monkeypatch) -> Callable[[], PostgresClient]:
    """Builds a client of that database."""
    monkeypatch.setenv("READ_PASSWORD", postgres.passwords["rb_read"])
    settings = {"host": "127.0.0.1", "port": postgres.port, "database": "migrated", "user": "rb_read"}
    return lambda: make(PostgresClient, settings, secrets={"password": "env:READ_PASSWORD"})


@pytest.mark.parametrize("tool", EXPECTED)
def test_state_of_each_tool(client, database, tool):
    """What is applied, dirty and locked is read in the same words for every tool."""
    expected = EXPECTED[tool]
    database.execute(TABLES[tool])
    database.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO rb_read")
    result = client().migrations()
    assert isinstance(result, Evidence), result
    (found,) = result.document["tools"]
    assert tool.split()[0] == found["tool"]
    assert expected == {key: found[key] for key in expected}


def test_no_tool_is_an_answer_that_knows_nothing(client, database):
    """A database without a migration table says so."""
    result = client().migrations()
    assert isinstance(result, Evidence)
    assert {"found": False, "tools": []} == result.document


def test_table_that_may_not_be_read_is_a_gap(client, database):
    """A missing grant must not look like a database without migrations."""
    database.execute(TABLES["alembic"])
    result = client().migrations()
    assert isinstance(result, Gap)
    assert ("denied", True) == (result.kind, "alembic_version" in result.reason)


def test_schema_with_a_strange_name_is_quoted(client, database):
    """A schema's name is data and cannot change the statement."""
    database.execute('CREATE SCHEMA "a""; DROP TABLE x; --"')
    database.execute('SET search_path TO "a""; DROP TABLE x; --"')
    database.execute(TABLES["alembic"])
    database.execute('GRANT USAGE ON SCHEMA "a""; DROP TABLE x; --" TO rb_read')
    database.execute("GRANT SELECT ON alembic_version TO rb_read")
    result = client().migrations()
    assert isinstance(result, Evidence), result
    assert ["ae1027a6acf"] == result.document["tools"][0]["applied"]
