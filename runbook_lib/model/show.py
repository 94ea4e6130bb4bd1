"""How domain objects show themselves in a notebook: inline styles only, no script, readable in light and dark."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, TypeGuard

from runbook_lib.model.times import clock, from_epoch, seen_from
from runbook_lib.model.units import format_value

if TYPE_CHECKING:
    from datetime import datetime

    from runbook_lib.model.action import Outcome, Plan
    from runbook_lib.model.evidence import Evidence
    from runbook_lib.model.finding import Finding

#: Severity or state to its sign; always shown with the word, never colour alone.
SIGNS = {
    "healthy": "✓",
    "applied": "✓",
    "held": "✓",
    "note": "·",
    "waiting": "…",
    "warning": "!",
    "degraded": "!",
    "refused": "!",
    "critical": "✕",
    "failing": "✕",
    "failed": "✕",
    "rejected": "✕",
    "not_held": "✕",
    "unknown": "?",
}
# Okabe-Ito hues darkened until white text on them reaches a contrast of 4.5:1.
_COLOURS = {"✓": "#00664b", "·": "#4d4d4d", "…": "#00588c", "!": "#8a4b00", "✕": "#a33c00", "?": "#6b3b63"}
_MAX_ROWS = 12
#: How a column's name ends, to the unit of its numbers.
_UNITS = {"seconds": "s", "bytes": "bytes", "ratio": "ratio", "cores": "cores", "per_second": "1/s"}


def text(value: object) -> str:
    """``value`` escaped for HTML, and for front ends that set what stands between two dollars as mathematics."""
    return html.escape(str(value)).replace("$", "<span>$</span>")


def chip(level: str, word: str) -> str:
    """A small label: sign, word and colour together."""
    sign = SIGNS.get(level, "?")
    return (
        f'<span style="background:{_COLOURS[sign]};color:#fff;border-radius:3px;padding:1px 6px;'
        f'font-weight:600;white-space:nowrap">{sign} {text(word.upper())}</span>'
    )


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], numeric: Iterable[str] = ()) -> str:
    """A table whose numeric columns are right-aligned; every cell is escaped."""
    right = set(numeric)
    aligns = ["right" if name in right else "left" for name in columns]
    head = "".join(
        f'<th scope="col" style="text-align:{a};padding:2px 8px">{text(c)}</th>'
        for c, a in zip(columns, aligns, strict=True)
    )
    style = "padding:2px 8px;vertical-align:top;font-variant-numeric:tabular-nums"
    body = "".join(
        "<tr>"
        + "".join(f'<td style="text-align:{a};{style}">{text(v)}</td>' for v, a in zip(row, aligns, strict=True))
        + "</tr>"
        for row in rows
    )
    return f'<table style="border-collapse:collapse"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def facts(pairs: Iterable[tuple[str, object]]) -> str:
    """Names and values, one a line; an address is a link."""
    name = "text-align:left;vertical-align:top;padding:1px 12px 1px 0;white-space:nowrap"
    value = "text-align:left;padding:1px 0"
    rows = "".join(f'<tr><th scope="row" style="{name}">{text(k)}</th><td style="{value}">{_linked(v)}</td></tr>'
                   for k, v in pairs)  # fmt: skip
    return f'<table style="border-collapse:collapse;margin:2px 0"><tbody>{rows}</tbody></table>'


def _linked(value: object) -> str:
    written = str(value)
    if not written.startswith(("https://", "http://")) or " " in written:
        return text(value)
    return f'<a href="{html.escape(written)}" rel="noopener noreferrer" target="_blank">{text(written)}</a>'


def evidence_html(evidence: Evidence) -> str:
    """The evidence's sentence, what its source said against it and, for a table, its first rows."""
    lead = f"<div>{text(evidence)}</div>" + "".join(
        f"<div>{chip('warning', 'warning')} {text(one)}</div>" for one in evidence.warnings
    )
    rows = evidence.table
    if not len(rows):
        return lead
    more = f"<div>and {len(rows) - _MAX_ROWS} more</div>" if len(rows) > _MAX_ROWS else ""
    numeric = [c for i, c in enumerate(rows.columns) if all(_number(r[i]) or r[i] is None for r in rows.rows)]
    shown = [
        [cell(column, value, evidence.read_at) for column, value in zip(rows.columns, row, strict=True)]
        for row in rows.rows[:_MAX_ROWS]
    ]
    return lead + table(rows.columns, shown, numeric) + more


def cell(column: str, value: object, read_at: datetime) -> object:
    """A value of a table for a person, in the unit that its column's name ends with; a missing one is empty.

    Args:
        column: such as ``query_seconds``, ``memory_bytes`` or ``started_at`` (seconds since 1970).
        value: as the source answered it.
        read_at: what a time is told as before or after.
    """
    if not _number(value):
        return "" if value is None else value
    if column == "at" or column.endswith("_at"):
        return seen_from(from_epoch(value), read_at)
    unit = next((unit for end, unit in _UNITS.items() if column == end or column.endswith(f"_{end}")), "")
    # A whole number without a unit may be a name, such as that of a statement: no digit of it may be lost.
    return value if isinstance(value, int) and not unit else format_value(value, unit)


def _number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def finding_html(finding: Finding) -> str:
    """Severity, cause and claim, with the threshold and its source."""
    limit = ""
    if finding.threshold:
        limit = f" (threshold {finding.threshold}, {finding.threshold_source})" if finding.threshold_source else ""
    label = chip(str(finding.severity), str(finding.severity))
    return f"<div>{label} <b>{text(finding.cause)}</b> {text(finding.title)}{text(limit)}</div>"


def plan_html(plan: Plan) -> str:
    """The plan as a person must read it before approving."""
    warnings = [("warning", warning) for warning in plan.warnings]
    pairs = [
        ("plan", plan.digest),
        ("target", f"{plan.target} in {plan.environment}"),
        ("effect", plan.effect),
        ("way back", plan.way_back),
        ("command", plan.command),
        *warnings,
    ]
    return f"<div>{chip('waiting', 'plan')} <b>{text(plan.kind)}</b></div>{facts(pairs)}{difference(plan.diff)}"


def difference(lines: str) -> str:
    """What would change, line by line as it is; nothing when there is nothing."""
    return f'<pre style="margin:4px 0">{text(lines)}</pre>' if lines else ""


def outcome_html(outcome: Outcome) -> str:
    """What became of a plan, when, what was read back, and each guard that was checked."""
    state = [("sent", f"{clock(outcome.sent_at)} UTC")] if outcome.sent_at else []
    if outcome.read_back:
        state.append(("read back", ", ".join(f"{name} {value}" for name, value in outcome.read_back.items())))
    rows = [("passed" if g.passed else "refused", g.name, g.reason) for g in outcome.guards]
    guards = table(("guard", "name", "reason"), rows) if rows else ""
    lead = f"<div>{chip(str(outcome.status), str(outcome.status))} {text(outcome.reason)}</div>"
    return lead + (facts(state) if state else "") + guards
