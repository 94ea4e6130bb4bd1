"""Starts the queued runs, each in a process of its own that outlives us, and remembers how they ended."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from runbook_lib.errors import RunbookError
from runbook_lib.hooks import worker
from runbook_lib.hooks.queue import Job, Queue
from runbook_lib.hooks.settings import Settings

#: How often running jobs are looked at, seconds; a new delivery wakes us at once.
POLL_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Place:
    """Where a hook works.

    Args:
        folder: its queue, jobs and results.
        catalog: the service catalogue.
        archive: where records go.
        notebooks: name of a runbook to its file.
    """

    folder: Path
    catalog: Path
    archive: str
    notebooks: Mapping[str, Path]


def _silent(_job: Job, _result: Mapping[str, Any] | None) -> None:
    return


class Dispatcher:
    """Works on a queue until it is stopped.

    Args:
        queue: the jobs.
        settings: how many at once, and what is run.
        place: where.
        tell: told of a job when its run begins (without a result) and when it has ended.
        spare: keep one process ready, so that the first run of a quiet time begins at once.
    """

    def __init__(
        self,
        queue: Queue,
        settings: Settings,
        place: Place,
        tell: Callable[[Job, Mapping[str, Any] | None], None] = _silent,
        *,
        spare: bool = False,
    ) -> None:
        self._queue, self._settings, self._place, self._tell = queue, settings, place, tell
        self._jobs = place.folder / "jobs"
        self._jobs.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._children: dict[int, subprocess.Popen[bytes]] = {}
        self._keep_spare, self._spare = spare, None if not spare else self._process()
        self._wake, self._stop = threading.Event(), threading.Event()

    def wake(self) -> None:
        """There is something new in the queue."""
        self._wake.set()

    def stop(self) -> None:
        """Stop after this round; runs that have begun go on by themselves."""
        self._stop.set()
        self._wake.set()

    def work(self) -> None:
        """Work until stopped."""
        while not self._stop.is_set():
            try:
                self.round()
            except (sqlite3.Error, OSError) as error:
                # A full disk passes; the hook must still be there then.
                sys.stderr.write(f"hook: {type(error).__name__}: {error}; trying again\n")
            self._wake.wait(POLL_SECONDS)
            self._wake.clear()
        if self._spare is not None:
            # Without a job on its input it ends by itself.
            self._spare.communicate()

    def round(self) -> None:
        """Settle jobs that have ended, and begin those that may begin."""
        for job in self._queue.jobs("running"):
            self._settle(job)
        calm = timedelta(minutes=self._settings.verify_minutes)
        while (new := self._queue.next(self._settings.runs_at_once, calm)) is not None:
            self._begin(new)
        if self._keep_spare and self._spare is None and not self._children and not self._stop.is_set():
            self._spare = self._process()

    def _begin(self, job: Job) -> None:
        try:
            what = self._what(job)
        except (RunbookError, KeyError) as error:
            # A runbook that is gone since the alert came must not stop the others.
            told = f"it cannot be run: {error}"
            self._queue.finish(job.id, good=False, record="", told=told)
            self._tell(job, {"exit_code": 2, "record": "", "verdict": "unknown", "told": told})
            return
        (self._jobs / f"{job.key}.json").write_text(json.dumps(what), encoding="utf-8")
        child, self._spare = self._spare or self._process(), None
        if child.poll() is not None:
            child = self._process()
        _hand(child, job.key)
        self._children[job.id] = child
        self._queue.started(job.id, child.pid)
        self._tell(job, None)

    def _what(self, job: Job) -> dict[str, Any]:
        """What the process of a job gets to know."""
        notebook = self._place.notebooks[job.runbook if job.kind == "run" else self._settings.verify or job.runbook]
        return {
            "notebook": str(notebook),
            "parameters": _parameters(notebook, job, self._settings),
            "environment": job.environment,
            "catalog": str(self._place.catalog),
            "archive": self._place.archive,
            "alert": {"name": job.name, "fired_at": job.started, "incident": job.key, "link": job.link},
        }

    def _process(self) -> subprocess.Popen[bytes]:
        """A process that waits for the key of a job on its input."""
        with (self._place.folder / "worker.log").open("ab") as log:
            # A session of its own: what ends us, a signal to our group among it, does not end the run.
            return subprocess.Popen(
                [sys.executable, "-m", worker.__name__, str(self._jobs)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd=self._place.catalog.parent,
            )

    def _settle(self, job: Job) -> None:
        """Find out how a running job stands; also one that an earlier hook had begun."""
        child = self._children.get(job.id)
        if child is not None and child.poll() is None:
            return
        path = self._jobs / f"{job.key}.claim"
        held = worker.claim(path)
        if held is None:
            return
        try:
            self._ended(job, path)
        finally:
            self._children.pop(job.id, None)
            os.close(held)

    def _ended(self, job: Job, path: Path) -> None:
        result = _result(self._jobs / f"{job.key}.result")
        if result is not None:
            good = result["exit_code"] in {0, 3, 5}
            self._queue.finish(job.id, good=good, record=result["record"], told=result["told"])
        elif not worker.begun(path):
            # Its process never came to the run: nothing has happened yet, so it may be begun again.
            self._queue.again(job.id)
            return
        elif record := begun_record(Path(self._place.archive), job.key):
            result = {"exit_code": 1, "record": str(record), "verdict": "unknown", "told": "the run died in its middle"}
            self._queue.finish(
                job.id, good=False, record=str(record), told=f"{result['told']}: runbook records recover"
            )
        else:
            path.write_bytes(b"")
            self._queue.again(job.id)
            return
        self._tell(job, result)


def _hand(child: subprocess.Popen[bytes], key: str) -> None:
    """Give a waiting process its job; one that is gone is found out when the job is settled."""
    if child.stdin is not None:
        with suppress(BrokenPipeError), child.stdin:
            child.stdin.write(f"{key}\n".encode())


def begun_record(archive: Path, incident: str) -> Path | None:
    """The record that was begun for an incident; None when there is none.

    Args:
        archive: where records go.
        incident: as the alert of a record names it.
    """
    for journal in sorted(archive.glob("*/*/*/*/events.jsonl"), reverse=True):
        try:
            with journal.open(encoding="utf-8") as file:
                first = json.loads(file.readline())
        except (OSError, ValueError):
            continue
        if (first.get("data", {}).get("alert") or {}).get("incident") == incident:
            return journal.parent
    return None


def _result(path: Path) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return found


def _parameters(notebook: Path, job: Job, settings: Settings) -> dict[str, Any]:
    """What a run is told; only what its runbook declares."""
    from runbook_lib.headless.parameters import Parameters

    declared = {item.name for item in Parameters.read(notebook).items}
    minutes = settings.window_minutes if job.kind == "run" else settings.verify_minutes
    wanted = {"service": job.service, "environment": job.environment, "window_minutes": minutes}
    return {name: value for name, value in wanted.items() if name in declared}
