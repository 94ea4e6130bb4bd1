"""The judgement of a run from its record: the worst truth wins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from runbook_lib.headless.ending import judge
from runbook_lib.headless.execution import Ending
from runbook_lib.model import Evidence, Finding, Gap, Plan, Severity, Table
from runbook_lib.model.times import utc_now
from runbook_lib.record.folder import RecordFolder
from runbook_lib.record.record import Record
from runbook_lib.record.status import Status

END = Ending(Status.SUCCEEDED)
PLAN = Plan("scale", "api", "lab", "t", {"replicas": 3}, {"replicas": 5}, {}, "more pods", "scale back", "kubectl")
FINDING = Finding("app.cpu_bound", Severity.CRITICAL, "all processor time is used")
OUTCOME = {"plan": PLAN.digest, "reason": "", "read_back": {}, "guards": [], "sent_at": None}
HEALTHY: Mapping[str, Any] = {"verdict": "healthy", "findings": []}


def gap(needed: bool) -> Gap:
    """A metric that could not be read."""
    return Gap("prometheus", "latency_seconds", "p95", "refused", "unreachable", needed, utc_now())


def judged(tmp_path: Path, events: Sequence[tuple[str, Mapping[str, Any]]], ending: Ending = END) -> tuple[Status, int]:
    """Status and exit code of a run whose record holds these events."""
    folder = RecordFolder.create(tmp_path, "run-1", genesis={})
    for kind, data in events:
        folder.journal.append(kind, data)
    folder.release()
    found = judge(Record.read(folder.path), ending)
    return found.status, found.exit_code


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        pytest.param([], (Status.SUCCEEDED, 0), id="a plain notebook"),
        pytest.param([("verdict", HEALTHY)], (Status.SUCCEEDED, 0), id="healthy"),
        pytest.param([("finding", FINDING.to_json())], (Status.PARTIAL, 5), id="no verdict"),
        pytest.param([("verdict", {"verdict": "unknown", "findings": []})], (Status.PARTIAL, 5), id="unknown"),
        pytest.param([("gap", gap(needed=True).to_json()), ("verdict", HEALTHY)], (Status.PARTIAL, 5), id="needed gap"),
        pytest.param([("gap", gap(needed=False).to_json()), ("verdict", HEALTHY)], (Status.SUCCEEDED, 0), id="gap"),
        pytest.param(
            [("verdict", {"verdict": "failing", "findings": [FINDING.to_json()]})], (Status.ATTENTION, 3), id="finding"
        ),
        pytest.param([("plan", PLAN.to_json()), ("verdict", HEALTHY)], (Status.ATTENTION, 3), id="waiting plan"),
        pytest.param(
            [("plan", PLAN.to_json()), ("action.outcome", {**OUTCOME, "outcome": "refused"}), ("verdict", HEALTHY)],
            (Status.REFUSED, 4),
            id="refused",
        ),
        pytest.param(
            [("plan", PLAN.to_json()), ("action.outcome", {**OUTCOME, "outcome": "unknown"}), ("verdict", HEALTHY)],
            (Status.UNKNOWN, 6),
            id="unknown outcome",
        ),
        pytest.param(
            [("plan", PLAN.to_json()), ("action.intent", {"plan": PLAN.digest, "key": "k", "kind": "scale"})],
            (Status.UNKNOWN, 6),
            id="intent without outcome",
        ),
        pytest.param(
            [
                ("plan", PLAN.to_json()),
                ("action.outcome", {**OUTCOME, "outcome": "applied"}),
                ("verification", {"status": "held"}),
                ("verdict", HEALTHY),
            ],
            (Status.SUCCEEDED, 0),
            id="applied and held",
        ),
    ],
)
def test_a_run_to_the_end_is_judged_by_its_record(
    tmp_path: Path, events: Sequence[tuple[str, Mapping[str, Any]]], expected: tuple[Status, int]
) -> None:
    """Findings, gaps, plans and outcomes decide, never the mere end of the cells."""
    assert expected == judged(tmp_path, events)


@pytest.mark.parametrize(
    ("ending", "expected"),
    [
        pytest.param(Ending(Status.FAILED, error="ValueError"), (Status.FAILED, 1), id="error"),
        pytest.param(Ending(Status.FAILED, error="UnknownNameError"), (Status.FAILED, 2), id="wrong use"),
        pytest.param(Ending(Status.FAILED, error="RecordError"), (Status.FAILED, 7), id="record"),
        pytest.param(Ending(Status.FAILED, error="annotations"), (Status.FAILED, 1), id="no error of the library"),
        pytest.param(Ending(Status.TIMED_OUT), (Status.TIMED_OUT, 124), id="deadline"),
        pytest.param(Ending(Status.INTERRUPTED, exit_code=143), (Status.INTERRUPTED, 143), id="terminated"),
        pytest.param(Ending(Status.INTERRUPTED), (Status.INTERRUPTED, 130), id="interrupted"),
        pytest.param(Ending(Status.KERNEL_DIED), (Status.KERNEL_DIED, 138), id="kernel died"),
        pytest.param(Ending(Status.FAILED, error="SystemExit"), (Status.FAILED, 1), id="sys.exit"),
    ],
)
def test_what_stopped_the_cells_outranks_a_healthy_verdict(
    tmp_path: Path, ending: Ending, expected: tuple[Status, int]
) -> None:
    """A run that did not reach its end is never a success."""
    assert expected == judged(tmp_path, [("verdict", HEALTHY)], ending)


def test_an_unknown_effect_outranks_a_signal(tmp_path: Path) -> None:
    """A run killed between request and answer must first be reconciled."""
    events = [("plan", PLAN.to_json()), ("action.intent", {"plan": PLAN.digest, "key": "k", "kind": "scale"})]
    assert (Status.UNKNOWN, 6) == judged(tmp_path, events, Ending(Status.INTERRUPTED, "ended by SIGTERM", 143))


def test_a_stop_with_a_reason_is_no_failure(tmp_path: Path) -> None:
    """A runbook that says why it needs no further cell stopped early."""
    events = [("note", {"what": "stop", "text": "not a production service"})]
    ending = Ending(Status.FAILED, error="SystemExit")
    assert (Status.STOPPED_EARLY, 3) == judged(tmp_path, events, ending)


def test_evidence_without_a_verdict_is_partial(tmp_path: Path) -> None:
    """A run that read something and came to no conclusion is not healthy."""
    folder = RecordFolder.create(tmp_path, "run-1", genesis={})
    folder.keep(Evidence("postgres", "x", "X", "", "q", {}, None, utc_now(), Table((), ())))
    folder.release()
    assert Status.PARTIAL is judge(Record.read(folder.path), END).status
