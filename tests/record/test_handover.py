"""The hand-over sheet: from the records alone, what the next person takes over."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from runbook_lib.model import OutcomeStatus
from runbook_lib.model.times import utc_now
from runbook_lib.record.folder import RecordFolder
from runbook_lib.record.record import Record
from runbook_lib.record.views import handover, sheet
from tests.record import conftest as made

Start = Callable[..., RecordFolder]


def proposed(folder: RecordFolder) -> RecordFolder:
    folder.journal.append("plan", made.plan().to_json(), cell="plan")
    return folder


@pytest.fixture
def waiting(start: Start) -> Record:
    """A run whose plan nobody has approved."""
    return Record.read(proposed(start()).seal("attention", "failing"))


@pytest.fixture
def unknown(start: Start) -> Record:
    """A run whose request was sent and never answered."""
    folder = proposed(start())
    folder.journal.append("action.intent", {"plan": made.plan().digest, "key": "k1"}, cell="action")
    outcome = made.outcome(utc_now(), OutcomeStatus.UNKNOWN)
    folder.journal.append("action.outcome", outcome.to_json(), cell="action")
    return Record.read(folder.seal("unknown", "failing"))


def test_a_plan_without_approval_waits_with_its_command(waiting: Record) -> None:
    """The next person reads what it does and the command that approves it."""
    (line,) = handover([waiting]).waiting
    assert f"runbook approve {waiting.run_id} --plan {made.plan().digest}" == line.then
    assert made.plan().effect == line.what


def test_a_later_run_without_the_plan_ends_the_wait(waiting: Record, start: Start) -> None:
    """Only the newest run of a runbook for a service says what waits."""
    later = Record.read(start().seal("succeeded", "healthy"))
    assert () == handover([waiting, later]).waiting


def test_what_was_done_stands_with_its_way_back(incident: Callable[..., RecordFolder]) -> None:
    """An applied action is told with its command, whether it helped, and how to undo it."""
    (line,) = handover([Record.read(incident().seal("succeeded", "failing"))]).done
    assert f"{made.plan().command} (held)" == line.what
    assert made.plan().way_back == line.then


def test_an_unknown_outcome_comes_first_until_it_is_settled(unknown: Record, start: Start) -> None:
    """A lost answer is open with the command that finds out, and no more once a reconciliation told it."""
    assert [f"runbook records reconcile {unknown.run_id}"] == [line.then for line in handover([unknown]).open]
    closing = start("reconcile")
    closing.journal.append("note", {"what": "run", "about": {"run_id": unknown.run_id}})
    closing.journal.append("action.outcome", made.outcome(utc_now()).to_json())
    assert () == handover([unknown, Record.read(closing.seal("succeeded", "unknown"))]).open


def test_a_run_without_an_end_is_open(start: Start) -> None:
    """A record that nobody sealed is named with the command that recovers it."""
    folder = start()
    record = Record.read(folder.path)
    assert [f"runbook records recover {record.run_id}"] == [line.then for line in handover([record]).open]
    folder.seal("interrupted", "unknown")


def test_no_record_is_no_all_clear() -> None:
    """Without a record the sheet says nothing about health."""
    text = sheet([], hours=12)
    assert 5 == text.count("Nothing.")
    assert "HEALTHY" not in text


def test_the_command_prints_the_same(waiting: Record, archive: Path) -> None:
    """The verb reads the archive of the last hours, as Markdown or as one JSON object."""
    command = [str(Path(sys.executable).with_name("runbook")), "records", "handover", "--archive", str(archive)]
    page, data = (
        subprocess.run([*command, *more], capture_output=True, text=True, check=True).stdout
        for more in ([], ["--json"])
    )
    assert sheet([waiting], hours=12).rstrip() == page.rstrip()
    assert handover([waiting]).to_json() == json.loads(data)
