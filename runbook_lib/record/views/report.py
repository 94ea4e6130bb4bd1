"""The report page: one self-contained file without any script."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from runbook_lib.model import show
from runbook_lib.model.times import clock, duration, parse_rfc3339, relative, rfc3339
from runbook_lib.model.units import format_value
from runbook_lib.record.record import Picture, Record
from runbook_lib.record.views.headline import headline, quantity, subject
from runbook_lib.record.views.impact import impact
from runbook_lib.record.views.timeline import changes, timeline, zero

if TYPE_CHECKING:
    from jinja2 import Template

_LEVELS = {"✓": "good", "·": "note", "…": "wait", "!": "warn", "✕": "bad", "?": "unknown"}
_STATES = {
    "succeeded": "healthy",
    "attention": "warning",
    "partial": "unknown",
    "refused": "refused",
    "stopped_early": "warning",
    "running": "waiting",
    "passed": "healthy",
    "not passed": "critical",
    "ok": "healthy",
    "error": "failed",
    "not_run": "note",
    "not_needed": "note",
    "skipped": "note",
    "failed": "failed",
}


def report(record: Record) -> str:
    """The page of a record as HTML.

    Everything in it is escaped text or a picture in a data address; a strict content security policy forbids the rest.
    """
    origin, origin_name = zero(record)
    moments = timeline(record)
    return _template("report.html.j2").render(
        record=record,
        run=record.run,
        head=headline(record),
        subject=subject(record),
        origin=origin,
        origin_name=origin_name,
        important=[one for one in moments if one.important],
        rest=[one for one in moments if not one.important],
        changes=changes(record),
        impact=impact(record),
        pictures=[(one, address) for one in record.pictures if (address := data_address(one))],
        symptom=record.symptom,
        verification=record.verification if told_by_verification(record) else None,
        context=[one for one in record.findings if one.get("role") == "context"],
        plans=[(plan, record.outcome_of(plan["digest"])) for plan in record.plans],
        approvals=[event.data for event in record.all("approval")],
        asked=[(event.moment, event.data) for event in record.all("approval.asked")],
        follow_ups=[event.data["follow_up"] for event in record.all("note") if event.data.get("follow_up")],
        posted=[event.data["posted"] for event in record.all("note") if event.data.get("posted")],
        recovered=record.all("recovered"),
        journal=next(((e.seq + 1, e.hash) for e in reversed(record.events) if e.kind != "sealed"), (0, "")),
    )


def told_by_verification(record: Record) -> bool:
    """Whether a verification says something: one that was not needed does not."""
    return bool(record.verification) and (record.verification or {}).get("status") != "not_needed"


def data_address(picture: Picture) -> str:
    """A picture as a ``data:`` address; empty when it is not what it says it is."""
    if picture.mime == "image/svg+xml":
        return "data:image/svg+xml;base64," + base64.b64encode(picture.content.encode()).decode()
    content = picture.png
    return f"data:image/png;base64,{base64.b64encode(content).decode()}" if content else ""


def level(word: object) -> str:
    """Name of the colour class for a verdict, severity, state or status; never good for a word nobody knows."""
    text = str(word)
    return _LEVELS[show.SIGNS.get(_STATES.get(text, text), "?")]


def sign(word: object) -> str:
    """The sign that stands beside a verdict, severity, state or status."""
    text = str(word)
    return show.SIGNS.get(_STATES.get(text, text), "?")


def safe_link(address: object) -> str:
    """``address`` when it is a web address, otherwise empty: a link must not run anything."""
    text = str(address)
    return text if text.startswith(("https://", "http://")) else ""


def words(value: object) -> str:
    """A name as words: ``not_held`` becomes ``not held``."""
    return str(value).replace("_", " ")


def pairs(value: Mapping[str, Any]) -> str:
    """A small mapping on one line."""
    return ", ".join(f"{key} {item}" for key, item in value.items()) if value else "-"


def stamp(value: datetime | str | None) -> str:
    """Date and time of day in UTC; ``unknown`` for none."""
    if not value:
        return "unknown"
    moment = parse_rfc3339(value) if isinstance(value, str) else value
    return f"{moment:%Y-%m-%d} {clock(moment)}"


def prepare() -> None:
    """Load and compile the page's template (about 0.1 s), for a runner to do while it waits for its kernel."""
    _template("report.html.j2")


@cache
def _template(name: str) -> Template:
    from jinja2 import ChainableUndefined, Environment, PackageLoader
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("runbook_lib.record.views"),
        autoescape=True,
        # A journal of another version may lack a member: the page shows the rest.
        undefined=ChainableUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style = resources.files("runbook_lib.record.views").joinpath("templates/report.css").read_text(encoding="utf-8")
    # The policy names the digest of the one style sheet, so that no other style takes effect either.
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    environment.globals |= {"style": Markup(style), "style_digest": digest}  # noqa: S704 - our own file, no input
    environment.filters |= {
        "level": level,
        "sign": sign,
        "quantity": quantity,
        "words": words,
        "pairs": pairs,
        "stamp": stamp,
        "clock": clock,
        "relative": relative,
        "duration": duration,
        "bytes": lambda size: format_value(size, "bytes"),
        "rfc3339": rfc3339,
        "safe_link": safe_link,
    }
    return environment.get_template(name)
