"""The page about the format says what the code does."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from runbook_lib.record.event import DURABLE, KINDS
from runbook_lib.record.folder import RecordFolder
from runbook_lib.record.genesis import FACTS
from runbook_lib.record.record import Record
from runbook_lib.record.status import Status
from runbook_lib.record.views import VIEWS

PAGE = (Path(__file__).parents[2] / "docs" / "record-format.md").read_text(encoding="utf-8")


def test_every_kind_is_described_with_its_durability() -> None:
    """The table of kinds has each kind of event once, in the code's order, and marks the durable ones."""
    rows = re.findall(r"^\| `([a-z.]+)` \| (yes)? ?\| ", PAGE, re.MULTILINE)
    assert [(kind, "yes" if kind in DURABLE else "") for kind in KINDS] == rows


def test_every_status_is_named() -> None:
    """The life of a run on the page has the statuses of the code, in their order."""
    life = " ".join(PAGE.partition("`running →")[2].partition("`")[0].split())
    assert [str(status) for status in Status if status is not Status.RUNNING] == life.split(" | ")


def test_every_fact_of_the_genesis_is_named() -> None:
    """The page names each fact that a genesis may hold."""
    assert [] == [
        fact for fact in FACTS if fact not in {"schema"} and f"{fact}" not in PAGE.partition("**Genesis.**")[2]
    ]


def test_the_files_of_a_record_are_listed(incident: Callable[..., RecordFolder]) -> None:
    """Every file of a sealed record is in the page's table."""
    record = incident().seal("succeeded", "failing")
    names = {path.name for path in record.iterdir() if path.is_file()} | set(VIEWS)
    assert [] == [name for name in sorted(names) if f"`{name}`" not in PAGE]


def test_the_members_of_events_are_listed(incident: Callable[..., RecordFolder]) -> None:
    """What the writers put into evidence, plans and outcomes is named in the row of its kind."""
    rows = dict(re.findall(r"^\| `([a-z.]+)` \| (?:yes)? ?\| (.*)$", PAGE, re.MULTILINE))
    unnamed = []
    for event in Record.read(incident().path).events:
        if event.kind in {"evidence", "gap", "finding", "plan", "approval", "action.outcome", "verification"}:
            unnamed += [(event.kind, name) for name in event.data if name not in rows[event.kind]]
    assert [] == unnamed
