"""What the next person must know: what users feel now, what was tried, by which records, and whom to call."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runbook_lib.errors import RecordError
from runbook_lib.model import Evidence, Gap, show
from runbook_lib.model.times import clock, duration, parse_rfc3339, utc_now
from runbook_lib.record.archive import Archive
from runbook_lib.record.record import Record
from runbook_lib.record.views.headline import headline

if TYPE_CHECKING:
    from runbook_lib.run import Run

#: How many earlier runs are told, and how old the oldest may be, seconds.
MOST_RUNS = 5
OLDEST_SECONDS = 24 * 3600.0
#: ``what`` of the note that keeps a hand-over in the record.
HANDOVER = "handover"


@dataclass(frozen=True, slots=True)
class Handover:
    """The same few lines for a page, a note and a message.

    Args:
        key: names the incident: the same for the same trouble, so that it is sent once.
        summary: one line.
        tried: a line for each earlier run: what it found and what became of its plans.
        contacts: a line for each.
        records: names of the records.
    """

    key: str
    summary: str
    tried: tuple[str, ...]
    contacts: tuple[str, ...]
    records: tuple[str, ...]

    @property
    def details(self) -> dict[str, str]:
        """For a page: what was tried, the records and the contacts."""
        return {
            "tried": "\n".join(self.tried),
            "records": ", ".join(self.records),
            "contacts": ", ".join(self.contacts),
        }

    @property
    def text(self) -> str:
        """All of it as plain text."""
        about = f"Incident {self.key}, records {', '.join(self.records)}."
        return "\n".join((self.summary, about, "Tried so far:", *(f"- {one}" for one in self.tried), *self.contacts))

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data, as the journal holds it."""
        return {
            "key": self.key,
            "summary": self.summary,
            "tried": list(self.tried),
            "contacts": list(self.contacts),
            "records": list(self.records),
        }

    def __str__(self) -> str:
        return self.text

    __repr__ = __str__

    def _repr_html_(self) -> str:
        pairs = [("incident", self.key), ("now", self.summary), *(("tried", one) for one in self.tried)]
        return show.facts([*pairs, *(("contact", one) for one in self.contacts)])


def handover(run: Run, archive: Path, *, incident: str, on_call: Evidence | Gap | None = None) -> Handover:
    """Gather what is handed over.

    Args:
        run: the run that hands over, with its findings.
        archive: the archive whose records tell what was tried.
        incident: names the trouble within service and environment, such as the alert.
        on_call: who is on call, where that can be read.
    """
    told = [line for entry in _earlier(run, archive) if (line := _line(entry))]
    top = run.findings.top
    what = top.title if top else f"verdict {run.findings.verdict}"
    return Handover(
        key=f"{run.service.name}/{run.environment.name}/{incident}",
        summary=f"{run.service.name} in {run.environment.name}: {what}",
        tried=tuple(line for _, line in told) or ("nothing: no run of the last day is in the archive",),
        contacts=tuple(_contacts(run, on_call)),
        records=(*(name for name, _ in told), run.id),
    )


def replayed_handover(record: Path) -> Handover | None:
    """What a record's run handed over; None when it handed nothing over.

    Raises:
        RecordError: the record cannot be read.
    """
    for event in Record.read(record).all("note"):
        if event.data.get("what") == HANDOVER:
            found = {key: tuple(event.data[key]) for key in ("tried", "contacts", "records")}
            return Handover(str(event.data["key"]), str(event.data["summary"]), **found)
    return None


def _earlier(run: Run, archive: Path) -> Iterable[Path]:
    """The newest runs of the last day about the same service and environment, but not hand-overs; newest first."""
    named = {"service": run.service.name, "environment": run.environment.name}
    found = []
    for entry in Archive(archive).entries(limit=MOST_RUNS * 4, **named):
        age_seconds = (utc_now() - parse_rfc3339(entry.started)).total_seconds() if entry.started else 0.0
        if entry.run_id != run.id and entry.runbook != run.runbook and age_seconds <= OLDEST_SECONDS:
            found.append(entry.path)
    return found[:MOST_RUNS]


def _line(path: Path) -> tuple[str, str] | None:
    try:
        record = Record.read(path)
        head = headline(record)
    except RecordError:
        return None  # a record that cannot be read tells nothing, and must not keep the call for help back
    began = f"{clock(record.started)} UTC" if record.started else "at an unknown time"
    states = (record.outcome_of(plan["digest"]) or {"outcome": "waiting"} for plan in record.plans)
    plans = "; ".join(
        f"{plan['kind']} {plan['target']}: {state['outcome']}" for plan, state in zip(record.plans, states, strict=True)
    )
    runbook = str(record.run.get("runbook", "a run"))
    parts = (
        f"{runbook} at {began}: {head.verdict}. {head.why}",
        plans or "no plan",
        head.after,
        f"record {record.run_id}",
    )
    return record.run_id, " | ".join(part for part in parts if part)


def _contacts(run: Run, on_call: Evidence | Gap | None) -> Iterator[str]:
    yield from (f"{role} contact: {address}" for role, address in run.service.contacts.items())
    if isinstance(on_call, Evidence):
        for row in on_call.table.records():
            left = float(row["until"]) - utc_now().timestamp() if row["until"] is not None else 0.0
            until = f" for another {duration(left)}" if left > 0 else ""
            yield f"on call, level {row['level']}: {row['user']} ({row['policy']}){until}"
