"""Which releases run on a schema: what is not known never passes."""

from __future__ import annotations

from typing import Any

import pytest

from runbook_lib import analysis
from runbook_lib.analysis.migrations import fits
from runbook_lib.model import CheckStatus

from .builders import document, gap, table

PASSED, FAILED, UNKNOWN = CheckStatus.PASSED, CheckStatus.FAILED, CheckStatus.UNKNOWN
ACCEPTS = {"v1": ["1", "2"], "v2": ["2"], "v3": ["3"]}
FITTING = table("postgres", "prepares", [{"query": "SELECT 1", "status": "fits", "code": "", "problem": ""}])


def at(newest: str, **more: Any) -> Any:
    """What golang-migrate recorded."""
    tool = {"tool": "golang-migrate", "applied": [newest], "newest": newest, "dirty": False, "locked": False, **more}
    return document("postgres", "migrations", found=True, tools=[tool])


def statuses(migrations: Any, prepared: Any = FITTING, accepts: Any = ACCEPTS) -> dict[str, CheckStatus]:
    """Name of each line to its status."""
    checks = analysis.releases_that_fit(migrations, prepared, accepts=accepts)
    return {check.name: check.status for check in checks}


def test_declared_releases_are_told_apart() -> None:
    """At 2, v1 declared it, v2 brought it, and v3 waits for its own."""
    assert {"release v1": PASSED, "release v2": PASSED, "release v3": FAILED, "a release fits": PASSED} == statuses(
        at("2")
    )


@pytest.mark.parametrize(
    ("migrations", "prepared", "accepts", "status"),
    [
        (gap("postgres", "migrations"), FITTING, ACCEPTS, UNKNOWN),
        (at("2"), gap("postgres", "prepares"), {"v1": ["1", "2"]}, UNKNOWN),
        (at("2"), FITTING, {}, UNKNOWN),
        (at("9"), FITTING, ACCEPTS, UNKNOWN),
        (at("2", dirty=True), FITTING, ACCEPTS, FAILED),
        (at("2", locked=True), FITTING, ACCEPTS, FAILED),
        (at("3"), FITTING, {"v1": ["1"], "v2": ["2"], "v9": ["3", "4"], "v10": ["4"]}, PASSED),
        (document("postgres", "migrations", found=False, tools=[]), FITTING, ACCEPTS, UNKNOWN),
    ],
    ids=["gap", "statements gap", "nothing declared", "never heard of", "dirty", "locked", "its own", "no tool"],
)
def test_what_is_not_known_does_not_pass(migrations: Any, prepared: Any, accepts: Any, status: CheckStatus) -> None:
    """The one needed line passes only when a release is known to fit."""
    assert status is statuses(migrations, prepared, accepts)["a release fits"]


def test_two_tools_in_one_database_are_not_told_apart() -> None:
    """Which of them the service uses nobody said."""
    tool = dict(at("2").document["tools"][0])
    both = document("postgres", "migrations", found=True, tools=[tool, {**tool, "tool": "alembic"}])
    assert UNKNOWN is fits(both, known=["1", "2"]).status


def test_only_statements_that_cannot_be_told_prove_nothing() -> None:
    """A schema that is ahead needs at least one statement that is known to fit."""
    untold = table("postgres", "prepares", [{"query": "x", "status": "untold", "code": "42601", "problem": "syntax"}])
    assert UNKNOWN is statuses(at("2"), untold)["release v1"]
