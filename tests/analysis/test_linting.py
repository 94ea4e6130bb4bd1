"""What the statements of a migration do, told from their text."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from runbook_lib.analysis.linting import losses, migration_lint, statements
from runbook_lib.model import Evidence, Gap

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def script(sql: str) -> Evidence:
    """What a migration tool wrote."""
    return Evidence("migrations", "script", "SQL", "", "", {}, None, NOW, {"sql": sql})


@pytest.mark.parametrize(
    ("statement", "rule"),
    [
        ("DROP TABLE orders", "ban-drop-table"),
        ("ALTER TABLE orders DROP COLUMN note", "ban-drop-column"),
        ("TRUNCATE orders", "ban-truncate"),
        ("DELETE FROM orders WHERE id < 5", "ban-truncate"),
        ("ALTER TABLE orders RENAME COLUMN total TO amount", "renaming-column"),
        ("ALTER TABLE orders RENAME total TO amount", "renaming-column"),
        ("ALTER TABLE orders RENAME TO purchases", "renaming-table"),
        ("ALTER TABLE orders ADD COLUMN owner text NOT NULL", "adding-required-field"),
        ("ALTER TABLE orders ALTER COLUMN total TYPE numeric", "changing-column-type"),
        ("alter table orders alter total set data type text", "changing-column-type"),
        ("ALTER TABLE orders ALTER COLUMN note SET NOT NULL", "adding-not-nullable-field"),
        ("CREATE UNIQUE INDEX one ON orders (id)", "require-concurrent-index-creation"),
        ("ALTER TABLE orders ADD CONSTRAINT c CHECK (total > 0)", "constraint-missing-not-valid"),
    ],
)
def test_what_stands_in_the_way_is_named(statement: str, rule: str) -> None:
    """Each rule finds its statement, as advice that says what to do in its place."""
    (found,) = migration_lint(script(f"BEGIN;\n{statement};\nCOMMIT;"))
    assert (rule, "failed", False) == (found.name, str(found.status), found.needed)
    assert found.fix


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE orders ADD COLUMN note text",
        "ALTER TABLE orders ADD COLUMN currency text NOT NULL DEFAULT 'EUR'",
        "ALTER TABLE orders ADD COLUMN place bigint GENERATED ALWAYS AS IDENTITY NOT NULL",
        "CREATE TABLE reviews (id bigint NOT NULL)",
        "CREATE INDEX CONCURRENTLY one ON orders (id)",
        "ALTER TABLE orders ADD CONSTRAINT c CHECK (total > 0) NOT VALID",
        "UPDATE alembic_version SET version_num='2' WHERE alembic_version.version_num = '1'",
        "DELETE FROM alembic_version WHERE alembic_version.version_num = '1'",
        "COMMENT ON TABLE orders IS 'drop table, rename to'",
        "ALTER TABLE orders RENAME CONSTRAINT a TO b",
    ],
)
def test_what_expands_is_let_through(statement: str) -> None:
    """What every release can live with breaks no rule."""
    assert ["passed"] == [str(check.status) for check in migration_lint(script(f"{statement};"))]


def test_a_semicolon_in_a_literal_ends_nothing() -> None:
    """Comments go, literals and dollar quotes stay whole."""
    sql = "-- drop table a;\nSELECT 'a;b' /* ; */;\nDO $x$ BEGIN a; END $x$;\nCOMMIT;"
    assert ("SELECT 'a;b'", "DO $x$ BEGIN a; END $x$") == statements(sql)


def test_what_loses_data_is_told_apart() -> None:
    """A rename breaks releases and loses nothing; a dropped column is gone."""
    assert ("ALTER TABLE o DROP COLUMN a",) == losses("ALTER TABLE o RENAME b TO c; ALTER TABLE o DROP COLUMN a;")


def test_what_cannot_be_read_is_unknown() -> None:
    """No script is no clean script; nothing to run is."""
    gap = Gap("migrations", "script", "SQL", "not configured", "unreachable", False, NOW)
    assert ["unknown"] == [str(check.status) for check in migration_lint(gap)]
    assert ["passed"] == [str(check.status) for check in migration_lint(None)]
