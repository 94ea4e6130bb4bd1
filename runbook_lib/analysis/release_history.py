"""What the history of a Helm release says: the newest revision, and the one to return to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from runbook_lib.model import Evidence

#: Statuses of a revision that has been live, by Helm's own words.
_WAS_LIVE = ("deployed", "superseded")


def newest(history: Evidence) -> Mapping[str, Any]:
    """The row of the newest revision."""
    return max(history.table.records(), key=lambda row: int(row["revision"] or 0))


def pending(row: Mapping[str, Any]) -> bool:
    """Whether an operation on this revision runs, or has died."""
    return str(row["status"]).startswith("pending")


def last_good(history: Evidence, good: Iterable[int]) -> int:
    """The newest revision before the live one that was recorded good and has been live; 0 when there is none.

    Never simply the one before: that may be the one that failed.

    Args:
        history: rows ``revision, status``.
        good: revisions that records call good.
    """
    known, last = set(good), int(newest(history)["revision"])
    candidates = [
        int(row["revision"] or 0)
        for row in history.table.records()
        if row["status"] in _WAS_LIVE and int(row["revision"] or 0) < last
    ]
    return max((one for one in candidates if one in known), default=0)
