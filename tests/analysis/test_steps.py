"""Steps of a runbook as checks."""

from __future__ import annotations

from array import array
from datetime import UTC, datetime

import pytest

from runbook_lib import analysis
from runbook_lib.model import Check, CheckStatus, Evidence, Gap, NoPlan, Series, Table
from runbook_lib.model.evidence import Data

NOW = datetime(2026, 1, 1, tzinfo=UTC)
GAP = Gap("service", "health", "health", "refused", "unreachable", True, NOW)


def evidence(data: Data, unit: str = "") -> Evidence:
    """An answer with the given data."""
    return Evidence("service", "health", "health", unit, "GET /health", {}, None, NOW, data)


@pytest.mark.parametrize(
    ("document", "status"),
    [
        ({"status": "healthy"}, CheckStatus.PASSED),
        ({"status": "Healthy"}, CheckStatus.PASSED),
        ({"status": "degraded"}, CheckStatus.FAILED),
        ({"status": ""}, CheckStatus.UNKNOWN),
        ({"state": "healthy"}, CheckStatus.UNKNOWN),
        ({}, CheckStatus.UNKNOWN),
    ],
    ids=["same", "case", "other", "no-value", "no-field", "empty"],
)
def test_expected(document: dict[str, str], status: CheckStatus) -> None:
    """A field is as expected, is not, or cannot be told."""
    assert status is analysis.expected("health", evidence(document), status="healthy").status


def test_expected_reads_the_first_row() -> None:
    """Of a table the first row counts: the newest run, the newest revision."""
    runs = evidence(Table(("conclusion",), (("success",), ("failure",))))
    assert CheckStatus.PASSED is analysis.expected("CI", runs, conclusion="success").status


def test_nothing_to_compare_with_is_no_pass() -> None:
    """An expectation that nobody filled in is skipped, and shows what was seen."""
    check = analysis.expected("version", evidence({"version": "v7"}), version="")
    assert (CheckStatus.SKIPPED, False) == (check.status, check.needed)
    assert "v7" in check.observed


@pytest.mark.parametrize(
    ("values", "status"),
    [([0.2, 0.005], CheckStatus.PASSED), ([0.0, 0.01], CheckStatus.FAILED), ([], CheckStatus.UNKNOWN)],
    ids=["below", "at", "no-data"],
)
def test_below(values: list[float], status: CheckStatus) -> None:
    """The newest number counts, the limit itself does not pass, and no data is unknown."""
    series = (Series({}, array("d", range(len(values))), array("d", values)),)
    assert status is analysis.below("errors", evidence(series, "ratio"), 0.01).status


@pytest.mark.parametrize(
    "check",
    [analysis.answered("a", GAP), analysis.expected("a", GAP, status="x"), analysis.below("a", GAP, 1)],
    ids=["answered", "expected", "below"],
)
def test_a_gap_is_unknown(check: Check) -> None:
    """A system that does not answer never passes a step."""
    assert CheckStatus.UNKNOWN is check.status


def test_without_a_plan_the_step_is_skipped() -> None:
    """A change that could not be planned is no failure of the run: the reason stands in the line."""
    check = analysis.planned("scale", NoPlan("set to 5 already"))
    assert (CheckStatus.SKIPPED, "set to 5 already") == (check.status, check.observed)


def test_agrees() -> None:
    """A catalogue that means another place than the page is a failed check."""
    assert CheckStatus.FAILED is analysis.agrees("namespace", "staging", "production").status
    assert CheckStatus.PASSED is analysis.agrees("namespace", "production", "production").status
