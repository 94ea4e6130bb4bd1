"""What happened when, from the journal and from what the evidence says about the time before the run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from runbook_lib.errors import RecordError
from runbook_lib.model.times import from_epoch, parse_rfc3339
from runbook_lib.record.event import Event
from runbook_lib.record.record import Record
from runbook_lib.record.views.headline import since


@dataclass(frozen=True, slots=True)
class Moment:
    """One entry of the timeline.

    Args:
        at: when.
        what: one sentence.
        source: the system or the actor that says so.
        important: whether it is shown without asking.
        level: a key of ``model.show.SIGNS``, for the sign beside it; empty for none.
    """

    at: datetime
    what: str
    source: str
    important: bool
    level: str = ""


def timeline(record: Record) -> tuple[Moment, ...]:
    """The entries in order of time; entries of the same moment keep the order of the journal."""
    found = [*_alert(record), *_changes(record), *_begins(record)]
    for event in record.events:
        moment = _of_event(event)
        if moment is not None:
            found.append(moment)
    return tuple(sorted(found, key=lambda one: one.at))


def zero(record: Record) -> tuple[datetime | None, str]:
    """The moment that relative times count from, and its name: the symptom's start, the alert, or the run's start."""
    symptom = record.symptom
    began = since(symptom) if symptom else None
    if began is not None:
        return began, "start of the symptom"
    alert = record.run.get("alert") or {}
    if alert.get("fired_at"):
        return parse_rfc3339(alert["fired_at"]), "alert"
    return record.started, "start of the run"


def changes(record: Record) -> tuple[Moment, ...]:
    """What changed in the window and up to one window before: rollouts, by the time they began."""
    return tuple(_changes(record))


def _alert(record: Record) -> Iterator[Moment]:
    alert = record.run.get("alert") or {}
    if alert.get("fired_at"):
        at = parse_rfc3339(alert["fired_at"])
        yield Moment(at, f"Alert {alert.get('name', '')} fired", "alert", True, "critical")


def _begins(record: Record) -> Iterator[Moment]:
    for finding in record.findings:
        began = since(finding)
        if began is not None and finding.get("role") in {"symptom", "cause"}:
            text = f"{finding['cause'] if finding['role'] == 'cause' else 'Symptom'} began, as the evidence says"
            yield Moment(began, text, "evidence", True, str(finding["severity"]))


def _changes(record: Record) -> Iterator[Moment]:
    window = record.run.get("window")
    earliest = None
    if window:
        start, end = parse_rfc3339(window["start"]), parse_rfc3339(window["end"])
        earliest = start - (end - start)
    seen: set[tuple[float, str]] = set()
    for entry in record.evidence:
        if entry["name"] != "rollouts":
            continue
        try:
            rows = record.answer(entry).table.records()
        except RecordError:
            continue  # named by ``records verify``; a view shows what is left
        for row in rows:
            started, revision = row.get("started_at"), str(row.get("revision"))
            if not isinstance(started, int | float) or (started, revision) in seen:
                continue
            seen.add((started, revision))
            at = from_epoch(started)
            if earliest is None or at >= earliest:
                text = f"Rollout of revision {revision} began ({row.get('image')})"
                yield Moment(at, text, entry["source"], True, "note")


def _of_event(event: Event) -> Moment | None:
    text = _TEXTS.get(event.kind)
    if text is None:
        return None
    what, important, level = text(event.data)
    return Moment(event.moment, what, event.actor, important, level) if what else None


Text = tuple[str, bool, str]


def _started(data: Mapping[str, Any]) -> Text:
    who = (data.get("actor") or {}).get("name", "unknown")
    return f"Run of {data.get('runbook', 'a runbook')} began ({who})", True, ""


def _evidence(data: Mapping[str, Any]) -> Text:
    return f"Read {data['summary']}", False, ""


def _gap(data: Mapping[str, Any]) -> Text:
    return f"No data: {data['title']} ({data['source']}: {data['reason']})", bool(data["needed"]), "unknown"


def _finding(data: Mapping[str, Any]) -> Text:
    ruled_out = data.get("role") == "ruled_out"
    about = "symptom" if data.get("role") == "symptom" else data["cause"]
    lead = f"Ruled out {about}" if ruled_out else f"Finding {about}"
    important = not ruled_out and data["severity"] in {"critical", "warning"}
    return f"{lead}: {data['title']}", important, "note" if ruled_out else str(data["severity"])


def _note(data: Mapping[str, Any]) -> Text:
    return str(data.get("text", "")), bool(data.get("important")), ""


def _plan(data: Mapping[str, Any]) -> Text:
    return f"Planned: {data['effect']} ({data['digest'][7:19]})", True, "waiting"


def _asked(data: Mapping[str, Any]) -> Text:
    return f"Approval asked for plan {data['plan'][7:19]}", True, "waiting"


def _approval(data: Mapping[str, Any]) -> Text:
    return f"Plan {data['plan'][7:19]} approved by {data['approver']} (known by {data['known_by']})", True, "healthy"


def _intent(data: Mapping[str, Any]) -> Text:
    return f"About to send the one request of plan {data['plan'][7:19]}", True, "waiting"


def _outcome(data: Mapping[str, Any]) -> Text:
    return f"Plan {data['plan'][7:19]} {data['outcome']}: {data['reason']}", True, str(data["outcome"])


def _verification(data: Mapping[str, Any]) -> Text:
    return f"Verification, {data['status'].replace('_', ' ')}: {data['sentence']}", True, str(data["status"])


def _verdict(data: Mapping[str, Any]) -> Text:
    return f"Verdict: {data['verdict']}", True, str(data["verdict"])


def _cell(data: Mapping[str, Any]) -> Text:
    bad = data["status"] not in {"ok", "not_run"}
    error = data.get("error") or {}
    text = f"The cell ended: {data['status'].replace('_', ' ')} {error.get('name', '')}".strip()
    return text if bad else "", True, "failed"


def _ended(data: Mapping[str, Any]) -> Text:
    reason = f" ({data['reason']})" if data.get("reason") else ""
    return f"Run ended: {data['status'].replace('_', ' ')}{reason}", True, ""


def _recovered(data: Mapping[str, Any]) -> Text:
    lost = f"; a torn line of {data['dropped_bytes']} bytes was dropped" if data.get("dropped_bytes") else ""
    return f"The record was put in order after a crash{lost}", True, "unknown"


_TEXTS = {
    "run.started": _started,
    "evidence": _evidence,
    "gap": _gap,
    "finding": _finding,
    "note": _note,
    "plan": _plan,
    "approval.asked": _asked,
    "approval": _approval,
    "action.intent": _intent,
    "action.outcome": _outcome,
    "verification": _verification,
    "verdict": _verdict,
    "cell.ended": _cell,
    "run.ended": _ended,
    "recovered": _recovered,
}
