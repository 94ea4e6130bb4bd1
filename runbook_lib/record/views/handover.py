"""The hand-over sheet: what was done, what waits for approval, what is open, and how to undo, over several records."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from runbook_lib.model.times import clock
from runbook_lib.record.record import Record
from runbook_lib.record.status import Status
from runbook_lib.record.views.headline import headline, subject
from runbook_lib.record.views.markdown import md


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that the next person must know.

    Args:
        run_id: the record that holds it.
        about: service and environment.
        what: in words.
        then: the command or the way back that belongs to it; may be empty.
    """

    run_id: str
    about: str
    what: str
    then: str


@dataclass(frozen=True, slots=True)
class Sheet:
    """What the next person on call takes over; every list has the newest first.

    Args:
        now: how each service stood when it was last looked at, with the single next step.
        open: requests whose outcome is unknown, and runs that never ended.
        waiting: plans that nobody has approved, each of the newest run of its runbook.
        done: what was changed, with the way back.
        unread: answers that a verdict needed and did not get.
    """

    now: tuple[Line, ...]
    open: tuple[Line, ...]
    waiting: tuple[Line, ...]
    done: tuple[Line, ...]
    unread: tuple[Line, ...]

    def to_json(self) -> dict[str, list[dict[str, str]]]:
        """``{now, open, waiting, done, unread}``, each a list of ``{run_id, about, what, then}``."""
        return {
            name: [{key: getattr(line, key) for key in Line.__slots__} for line in getattr(self, name)]
            for name in self.__slots__
        }


def handover(records: Iterable[Record]) -> Sheet:
    """The sheet of some records, sealed or not.

    Args:
        records: in any order; the newest decides how a service stands and which plan still waits.
    """
    newest = sorted((one for one in records if one.started), key=lambda one: one.events[0].ts, reverse=True)
    settled = {(one.run.get("about") or {}).get("run_id") for one in newest if _settles(one)}
    return Sheet(
        now=tuple(_now(one) for one in _first(newest, ("service", "environment"))),
        open=tuple(line for one in newest for line in _open(one, settled)),
        waiting=tuple(line for one in _first(newest, ("runbook", "service", "environment")) for line in _waiting(one)),
        done=tuple(line for one in newest for line in _done(one)),
        unread=tuple(line for one in _first(newest, ("service", "environment")) for line in _unread(one)),
    )


def sheet(records: Iterable[Record], *, hours: float) -> str:
    """The hand-over sheet as Markdown.

    Args:
        records: as for ``handover``.
        hours: how far they reach back, for the heading.
    """
    found = handover(records)
    titles: Mapping[str, Sequence[Line]] = {
        "How things stand": found.now,
        "Open: find out first": found.open,
        "Waits for approval": found.waiting,
        "Done, and how to undo it": found.done,
        "Could not be read": found.unread,
    }
    parts = [f"# Hand-over of the last {hours:g} hours"]
    parts += [f"## {title}\n\n" + ("\n".join(map(_text, lines)) or "Nothing.") for title, lines in titles.items()]
    return "\n\n".join(parts) + "\n"


def _settles(record: Record) -> bool:
    """Whether a reconciliation found out what became of every request that it looked at."""
    return bool(record.outcomes) and all(one["outcome"] != "unknown" for one in record.outcomes)


def _first(newest: Sequence[Record], names: Sequence[str]) -> list[Record]:
    found: dict[tuple[Any, ...], Record] = {}
    for record in newest:
        found.setdefault(tuple(record.run.get(name, "") for name in names), record)
    return list(found.values())


def _line(record: Record, what: str, then: str = "") -> Line:
    service, environment = record.run.get("service", ""), record.run.get("environment", "")
    return Line(record.run_id, f"{service} in {environment}" if service else "", what, then)


def _now(record: Record) -> Line:
    head = headline(record)
    at = f"{clock(record.started)} UTC" if record.started else ""
    return _line(record, f"{record.verdict.upper()} at {at} ({subject(record)}): {head.what}", head.next_step)


def _open(record: Record, settled: set[str | None]) -> Iterable[Line]:
    for plan in record.plans:
        outcome = record.outcome_of(plan["digest"])
        if outcome is not None and outcome["outcome"] == "unknown" and record.run_id not in settled:
            what = f"unknown whether it was done: {plan['command']}"
            yield _line(record, what, f"runbook records reconcile {record.run_id}")
    if record.status is Status.RUNNING:
        yield _line(record, "goes on, or died without an end", f"runbook records recover {record.run_id}")


def _waiting(record: Record) -> Iterable[Line]:
    for plan in record.plans:
        if record.outcome_of(plan["digest"]) is None:
            yield _line(record, plan["effect"], f"runbook approve {record.run_id} --plan {plan['digest']}")


def _done(record: Record) -> Iterable[Line]:
    for plan in record.plans:
        outcome = record.outcome_of(plan["digest"])
        if outcome is not None and outcome["outcome"] == "applied":
            verified = str((record.verification or {}).get("status", "not verified")).replace("_", " ")
            yield _line(record, f"{plan['command']} ({verified})", plan["way_back"])


def _unread(record: Record) -> Iterable[Line]:
    for gap in record.gaps:
        if gap["needed"]:
            yield _line(record, f"{gap['title']}: {gap['reason']}")


def _text(line: Line) -> str:
    about = f"**{md(line.about)}**: " if line.about else ""
    then = f"\n  {_code(line.then) if line.then.startswith('runbook ') else md(line.then)}" if line.then else ""
    return f"- {about}{md(line.what)} ({_code(line.run_id)}){then}"


def _code(text: str) -> str:
    return md(text) if "`" in text else f"`{text}`"
