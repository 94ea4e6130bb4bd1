"""Views of a record: each a pure function of the journal and the evidence files."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from runbook_lib.record.record import Record
from runbook_lib.record.views.handover import Sheet, handover, sheet
from runbook_lib.record.views.headline import Headline, headline
from runbook_lib.record.views.junit import junit
from runbook_lib.record.views.markdown import postmortem, summary
from runbook_lib.record.views.report import prepare, report
from runbook_lib.record.views.timeline import Moment, changes, timeline

#: Name of the file in the record to the function that makes its text.
VIEWS: Mapping[str, Callable[[Record], str]] = {
    "summary.md": summary,
    "report.html": report,
    "postmortem.md": postmortem,
}

__all__ = [
    "VIEWS",
    "Headline",
    "Moment",
    "Sheet",
    "changes",
    "handover",
    "headline",
    "junit",
    "postmortem",
    "prepare",
    "report",
    "sheet",
    "summary",
    "timeline",
]
