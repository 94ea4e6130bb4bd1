"""The few lines that come first in every view: what, since when, how bad, why, and the single next step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from runbook_lib.model.times import clock, duration, parse_rfc3339
from runbook_lib.model.units import format_value
from runbook_lib.record.record import Record
from runbook_lib.record.status import Status

#: Ends at which the runbook itself did not reach its last cell.
BROKEN = {
    Status.INTERRUPTED: "The run was interrupted.",
    Status.TIMED_OUT: "The run passed its deadline.",
    Status.KERNEL_DIED: "The kernel died during the run.",
    Status.RUNNING: "The run is still going on, or died without an end.",
}


@dataclass(frozen=True, slots=True)
class Headline:
    """The same few sentences for the page, the summary, the terminal and a message.

    Args:
        verdict: the run's conclusion, one of ``Verdict``.
        what: what users feel, since when and how bad.
        why: the cause, or that none is named.
        after: what was read after a change; empty when nothing was changed.
        next_step: the one thing to do now.
        ending: what is to be said about the run's own end; empty when it ended well.
    """

    verdict: str
    what: str
    why: str
    after: str
    next_step: str
    ending: str


def headline(record: Record) -> Headline:
    """The headline of a record."""
    return Headline(record.verdict, _what(record), _why(record), _after(record), _next_step(record), ending(record))


def quantity(value: Mapping[str, Any] | None) -> str:
    """A ``{value, unit}`` for a person; ``no data`` when it is missing."""
    return format_value(value.get("value"), value.get("unit", "")) if value else "no data"


def since(finding: Mapping[str, Any]) -> datetime | None:
    """When a finding began; None when the evidence does not tell."""
    return parse_rfc3339(finding["since"]) if finding.get("since") else None


def ending(record: Record) -> str:
    """What is to be said about the run's own end; empty when it reached its last cell."""
    parts = [BROKEN.get(record.status, "")]
    if record.status is Status.STOPPED_EARLY:
        parts.append(f"The runbook ended itself early: {record.reason.rstrip('.')}.")
    if record.status in {Status.FAILED, Status.UNKNOWN} or parts[0]:
        parts.append(_sentence(record.reason))
    never = [cell.name for cell in record.cells if cell.status == "not_run"]
    if never:
        parts.append(f"Cells that never ran: {', '.join(never)}.")
    return " ".join(part for part in parts if part)


def _what(record: Record) -> str:
    symptom = record.symptom
    if symptom is None:
        kept = next((one for one in (*record.findings, *record.ruled_out) if one["cause"] == "none"), None)
        if kept is not None and record.verdict != "unknown":
            return _sentence(str(kept["title"]))
        return {
            "healthy": "Nothing is wrong: every check that ran passed.",
            "unknown": "It cannot be told whether anything is wrong.",
        }.get(record.verdict, "No symptom was found.")
    parts = [_sentence(str(symptom["title"])).rstrip(".")]
    began = since(symptom)
    if began is not None and clock(began)[:5] not in parts[0]:
        age = f", {duration((record.started - began).total_seconds())} before the run" if record.started else ""
        parts.append(f"Since {clock(began)} UTC{age}")
    return ". ".join(parts) + "."


def _why(record: Record) -> str:
    cause = record.cause
    needed = [gap for gap in record.gaps if gap["needed"]]
    unread = f" {_count(len(needed), 'needed answer')} could not be read." if needed else ""
    if cause is not None:
        return f"{_sentence(str(cause['title'])).rstrip('.')} ({cause['cause']}).{unread}"
    if record.verdict == "healthy":
        return f"There is no cause to name.{unread}"
    return f"The evidence names no cause.{unread}"


def _after(record: Record) -> str:
    found = record.verification
    if not found or found["status"] == "not_needed":
        return ""
    return f"{str(found['status']).replace('_', ' ').capitalize()}: {found['sentence']}"


def _next_step(record: Record) -> str:
    outcomes = [record.outcome_of(plan["digest"]) for plan in record.plans]
    if any(one is not None and one["outcome"] == "unknown" for one in outcomes):
        return f"Find out what became of the action before anything else: runbook records reconcile {record.run_id}"
    for plan in reversed(record.plans):
        step = _step_after(record, plan)
        if step:
            return step
    failed = next((cell for cell in record.cells if cell.status == "error"), None)
    if record.status is Status.FAILED and failed is not None:
        return f"Look at cell {failed.name}, which failed; then run it again, or hand over{_contact(record)}."
    advice = [step for event in record.all("note") for step in event.data.get("advice", ())]
    if record.verdict == "healthy" and record.status in {Status.SUCCEEDED, Status.ATTENTION}:
        return "None: nothing needs a person."
    if advice:
        return str(advice[0])
    if record.verdict == "unknown" or record.status in BROKEN:
        return f"Close the gaps and run it again, or hand over with this record{_contact(record)}."
    return f"No plan was made: hand over with this record{_contact(record)}."


def _step_after(record: Record, plan: Mapping[str, Any]) -> str:
    outcome = record.outcome_of(plan["digest"])
    state = outcome["outcome"] if outcome else "waiting"
    if state == "waiting":
        return f"Approve the plan ({plan['effect']}): runbook approve {record.run_id} --plan {plan['digest']}"
    if state == "applied" and plan["kind"] == "notify":
        return "It was handed over: go on until somebody has taken over."
    if state == "applied":
        verified = (record.verification or {}).get("status", "unknown")
        return {
            "held": "None: the objective holds again. Find out why it came to this.",
            "not_held": f"The change did not help: hand over with this record{_contact(record)}. "
            f"Way back: {plan['way_back']}",
        }.get(verified, "Read the objective again: it could not be verified after the change.")
    reason = str((outcome or {}).get("reason", "")).rstrip(".")
    return f"The plan was {state}: {reason}. Decide on another way or hand over{_contact(record)}."


def _contact(record: Record) -> str:
    contacts = record.run.get("contacts") or {}
    primary = contacts.get("primary") or next(iter(contacts.values()), "")
    return f" to {primary}" if primary else ""


def _sentence(text: str) -> str:
    # A first word such as p95 or db.slow_query is a name and keeps its form.
    first = text.partition(" ")[0]
    whole = text[:1].upper() + text[1:] if first.isalpha() and first.islower() else text
    return whole if not whole or whole.endswith((".", "!", "?")) else f"{whole}."


def subject(record: Record) -> str:
    """The runbook with what it is about, as headings name it: ``high_latency: api in lab``."""
    run = record.run
    about = " in ".join(part for part in (run.get("service", ""), run.get("environment", "")) if part)
    name = str(run.get("title") or run.get("runbook") or "run")
    return f"{name}: {about}" if about else name


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
