"""What happened when: rollouts, events, annotations and applied plans as marks on a time axis."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from runbook_lib.charts.plot import Mark
from runbook_lib.model import Evidence, Finding, Gap, Outcome
from runbook_lib.model.evidence import Scalar

#: What may mark a moment; a Gap marks nothing and is named in the sentence.
Markable = Evidence | Gap | Outcome | Finding | Mark
# The columns that say when a row happened, epoch seconds, and the column that says what, most telling first.
_TIME_COLUMNS = ("started_at", "time", "at", "last_seen", "created_at")
_TEXT_COLUMNS = ("label", "text", "title", "reason", "message", "name")


def marks_of(given: Markable | Iterable[Markable] | None) -> list[Mark]:
    """Marks in the order of time.

    Args:
        given: evidence whose table has a time column (``started_at``, ``time`` ... in epoch seconds), an applied
            outcome, a finding that knows since when, a mark, or several of these.
    """
    found = [mark for one in _each(given) for mark in _marks(one)]
    return sorted(found, key=lambda mark: mark.time)


def gaps_of(given: Markable | Iterable[Markable] | None) -> list[Gap]:
    """The gaps among what should mark the axis: a missing mark must not look like "nothing happened"."""
    return [one for one in _each(given) if isinstance(one, Gap)]


def _each(given: Markable | Iterable[Markable] | None) -> list[Markable]:
    if given is None:
        return []
    return [given] if isinstance(given, Evidence | Gap | Outcome | Finding | Mark) else list(given)


def _marks(one: Markable) -> Iterator[Mark]:
    if isinstance(one, Mark):
        yield one
    elif isinstance(one, Outcome):
        if one.sent_at is not None:
            yield Mark(one.sent_at.timestamp(), f"action {one.status}", "●")
    elif isinstance(one, Finding):
        if one.since is not None:
            yield Mark(one.since.timestamp(), one.cause, "◆")
    elif isinstance(one, Evidence):
        for row in one.table.records():
            time = next((row[c] for c in _TIME_COLUMNS if isinstance(row.get(c), int | float)), None)
            if isinstance(time, int | float):
                yield Mark(float(time), _text(row), "▲" if row.get("revision") is not None else "■")


def _text(row: Mapping[str, Scalar]) -> str:
    if row.get("revision") is not None:
        image = str(row.get("image") or "").rpartition("/")[2]
        return f"revision {row['revision']} {image}".rstrip()
    return next((str(row[c]) for c in _TEXT_COLUMNS if row.get(c)), "event")
