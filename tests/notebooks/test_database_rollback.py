"""Which release runs on the data as it is, on the lab's own database."""

from __future__ import annotations

import psycopg
import pytest

from tests.conftest import Practice

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

#: What the lab's release v4 does to the schema, and back.
RENAMED = """ALTER TABLE orders ADD COLUMN IF NOT EXISTS note text;
ALTER TABLE orders ADD COLUMN IF NOT EXISTS currency text NOT NULL DEFAULT 'EUR';
ALTER TABLE orders RENAME COLUMN total_cents TO amount_cents;
UPDATE schema_migrations SET version = 4"""
BACK = "ALTER TABLE orders RENAME COLUMN amount_cents TO total_cents; UPDATE schema_migrations SET version = 3"


def test_the_running_release_fits(practice: Practice) -> None:
    """On a schema that nothing went ahead of, the release that runs is named as fitting, and exit is 0."""
    told = practice.run("database_rollback", "-p", "window_minutes=5")
    status = {one["name"]: one["status"] for one in told["checks"]}
    assert ("passed", "passed", 0) == (status["release v1"], status["a release fits"], told["exit_code"])


def test_a_renamed_column_refuses_every_earlier_release(practice: Practice) -> None:
    """After the rename only the release that knows it fits; nothing was changed by asking."""
    with psycopg.connect(practice.status["postgres_url"], autocommit=True, connect_timeout=5) as admin:
        admin.execute(RENAMED)
        try:
            told = practice.run("database_rollback", "-p", "window_minutes=5")
        finally:
            admin.execute(BACK)
    status = {one["name"]: one["status"] for one in told["checks"]}
    assert {"v1": "failed", "v2": "failed", "v3": "failed", "v4": "passed"} == {
        name.removeprefix("release "): given for name, given in status.items() if name.startswith("release ")
    }
    assert [] == told["plans"]
