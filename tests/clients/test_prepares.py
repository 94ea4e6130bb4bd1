"""Rollbacks onto a schema that is ahead, in a real database: five migration tools, and what old statements say."""

from __future__ import annotations

import pytest

from benchmarks.rollbacks import BREAKS, EXPANDS, MOST_FALSE, Trial, asked, client, record, released, tried
from runbook_lib.lab.postgres import Postgres
from runbook_lib.model import CheckStatus, Evidence, Gap


@pytest.fixture(scope="module")
def trials(postgres: Postgres) -> list[Trial]:
    """Every change, declared and undeclared, and every state, for every tool."""
    return tried(postgres)


def test_the_fixtures_are_what_they_are_called(trials: list[Trial]) -> None:
    """By running its statements, the older release runs after each change of the first group and none of the second."""
    told = {one.name.partition(",")[0]: one.compatible for one in trials if "declared" in one.name and "," in one.name}
    assert {**dict.fromkeys(EXPANDS, True), **dict.fromkeys(BREAKS, False)} == told


def test_every_incompatible_rollback_is_refused(trials: list[Trial]) -> None:
    """Not one of them passes, also when its author wrongly called it expanding."""
    bad = [one for one in trials if not one.compatible]
    assert [] == [one for one in bad if one.status is CheckStatus.PASSED]


def test_few_compatible_rollbacks_are_refused(trials: list[Trial]) -> None:
    """At most one in twenty."""
    good = [one for one in trials if one.compatible]
    refused = [one for one in good if one.status is not CheckStatus.PASSED]
    assert len(refused) <= MOST_FALSE * len(good), refused


def test_statements_are_parsed_and_not_executed(postgres: Postgres) -> None:
    """Asking changes no row, and a broken statement is named with its code."""
    released(postgres)
    with postgres.connect("postgres", "released") as admin:
        admin.execute(BREAKS["renamed column"])
        before = admin.execute("SELECT count(*) FROM items").fetchone()
        made = client(postgres)
        found = made.prepares()
        assert isinstance(found, Evidence), found
        assert before == admin.execute("SELECT count(*) FROM items").fetchone()
        made.close()
    assert ["42703"] * 3 == [row["code"] for row in found.table.records() if row["status"] == "broken"]


def test_without_the_statements_nothing_is_known(postgres: Postgres) -> None:
    """A database in which nobody counts statements is a gap, and a gap refuses."""
    released(postgres)
    with postgres.connect("postgres", "released") as admin:
        admin.execute("DROP EXTENSION pg_stat_statements")
        record(admin, "flyway", 3)
    made = client(postgres)
    assert isinstance(made.prepares(), Gap)
    assert CheckStatus.UNKNOWN is asked(made, "flyway", expand=True)
    made.close()
