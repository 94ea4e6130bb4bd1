"""Jobs run in processes of their own, each run exactly once, also when the hook dies at any moment."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runbook_lib.catalog import Catalog
from runbook_lib.hooks import worker
from runbook_lib.hooks.dispatch import Dispatcher, Place, begun_record
from runbook_lib.hooks.queue import Job, Queue
from runbook_lib.hooks.settings import Settings
from runbook_lib.record.record import Record
from tests.hooks.conftest import ROUTE, tiny
from tests.hooks.deliveries import alert, alertmanager
from tests.hooks.test_queue import note

T1 = "2026-01-01T00:00:00Z"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def until(dispatcher: Dispatcher, holds: Callable[[], Any], seconds: float = 90) -> None:
    """Work rounds until something holds."""
    limit = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < limit, "it did not come to hold in time"
        dispatcher.round()
        time.sleep(0.1)


def records(place: Place) -> list[Path]:
    """Every record of the archive."""
    return [journal.parent for journal in Path(place.archive).glob("*/*/*/*/events.jsonl")]


def test_a_run_and_its_verification(queue: Queue, settings: Settings, place: Place) -> None:
    """An alert that began and ended gives one run and one verification, each with a record that names the alert."""
    told: list[tuple[str, bool]] = []
    queue.take(note(alertmanager(alert("Slow", T1))), ROUTE)
    queue.take(note(alertmanager(alert("Slow", T1, "resolved"))), ROUTE)
    dispatcher = Dispatcher(queue, settings, place, lambda job, result: told.append((job.kind, result is None)))
    until(dispatcher, lambda: not queue.jobs("queued", "running"))
    assert [("run", True), ("run", False), ("verify", True), ("verify", False)] == told
    assert ["done", "done"] == [job.state for job in queue.jobs()]
    assert 2 == len(records(place))
    alerts = [Record.read(path).run["alert"] for path in records(place)]
    assert {"Slow"} == {one["name"] for one in alerts}
    assert {job.key for job in queue.jobs()} == {one["incident"] for one in alerts}
    assert all(Record.read(path).sealed and not Record.read(path).run["apply"] for path in records(place))


@pytest.mark.parametrize(("kind", "minutes"), [("run", 60), ("verify", 5)])
def test_minutes_of_a_run(queue: Queue, settings: Settings, place: Place, kind: str, minutes: int) -> None:
    """A run reads the history before the alert, a verification only the time since its end."""
    path = place.notebooks["high_latency"]
    declared = r"window_minutes: int = 30\nservice: str"
    path.write_text(path.read_text(encoding="utf-8").replace("service: str", declared), encoding="utf-8")
    queue.take(note(alertmanager(alert("Slow", T1))), ROUTE)
    dispatcher = Dispatcher(queue, replace(settings, window_minutes=60, verify_minutes=5), place)
    assert minutes == dispatcher._what(replace(queue.jobs()[0], kind=kind))["parameters"]["window_minutes"]


def test_a_spare_process_takes_the_first_job(queue: Queue, settings: Settings, place: Place) -> None:
    """A process that waits ready takes the first job; one that got none ends with the hook."""
    dispatcher = Dispatcher(queue, settings, place, spare=True)
    waiting = dispatcher._spare
    assert waiting is not None
    queue.take(note(alertmanager(alert("Slow", T1))), ROUTE)
    dispatcher.round()
    assert waiting.pid == queue.jobs()[0].pid
    until(dispatcher, lambda: not queue.jobs("queued", "running"))
    dispatcher.round()
    spare = dispatcher._spare
    assert spare is not None
    dispatcher.stop()
    dispatcher.work()
    assert 0 == spare.wait(timeout=60)
    assert 1 == len(records(place))


def test_a_run_outlives_the_hook(queue: Queue, settings: Settings, place: Place) -> None:
    """A hook that dies during a run leaves it going; the next one learns how it ended and begins no other."""
    slow = tiny(place.catalog.parent / "slow.ipynb", "import time", "time.sleep(3)")
    place = replace(place, notebooks={"high_latency": slow})
    queue.take(note(alertmanager(alert("Slow", T1))), ROUTE)
    first = Dispatcher(queue, settings, place)
    until(first, lambda: records(place))
    later = Dispatcher(Queue(place.folder / "queue.sqlite"), settings, place)
    until(later, lambda: not queue.jobs("queued", "running"))
    assert [0] == [child.wait(timeout=30) for child in first._children.values()]
    assert ["done"] == [job.state for job in queue.jobs()]
    assert 1 == len(records(place))


def test_a_run_that_was_killed_is_not_made_again(queue: Queue, settings: Settings, place: Place) -> None:
    """A run whose process was killed in its middle is told as failed, with its record; it is not begun again."""
    slow = tiny(place.catalog.parent / "slow.ipynb", "import time", "time.sleep(60)")
    place = replace(place, notebooks={"high_latency": slow})
    queue.take(note(alertmanager(alert("Slow", T1))), ROUTE)
    dispatcher = Dispatcher(queue, settings, place)
    until(dispatcher, lambda: records(place))
    os.kill(queue.jobs("running")[0].pid, signal.SIGKILL)
    until(dispatcher, lambda: not queue.jobs("queued", "running"))
    (job,) = queue.jobs()
    assert ("failed", True) == (job.state, "died" in job.told)
    assert [Path(job.record)] == records(place)


def test_a_job_that_was_taken_but_never_begun_is_begun(queue: Queue, settings: Settings, place: Place) -> None:
    """A hook that died between taking a job and starting its process loses nothing."""
    queue.take(note(alertmanager(alert("Slow", T1))), ROUTE)
    assert queue.next(1) is not None
    until(Dispatcher(queue, settings, place), lambda: not queue.jobs("queued", "running"))
    assert ["done"] == [job.state for job in queue.jobs()]
    assert 1 == len(records(place))


def test_two_workers_of_one_job_make_one_run(queue: Queue, place: Place, tmp_path: Path) -> None:
    """A second process on the same job leaves it alone, while the first works and afterwards."""
    folder = tmp_path / "jobs"
    folder.mkdir()
    held = worker.claim(folder / "1.claim")
    assert held is not None
    assert 0 == worker.work(folder, "1")
    os.write(held, worker.BEGUN)
    os.close(held)
    assert 0 == worker.work(folder, "1")
    assert [] == records(place)


def test_wrong_use_is_told_and_ends_the_job(queue: Queue, settings: Settings, place: Place) -> None:
    """A runbook that cannot be run ends the job as failed, with the reason."""
    bad = tiny(place.catalog.parent / "bad.ipynb")
    place = replace(place, notebooks={"high_latency": bad})
    queue.take(note(alertmanager(alert("Slow", T1))), replace(ROUTE, environment="nowhere"))
    until(Dispatcher(queue, settings, place), lambda: not queue.jobs("queued", "running"))
    (job,) = queue.jobs()
    assert ("failed", True) == (job.state, "nowhere" in job.told)


def test_finds_the_record_that_was_begun(tmp_path: Path) -> None:
    """The record of an incident is found by what it says of its alert; broken ones are passed over."""
    for name, first in (("a", {"data": {"alert": {"incident": "7"}}}), ("b", {"data": {}}), ("c", None)):
        folder = tmp_path / "2026" / "01" / "01" / name
        folder.mkdir(parents=True)
        (folder / "events.jsonl").write_text(json.dumps(first) if first else "{broken", encoding="utf-8")
    assert tmp_path / "2026" / "01" / "01" / "a" == begun_record(tmp_path, "7")
    assert None is begun_record(tmp_path, "8")


def test_keys_of_two_queues_differ(tmp_path: Path, known: Catalog) -> None:
    """A new queue in an old folder never takes an old job's claim or result for its own."""
    keys: set[str] = set()
    for number in range(2):
        queue = Queue(tmp_path / f"{number}.sqlite")
        queue.take(note(alertmanager(alert("Slow", T1))), ROUTE)
        job: Job = queue.jobs()[0]
        keys.add(job.key)
        time.sleep(0.01)
    assert 2 == len(keys)
