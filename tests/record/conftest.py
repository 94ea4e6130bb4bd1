"""Records of a made-up incident, written by the real writers."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from runbook_lib.model import (
    Approval,
    Evidence,
    Finding,
    Gap,
    GuardResult,
    Objective,
    Outcome,
    OutcomeStatus,
    Plan,
    Quantity,
    Role,
    Series,
    Severity,
    Table,
    Verdict,
    Verification,
    Window,
)
from runbook_lib.model.times import utc_now
from runbook_lib.record.folder import RecordFolder, new_run_id
from runbook_lib.record.genesis import genesis
from runbook_lib.secrets import Redactor

Start = Callable[..., RecordFolder]


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """An archive that does not exist yet."""
    return tmp_path / "outputs"


@pytest.fixture
def start(archive: Path) -> Start:
    """Starts a record in the archive."""

    def begin(runbook: str = "high_latency", *, redactor: Redactor | None = None, run_id: str = "") -> RecordFolder:
        started = utc_now()
        facts = genesis(
            runbook=runbook,
            title="High latency",
            service="api",
            environment="lab",
            mode="headless",
            apply=True,
            actor={"name": "ada", "known_by": "login"},
            archive=archive,
            parameters={"service": "api", "environment": "lab", "window_minutes": 60, "approval": ""},
            window=Window.last(60, started),
            objective=Objective("latency", "latency", 0.95, 0.2, 30),
            owner="Platform Engineering",
            contacts={"primary": "#platform-oncall", "secondary": "platform-escalation@company.pagerduty.com"},
            links={"dashboard": "https://grafana.example.com/api?from=1795557600000&to=1795561200000"},
        )
        return RecordFolder.create(
            archive, run_id or new_run_id(runbook), genesis=facts, started=started, redactor=redactor
        )

    return begin


def latency(now: datetime, *, bad_seconds: float = 0.612) -> Evidence:
    """One hour of p95 latency that jumped twelve minutes ago."""
    first = now.timestamp() - 3600
    points = [(first + 15 * i, bad_seconds if i > 192 else 0.08 + 0.001 * (i % 7)) for i in range(241)]
    return Evidence(
        source="prometheus",
        name="latency_seconds",
        title="p95 latency of the service",
        unit="s",
        query='histogram_quantile(0.95, sum by (le) (rate(http_request_duration_seconds_bucket{service="api"}[1m])))',
        parameters={"quantile": 0.95},
        window=Window.last(60, now),
        read_at=now,
        data=(Series.of(points, {"service": "api"}),),
    )


def rollouts(now: datetime) -> Evidence:
    """Two rollouts: one long ago, one a quarter of an hour ago."""
    rows = (
        (3, "registry.example.com/api:v1", now.timestamp() - 90000, 3),
        (4, "registry.example.com/api:v2", now.timestamp() - 900, 3),
    )
    return Evidence(
        source="kubernetes",
        name="rollouts",
        title="Rollouts of the deployment",
        unit="",
        query="GET /apis/apps/v1/namespaces/production/replicasets",
        parameters={},
        window=None,
        read_at=now,
        data=Table(("revision", "image", "started_at", "ready"), rows),
    )


def gap(now: datetime, *, needed: bool = False) -> Gap:
    """Logs that could not be read."""
    return Gap(
        "datadog", "logs", "Error logs of the service", "not configured in environment lab", "unreachable", needed, now
    )


def findings(now: datetime, *refs: str) -> tuple[Finding, ...]:
    """A cause, a symptom, a context and two causes that the numbers rule out."""
    return (
        Finding(
            "db.lock_contention",
            Severity.CRITICAL,
            "9 sessions wait for a lock that pid 4711 has held for 11m40s (idle in transaction)",
            evidence=refs,
            observed=Quantity(9, "count"),
            threshold=Quantity(1, "count"),
            threshold_source="a session that waits longer than 1 s is a symptom of its own",
            since=now - timedelta(minutes=12),
            confidence=0.95,
            subject={"pid": 4711},
        ),
        Finding(
            "unknown",
            Severity.CRITICAL,
            "p95 latency is 612 ms, 3.1 times the objective of 200 ms",
            role=Role.SYMPTOM,
            evidence=refs,
            observed=Quantity(0.612, "s"),
            threshold=Quantity(0.2, "s"),
            threshold_source="objective p95 latency < 200 ms",
            since=now - timedelta(minutes=12),
        ),
        Finding(
            "traffic.surge",
            Severity.NOTE,
            "traffic is as before: 41/s against 40/s",
            role=Role.RULED_OUT,
            observed=Quantity(1.02, "ratio"),
            threshold=Quantity(1.5, "ratio"),
        ),
        Finding(
            "app.cpu_bound",
            Severity.NOTE,
            "the pods use 22 % of their processor limit",
            role=Role.RULED_OUT,
            observed=Quantity(0.22, "ratio"),
            threshold=Quantity(0.9, "ratio"),
        ),
    )


def plan() -> Plan:
    """Ending the backend that holds the lock."""
    return Plan(
        kind="end_backend",
        service="api",
        environment="lab",
        target="postgres/shop/backend/4711",
        before={"pid": 4711, "state": "idle in transaction"},
        after={"pid": 4711, "state": "gone"},
        preconditions={"backend_start": "2026-11-24T21:40:02.118Z"},
        effect="ends backend 4711, which blocks 9 sessions; its transaction is rolled back",
        way_back="none is needed: the client connects again and repeats its transaction",
        command="psql -c 'SELECT pg_terminate_backend(4711)'",
        warnings=("the open transaction's changes are lost",),
    )


def approval(now: datetime) -> Approval:
    """Allows ``plan`` for a quarter of an hour."""
    return Approval(plan().digest, "lab", "grace", "configuration", now, now + timedelta(minutes=15), "0f3e2d1c")


def outcome(now: datetime, status: OutcomeStatus = OutcomeStatus.APPLIED) -> Outcome:
    """The backend is gone."""
    guards = (
        GuardResult("environment", True, "lab allows end_backend"),
        GuardResult("same_backend", True, "pid 4711 still has the backend_start of the plan"),
    )
    return Outcome(plan().digest, status, "backend 4711 is gone", {"pid": 4711, "state": "gone"}, guards, now)


def verification() -> Verification:
    """Latency holds again."""
    return Verification(
        "held", "p95 latency 612 ms before, 84 ms after; objective 200 ms", Quantity(0.612, "s"), Quantity(0.084, "s")
    )


@pytest.fixture
def incident(start: Start) -> Callable[..., RecordFolder]:
    """Writes a whole incident: evidence, findings, an approved and applied action, a verification."""

    def tell(*, redactor: Redactor | None = None, pictures: tuple[dict[str, str], ...] = ()) -> RecordFolder:
        folder, now = start(redactor=redactor), utc_now()
        write = folder.journal.append
        write("cell.started", {"index": 3}, cell="evidence-latency", actor="runner")
        refs = (folder.keep(latency(now)), folder.keep(rollouts(now)))
        folder.keep(gap(now))
        for picture in pictures:
            write(
                "cell.output", {"output_type": "display_data", "data": picture}, cell="evidence-latency", actor="runner"
            )
        ended = {"index": 3, "status": "ok", "duration_seconds": 0.4}
        write("cell.ended", ended, cell="evidence-latency", actor="runner")
        claims = findings(now, *refs)
        for claim in claims:
            write("finding", claim.to_json(), cell="findings")
        write("plan", plan().to_json(), cell="plan")
        write("approval.asked", {"plan": plan().digest, "requester": "ada"}, cell="action")
        write("approval", approval(now).to_json(), cell="action")
        write("action.intent", {"plan": plan().digest, "key": "k1"}, cell="action")
        write("action.outcome", outcome(now).to_json(), cell="action")
        folder.keep(latency(utc_now(), bad_seconds=0.084), cell="verify")
        write("verification", verification().to_json(), cell="verify")
        weighed = [claim.to_json() for claim in claims]
        write("verdict", {"verdict": str(Verdict.FAILING), "findings": weighed}, cell="record")
        return folder

    return tell
