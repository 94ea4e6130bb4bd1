"""One run an incident, whatever is delivered how often, in which order, over restarts."""

from __future__ import annotations

import random
import sqlite3
import time
from datetime import timedelta
from pathlib import Path

import pytest

from runbook_lib.errors import RecordError
from runbook_lib.hooks.alerts import Notification, parse
from runbook_lib.hooks.queue import Queue
from tests.hooks.conftest import ROUTE
from tests.hooks.deliveries import alert, alertmanager, pagerduty

T1, T2, T3 = "2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z", "2026-01-01T05:00:00Z"


def note(body: bytes, source: str = "alertmanager") -> Notification:
    """A delivery."""
    found = parse(source, body)
    assert found is not None
    return found


def test_a_repeated_delivery_is_the_same_run(queue: Queue) -> None:
    """The same alert again queues nothing new."""
    delivery = note(alertmanager(alert("Slow", T1)))
    assert (1, ("run",)) == queue.take(delivery, ROUTE)
    assert (1, ()) == queue.take(delivery, ROUTE)


def test_alerts_of_a_group_are_one_run(queue: Queue) -> None:
    """A second alert that joins the group joins its run."""
    queue.take(note(alertmanager(alert("Slow", T1, pod="a"))), ROUTE)
    assert (1, ()) == queue.take(note(alertmanager(alert("Slow", T1, pod="a"), alert("Slow", T2, pod="b"))), ROUTE)
    assert (1, ()) == queue.take(note(alertmanager(alert("Slow", T2, pod="c"))), ROUTE)


def test_another_firing_is_another_run(queue: Queue) -> None:
    """The same alert that began again later is a new incident, also when its end was never delivered."""
    queue.take(note(alertmanager(alert("Slow", T1))), ROUTE)
    assert (2, ("run",)) == queue.take(note(alertmanager(alert("Slow", T3))), ROUTE)


def test_resolved_asks_for_one_verification(queue: Queue) -> None:
    """Only when every alert of the incident has ended, and once."""
    a, b = alert("Slow", T1, pod="a"), alert("Slow", T1, pod="b")
    queue.take(note(alertmanager(a, b)), ROUTE)
    assert (1, ()) == queue.take(note(alertmanager({**a, "status": "resolved"}, b)), ROUTE)
    ended = note(alertmanager({**a, "status": "resolved"}, {**b, "status": "resolved"}))
    assert (1, ("verify",)) == queue.take(ended, ROUTE)
    assert (1, ()) == queue.take(ended, ROUTE)


def test_an_end_without_a_beginning_runs_nothing(queue: Queue) -> None:
    """Resolved before any firing was seen starts nothing; when the firing comes late, the run and its check follow."""
    assert (1, ()) == queue.take(note(alertmanager(alert("Slow", T1, "resolved"))), ROUTE)
    assert (1, ("run", "verify")) == queue.take(note(alertmanager(alert("Slow", T1))), ROUTE)


def test_pagerduty_reopened_is_the_same_incident(queue: Queue) -> None:
    """An incident that is opened again is not run again."""
    queue.take(note(pagerduty("incident.triggered"), "pagerduty"), ROUTE)
    queue.take(note(pagerduty("incident.resolved"), "pagerduty"), ROUTE)
    assert (1, ()) == queue.take(note(pagerduty("incident.reopened"), "pagerduty"), ROUTE)


def test_a_thousand_shuffled_deliveries_over_two_restarts(tmp_path: Path) -> None:
    """1,000 repeated and shuffled deliveries of 25 incidents, with two restarts and jobs taken in between: one run and
    one verification each."""
    chance = random.Random(7)
    incidents = [(group, start) for group in range(5) for start in range(5)]
    deliveries = [
        note(alertmanager(alert("Slow", f"2026-01-0{start + 1}T00:00:00Z", status), group=str(group)))
        for group, start in incidents
        for status in ("firing", "resolved")
        for _ in range(20)
    ]
    chance.shuffle(deliveries)
    assert 1000 == len(deliveries)
    path = tmp_path / "queue.sqlite"
    queue = Queue(path)
    for number, delivery in enumerate(deliveries):
        if number in {333, 666}:
            queue = Queue(path)
        queue.take(delivery, ROUTE)
        if chance.random() < 0.05 and (job := queue.next(10**6)):
            queue.finish(job.id, good=True, record="", told="")
    kinds = [job.kind for job in queue.jobs()]
    assert {"run": 25, "verify": 25} == {kind: kinds.count(kind) for kind in set(kinds)}


def test_verification_waits_for_the_run(queue: Queue) -> None:
    """What was resolved is verified only when the run that looked at it has ended."""
    queue.take(note(alertmanager(alert("Slow", T1))), ROUTE)
    queue.take(note(alertmanager(alert("Slow", T1, "resolved"))), ROUTE)
    run = queue.next(5)
    assert run is not None
    assert "run" == run.kind
    assert None is queue.next(5)
    queue.finish(run.id, good=True, record="", told="")
    verify = queue.next(5)
    assert verify is not None
    assert "verify" == verify.kind


def test_verification_waits_for_calm(queue: Queue) -> None:
    """A verification begins so long after the end as it is to look back, and not before."""
    queue.take(note(alertmanager(alert("Slow", T1))), ROUTE)
    queue.take(note(alertmanager(alert("Slow", T1, "resolved"))), ROUTE)
    run = queue.next(5, timedelta(minutes=5))
    assert run is not None
    queue.finish(run.id, good=True, record="", told="")
    assert None is queue.next(5, timedelta(minutes=5))
    time.sleep(0.01)
    verify = queue.next(5, timedelta(milliseconds=5))
    assert verify is not None
    assert "verify" == verify.kind


def test_only_so_many_at_once(queue: Queue) -> None:
    """No more jobs run at the same time than allowed."""
    for group in "abc":
        queue.take(note(alertmanager(alert("Slow", T1), group=group)), ROUTE)
    assert [True, True, False] == [queue.next(2) is not None for _ in range(3)]


def test_a_file_that_is_no_queue(tmp_path: Path) -> None:
    """A broken file is an error that names it; nothing is overwritten."""
    path = tmp_path / "queue.sqlite"
    path.write_bytes(b"not a database" * 100)
    with pytest.raises(RecordError, match=r"queue\.sqlite"):
        Queue(path)
    assert path.read_bytes().startswith(b"not a database")


def test_a_failed_write_leaves_nothing_half_done(queue: Queue) -> None:
    """When a delivery cannot be kept, no part of it is."""
    bad = note(alertmanager(alert("Slow", T1)))
    object.__setattr__(bad, "alerts", (*bad.alerts, type(bad.alerts[0])("x", None, True)))  # type: ignore[arg-type]
    with pytest.raises((sqlite3.Error, TypeError)):
        queue.take(bad, ROUTE)
    assert () == queue.jobs()
