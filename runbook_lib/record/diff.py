"""Two records beside each other: what they found, what they read, what was done."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from runbook_lib.errors import RecordError
from runbook_lib.model.canonical import canonical
from runbook_lib.model.units import Quantity, format_value
from runbook_lib.record.event import Event
from runbook_lib.record.record import Record

#: ``what`` of the note with which a replay takes an outcome from its record.
REPLAYED_OUTCOME = "replayed_outcome"


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not the same in two records.

    Args:
        area: ``run``, ``finding``, ``gap``, ``number``, ``action``, ``plan``, ``verification``, ``unanswered`` (a
            question that a replay asked and the record does not hold) or ``unread`` (an answer that the replay did
            not ask for).
        name: what it is about.
        left: as the first record says; empty when it says nothing.
        right: as the second one says.
    """

    area: str
    name: str
    left: str
    right: str

    def to_json(self) -> dict[str, str]:
        """``{area, name, left, right}``."""
        return {"area": self.area, "name": self.name, "left": self.left, "right": self.right}


def diff(left: Record, right: Record) -> tuple[Difference, ...]:
    """What differs, the conclusion first; ids, clocks and digests, which always differ, are left out."""
    return (
        *_pairs("run", _facts(left), _facts(right)),
        *_pairs("finding", _findings(left), _findings(right)),
        *_pairs("gap", _gaps(left), _gaps(right)),
        *_pairs("number", _numbers(left), _numbers(right)),
        *_pairs("action", _actions(left), _actions(right)),
    )


def divergences(record: Record, replay: Record) -> tuple[Difference, ...]:
    """What a replay asked or concluded differently from the run it replays; empty when it reached the same."""
    kept = ("verdict", "cause")
    return (
        *(one for one in _pairs("run", _facts(record), _facts(replay)) if one.name in kept),
        *_pairs("finding", _findings(record), _findings(replay)),
        *_pairs("gap", _gaps(record), _gaps(replay)),
        *_pairs("plan", _plans(record), _plans(replay)),
        *_pairs("verification", _verification(record), _verification(replay)),
        *_questions(record, replay),
    )


def _questions(record: Record, replay: Record) -> Iterator[Difference]:
    kept, asked = _asked(record), _asked(replay)
    for name in {**asked, **kept}:
        area = "unanswered" if asked[name] > kept[name] else "unread"
        if asked[name] != kept[name]:
            yield Difference(area, name, f"{kept[name]} answers", f"{asked[name]} questions")


def _asked(record: Record) -> Counter[str]:
    """Questions and how often each was asked, without those of a change: a replay changes nothing."""
    found: Counter[str] = Counter()
    for event in answers(record):
        bound = event.data.get("parameters")
        words = "" if not bound else f" {canonical(bound).decode()}"
        found[f"{event.data['source']}.{event.data['name']}{words}"] += 1
    return found


def answers(record: Record) -> tuple[Event, ...]:
    """What a run read for itself, in order.

    Not what carrying out a change read, for a replay changes nothing; nor what was read for a live picture only.
    """
    found: list[Event] = []
    waiting: list[Event] = []
    changing = False
    for event in record.events:
        if event.kind == "plan" or (event.data.get("what") == "decision" and event.data["word"] == "approved"):
            changing = True
        elif event.kind in {"approval.asked", "action.outcome"}:
            # While a person is asked, what is read is what they look at.
            changing, waiting = False, []
        elif event.data.get("what") == REPLAYED_OUTCOME:
            changing = False
        elif event.kind in {"evidence", "gap"} and not event.data.get("watched"):
            (waiting if changing else found).append(event)
    # A plan without an outcome was not carried out: what was read after it belongs to the run.
    return (*found, *waiting)


def _pairs(area: str, left: Mapping[str, str], right: Mapping[str, str]) -> Iterator[Difference]:
    for name in {**left, **right}:
        if left.get(name, "") != right.get(name, ""):
            yield Difference(area, name, left.get(name, ""), right.get(name, ""))


def _facts(record: Record) -> dict[str, str]:
    parameters = record.run.get("parameters") or {}
    return {
        "verdict": record.verdict,
        "cause": str(record.cause["cause"]) if record.cause else "",
        "status": str(record.status),
        "runbook": f"{record.run.get('runbook', '')} {record.run.get('runbook_digest', '')[7:19]}".strip(),
        "service": str(record.run.get("service", "")),
        "environment": str(record.run.get("environment", "")),
        **{f"parameter {name}": str(value) for name, value in parameters.items()},
    }


def _findings(record: Record) -> dict[str, str]:
    found: dict[str, str] = {}
    for one in (*record.findings, *record.ruled_out):
        name = f"{one.get('role', 'cause')} {one['cause']}"
        observed = one.get("observed")
        number = f" ({format_value(observed.get('value'), observed.get('unit', ''))})" if observed else ""
        found[name] = f"{one['severity']}{number}"
    return found


def _gaps(record: Record) -> dict[str, str]:
    return {f"{gap['source']}.{gap['name']}": str(gap["kind"]) for gap in record.gaps}


def _numbers(record: Record) -> dict[str, str]:
    """The newest number of each question, from its first reading in the run."""
    found: dict[str, str] = {}
    for entry in record.evidence:
        name = f"{entry['source']}.{entry['name']}"
        if name in found:
            continue
        try:
            answer = record.answer(entry)
        except RecordError:
            continue  # ``records verify`` names it
        latest: Quantity = answer.latest
        if answer.series:
            found[name] = str(latest)
        elif answer.table.columns:
            found[name] = f"{len(answer.table)} rows"
    return found


def _plans(record: Record) -> dict[str, str]:
    return {f"{plan['kind']} {plan['target']}": f"{plan['effect']} ({plan['digest'][7:19]})" for plan in record.plans}


def _verification(record: Record) -> dict[str, str]:
    return {"verification": str(record.verification["status"])} if record.verification else {}


def _actions(record: Record) -> dict[str, str]:
    found: dict[str, str] = {}
    for plan in record.plans:
        outcome: Mapping[str, Any] | None = record.outcome_of(plan["digest"])
        found[f"{plan['kind']} {plan['target']}"] = str(outcome["outcome"]) if outcome else "waiting"
    return found
