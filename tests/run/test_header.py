"""The first thing that a run shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from runbook_lib.model import Findings, Outcome, OutcomeStatus, Verdict, Verification, Window
from runbook_lib.model.times import parse_rfc3339
from runbook_lib.record.folder import RecordFolder
from runbook_lib.run.header import alert_of, next_step

WINDOW = Window.last(15, parse_rfc3339("2026-03-01T20:31:05Z"))


@pytest.mark.parametrize(
    ("expected", "facts"),
    [
        (
            "HighLatency fired 20:28:01 UTC, 3m04s before this run",
            {"alert": {"name": "HighLatency", "fired_at": "2026-03-01T20:28:01Z"}},
        ),
        ("", {}),
    ],
    ids=["an alert began it", "a person began it"],
)
def test_alert_is_told_in_utc_and_as_seen_from_the_run(expected: str, facts: dict[str, object], tmp_path: Path) -> None:
    """The header says which alert began the run and how long before it that fired; nothing where none did."""
    record = RecordFolder.create(tmp_path, "run-1", genesis={"runbook": "x", **facts})
    record.release()
    assert expected == alert_of(record.path, WINDOW)


@pytest.mark.parametrize(
    ("expected", "status"),
    [
        ("nothing: the objective holds again", "held"),
        ("runbook run verify_fix reads it again, runbook run escalate hands over", "not_held"),
        ("could not be read after the change", "unknown"),
    ],
)
def test_next_step_follows_from_the_verification(expected: str, status: str) -> None:
    """After a change the next step is what its verification asks for, not what was done."""
    done = Outcome("sha256:1", OutcomeStatus.APPLIED, "session 4711 ends")
    known = Findings((), (), (), Verdict.FAILING)
    assert expected in next_step(known, (done,), Verification(status, "read again"), "run-1")
