"""The scores of a game day: what a runbook is for, and when it failed at that."""

from __future__ import annotations

from typing import Any

import pytest

from runbook_lib.authoring.gameday import Score, page, score


def judged(scenario: str = "long_query", cause: str = "db.long_query", **more: Any) -> Score:
    """The score of a run of ``high_latency``; ``told_*`` replace what the run printed."""
    told: dict[str, Any] = {
        "run_id": "20261124T000000Z-high_latency-000000",
        "runbook": "high_latency",
        "verdict": "failing",
        "exit_code": 3,
        "findings": [{"cause": "db.long_query"}],
        "outcomes": [],
    }
    told |= {name.removeprefix("told_"): more.pop(name) for name in list(more) if name.startswith("told_")}
    facts: dict[str, Any] = {"felt": True, "broken_cells": (), "faults_of_record": (), "seconds": 8.04} | more
    return score(told, scenario=scenario, cause=cause, **facts)


HEALTHY = {"told_verdict": "healthy", "told_findings": [], "told_exit_code": 0}
CALM = {"scenario": "none", "cause": "none", "felt": False}


@pytest.mark.parametrize(
    "run",
    [
        pytest.param({}, id="the right cause"),
        pytest.param({**CALM, **HEALTHY}, id="a healthy service"),
        pytest.param({"cause": "unknown", "told_verdict": "unknown", "told_findings": []}, id="hidden evidence"),
        pytest.param({"told_runbook": "slo_report", **HEALTHY}, id="a report does not judge"),
        pytest.param({"told_runbook": "preflight", "felt": False, **HEALTHY}, id="nobody feels it"),
    ],
)
def test_a_run_that_did_its_job_passes(run: dict[str, Any]) -> None:
    """No problem is told of a run that did what it is for."""
    assert () == judged(**run).problems


@pytest.mark.parametrize(
    ("run", "problem"),
    [
        pytest.param({"told_findings": []}, "it names nothing first, not db.long_query", id="no cause"),
        pytest.param(
            {"told_findings": [{"cause": "traffic.surge"}]},
            "it names traffic.surge first, not db.long_query",
            id="the wrong cause",
        ),
        pytest.param(
            {"told_runbook": "validate", **HEALTHY},
            "it calls the service healthy while users feel the fault",
            id="called healthy",
        ),
        pytest.param(CALM, "it calls a healthy service failing, exit 3", id="a false alarm"),
        pytest.param({"cause": "unknown"}, "its evidence is gone and it says failing", id="certain without evidence"),
        pytest.param({"told_outcomes": [{}]}, "it changed something without an approval", id="a change"),
        pytest.param({"broken_cells": ["plan"]}, "cell plan ended with an error", id="a broken cell"),
        pytest.param({"faults_of_record": ["no seal"]}, "the record does not verify: no seal", id="a bad record"),
    ],
)
def test_what_is_wrong_is_said(run: dict[str, Any], problem: str) -> None:
    """A run that failed at its job says how, in one sentence."""
    assert (problem,) == judged(**run).problems


def test_the_page_counts_and_names_every_problem() -> None:
    """A row for each scenario, a column for each runbook, the sum, and the problems in words."""
    text = page([judged(), judged(told_runbook="validate", **HEALTHY)], day="2026-11-24 00:00 UTC")
    assert "**1 of 2** runs" in text
    assert "| long_query | ✓ failing, db.long_query, 8 s | ✗ healthy, 8 s |" in text
    assert "- long_query, validate (`20261124T000000Z-high_latency-000000`): it calls the service healthy" in text
