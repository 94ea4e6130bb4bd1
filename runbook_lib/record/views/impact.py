"""How much it hurt and how long each step took, as far as the record tells."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from itertools import pairwise

from runbook_lib.errors import RecordError
from runbook_lib.model.times import clock, duration, parse_rfc3339
from runbook_lib.model.units import format_value
from runbook_lib.record.record import Record
from runbook_lib.record.views.headline import since


def impact(record: Record) -> tuple[tuple[str, str], ...]:
    """Names and facts; nothing that the evidence does not say."""
    symptom = record.symptom
    began = since(symptom) if symptom else None
    if symptom is None or began is None:
        return ()
    subject = symptom.get("subject") or {}
    facts = list(_spans(record, began))
    if subject.get("worst_seconds") is not None:
        facts.append(("Worst", format_value(subject["worst_seconds"], "s")))
    if subject.get("window_share") is not None:
        facts.append(
            ("Share of the window", f"{format_value(subject['window_share'], 'ratio')} of it over the threshold")
        )
    requests = _requests(record, began)
    if requests:
        facts.append(("Traffic meanwhile", f"about {requests:,.0f} requests up to the reading, good and bad together"))
    return tuple(facts)


def _spans(record: Record, began: datetime) -> Iterator[tuple[str, str]]:
    alert = record.run.get("alert") or {}
    if alert.get("fired_at"):
        yield _after("Alert", began, parse_rfc3339(alert["fired_at"]))
    if record.started:
        yield _after("This run", began, record.started)
    sent = [one["sent_at"] for one in record.outcomes if one.get("outcome") == "applied" and one.get("sent_at")]
    if sent:
        yield _after("Action", began, parse_rfc3339(sent[0]))
    checks = [event for event in record.all("verification") if event.data["status"] == "held"]
    if checks:
        yield _after("Objective held again", began, checks[-1].moment)
    elif record.ended:
        yield "Lasted", f"at least {duration((record.ended - began).total_seconds())}, to the end of this run"


def _after(name: str, began: datetime, moment: datetime) -> tuple[str, str]:
    seconds = (moment - began).total_seconds()
    side = "after" if seconds >= 0 else "before"
    return name, f"{clock(moment)} UTC, {duration(abs(seconds))} {side} it began"


def _requests(record: Record, began: datetime) -> float:
    """Requests between the start of the symptom and the first reading of the traffic, by its rate (trapezoids)."""
    entry = next((one for one in record.evidence if one["name"] == "requests_per_second"), None)
    if entry is None:
        return 0.0
    try:
        series = record.answer(entry).series
    except RecordError:
        return 0.0  # ``records verify`` names it
    total = 0.0
    for one in series:
        points = [(t, v) for t, v in one.points() if t >= began.timestamp()]
        total += sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in pairwise(points))
    return total
