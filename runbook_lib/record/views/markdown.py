"""Markdown views: the summary for a terminal or a CI page, and the draft of a postmortem."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from runbook_lib.model import show
from runbook_lib.model.times import clock, duration, relative
from runbook_lib.record.record import Record
from runbook_lib.record.views.headline import headline, quantity, subject
from runbook_lib.record.views.impact import impact
from runbook_lib.record.views.timeline import timeline, zero

# An underscore inside a word is plain text in GitHub's Markdown; names stay searchable when it is left alone.
_SPECIAL = re.compile(r"([\\`*\[\]<>|#~]|(?<!\w)_|_(?!\w))")
TODO = "**TODO**"


def summary(record: Record) -> str:
    """The summary of a record as GitHub-flavoured Markdown, the most important first.

    Returns:
        Text that stays far below the 1 MiB that GitHub takes for one step's summary.
    """
    head = headline(record)
    after = f"- **After:** {md(head.after)}\n" if head.after else ""
    parts = [
        f"# {_sign(head.verdict)} {head.verdict.upper()} - {md(subject(record))}",
        f"- **What:** {md(head.what)}\n- **Why:** {md(head.why)}\n{after}- **Next:** {md(head.next_step)}",
        f"**This run:** {md(head.ending)}" if head.ending else "",
        _section("Could not be read", _gap_lines(record)),
        _section("Findings", _findings_table(record)),
        _section("Checks", _check_lines(record)),
        _section("Ruled out", [f"- {md(one['cause'])}: {md(one['title'])}" for one in record.ruled_out]),
        _section("Plans and outcomes", _plan_lines(record)),
        _section("Verification", _verification_lines(record)),
        _facts(record),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def postmortem(record: Record) -> str:
    """A draft of the postmortem; what only a person can know is marked TODO."""
    head = headline(record)
    service = md(record.run.get("service", "service"))
    date = f"{record.started:%Y-%m-%d}" if record.started else ""
    parts = [
        f"# Postmortem: {service}, {date}",
        f"> Draft from record `{record.run_id}`. All times are UTC. {TODO}: title, severity, authors, reviewers.",
        f"## Summary\n\n{md(head.what)} {md(head.why)} {TODO}: one paragraph for readers who were not there.",
        _impact(record),
        f"## Root cause\n\n{md(head.why)}\n\n{TODO}: why this could happen, and why it was not caught before.",
        _section("Charts", _chart_lines(record)),
        _section("What was ruled out", [f"- {md(one['cause'])}: {md(one['title'])}" for one in record.ruled_out]),
        _section("What could not be read", _gap_lines(record)),
        _section("Actions taken", _plan_lines(record)),
        _section("Verification", _verification_lines(record)),
        _timeline_table(record),
        f"## What went well\n\n- {TODO}",
        f"## What went wrong\n\n- {TODO}",
        _follow_ups(record),
        _facts(record),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def md(value: object) -> str:
    """``value`` as one line of Markdown that shows exactly that text."""
    line = " ".join(str(value).split())
    return _SPECIAL.sub(r"\\\1", line)


def code(value: object) -> str:
    """``value`` as a block of code that its content cannot leave."""
    text = str(value)
    fence = "`" * (max((len(run) for run in re.findall(r"`+", text)), default=0) + 3)
    return f"{fence}\n{text}\n{fence}" if "`" in text else f"```\n{text}\n```"


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; the cells must be Markdown already."""
    lines = ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def _section(title: str, lines: Sequence[str] | str) -> str:
    body = lines if isinstance(lines, str) else "\n".join(lines)
    return f"## {title}\n\n{body}" if body else ""


def _sign(level: str) -> str:
    return show.SIGNS.get(level, "?")


def _chart_lines(record: Record) -> list[str]:
    return [f"![{md(one.sentence)}]({one.file})\n" for one in record.pictures if one.file]


def _gap_lines(record: Record) -> list[str]:
    return [
        f"- {md(gap['title'])}: {md(gap['source'])} - {md(gap['reason'])}" + (" (needed)" if gap["needed"] else "")
        for gap in record.gaps
    ]


def _check_lines(record: Record) -> list[str]:
    levels = {"passed": "healthy", "failed": "critical", "skipped": "note"}
    return [
        f"- {_sign(levels.get(one['status'], 'unknown'))} {str(one['status']).upper()} {md(one['group'])}: "
        f"{md(one['name'])}: {md(one['observed'])}" + (f" - fix: {md(one['fix'])}" if one.get("fix") else "")
        for one in record.checks
    ]


def _findings_table(record: Record) -> str:
    if not record.findings:
        return ""
    rows = [
        (
            f"{_sign(one['severity'])} {str(one['severity']).upper()}",
            "symptom" if one.get("role") == "symptom" else md(one["cause"]),
            md(one["title"]),
            quantity(one.get("observed")) if one.get("observed") else "",
            quantity(one.get("threshold")) if one.get("threshold") else "",
        )
        for one in record.findings
    ]
    return table(("severity", "cause", "finding", "observed", "threshold"), rows)


def _plan_lines(record: Record) -> str:
    blocks = []
    for plan in record.plans:
        outcome = record.outcome_of(plan["digest"])
        state = str(outcome["outcome"]) if outcome else "waiting"
        said = f": {md(outcome['reason'])}" if outcome else " for approval"
        blocks.append(
            f"**{_sign(state)} {state.upper()}**{said}\n\n"
            f"- Effect: {md(plan['effect'])}\n- Plan: `{plan['digest']}`\n- Way back: {md(plan['way_back'])}\n\n"
            f"{code(plan['command'])}"
        )
    return "\n\n".join(blocks)


def _verification_lines(record: Record) -> str:
    found = record.verification
    if not found or found["status"] == "not_needed":
        return ""
    level = {"held": "healthy", "not_held": "critical", "not_needed": "note"}.get(found["status"], "unknown")
    return f"**{_sign(level)} {str(found['status']).replace('_', ' ').upper()}**: {md(found['sentence'])}"


def _facts(record: Record) -> str:
    took = f", {duration(record.duration_seconds)}" if record.duration_seconds is not None else ""
    started = f"{record.started:%Y-%m-%d} {clock(record.started)} UTC" if record.started else "unknown"
    return (
        f"Run `{record.run_id}`, status {str(record.status).replace('_', ' ')}, started {started}{took}. "
        f"Check this record with `runbook records verify {record.run_id}`."
    )


def _impact(record: Record) -> str:
    lines = [f"- {md(record.symptom['title'])}"] if record.symptom else []
    lines += [f"- {name}: {md(fact)}" for name, fact in impact(record)]
    lines.append(f"- {TODO}: users and requests affected, support contacts, money")
    return _section("Impact", lines)


def _timeline_table(record: Record) -> str:
    origin, name = zero(record)
    rows = [
        (f"{one.at:%Y-%m-%d} {clock(one.at)}", relative(one.at, origin) if origin else "", md(one.what), md(one.source))
        for one in timeline(record)
        if one.important
    ]
    return _section("Timeline", table(("UTC", f"from {name}", "what", "source"), rows)) if rows else ""


def _follow_ups(record: Record) -> str:
    found: list[Mapping[str, Any]] = [e.data["follow_up"] for e in record.all("note") if e.data.get("follow_up")]
    rows = [(md(one.get("text", "")), md(one.get("owner", "")), md(one.get("due", ""))) for one in found]
    return _section("Follow-ups", table(("what", "owner", "due"), [*rows, (TODO, TODO, TODO)]))
