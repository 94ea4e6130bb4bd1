"""The queue of runs that alerts have asked for: on disk, one run an incident, through any restart."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from runbook_lib.errors import RecordError
from runbook_lib.hooks.alerts import Notification
from runbook_lib.hooks.settings import Route
from runbook_lib.model.times import rfc3339, utc_now

_SCHEMA = """
CREATE TABLE IF NOT EXISTS incidents(
  id INTEGER PRIMARY KEY, source TEXT NOT NULL, grouped TEXT NOT NULL, name TEXT NOT NULL, started TEXT NOT NULL,
  runbook TEXT NOT NULL, service TEXT NOT NULL, environment TEXT NOT NULL, link TEXT NOT NULL, thread TEXT NOT NULL,
  fired INTEGER NOT NULL DEFAULT 0, message TEXT NOT NULL DEFAULT '');
CREATE INDEX IF NOT EXISTS incidents_of_a_group ON incidents(source, grouped);
CREATE TABLE IF NOT EXISTS alerts(
  incident INTEGER NOT NULL REFERENCES incidents, source TEXT NOT NULL, grouped TEXT NOT NULL,
  fingerprint TEXT NOT NULL, started TEXT NOT NULL, resolved INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY(source, grouped, fingerprint, started));
CREATE TABLE IF NOT EXISTS jobs(
  id INTEGER PRIMARY KEY, incident INTEGER NOT NULL REFERENCES incidents, kind TEXT NOT NULL, state TEXT NOT NULL,
  queued TEXT NOT NULL, began TEXT NOT NULL DEFAULT '', ended TEXT NOT NULL DEFAULT '', pid INTEGER NOT NULL DEFAULT 0,
  record TEXT NOT NULL DEFAULT '', told TEXT NOT NULL DEFAULT '', UNIQUE(incident, kind));
"""
#: Incidents of one group that are looked at to find the one that an alert belongs to.
_RECENT = 50


@dataclass(frozen=True, slots=True)
class Job:
    """One run that is to be made, or was.

    Args:
        id: its number.
        incident: number of the incident.
        kind: ``run`` when it began, ``verify`` when it was resolved.
        state: ``queued``, ``running``, ``done`` or ``failed``.
        runbook: what is run.
        service: for which service.
        environment: where.
        name: of the alert.
        started: when the alert began.
        link: where the sender shows it.
        thread: of the alert's message in Slack.
        message: our message in Slack; empty before there is one.
        queued: when it was asked for.
        began: when its process was started.
        ended: when it ended.
        pid: of its process.
        record: folder of its record.
        told: how it ended, in one sentence.
    """

    id: int
    incident: int
    kind: str
    state: str
    runbook: str
    service: str
    environment: str
    name: str
    started: str
    link: str
    thread: str
    message: str
    queued: str
    began: str
    ended: str
    pid: int
    record: str
    told: str

    @property
    def key(self) -> str:
        """A name of the job that no other queue gives."""
        return f"{self.id}-{self.kind}-{re.sub(r'[^0-9]', '', self.queued)}"


_JOB = """SELECT j.id, j.incident, j.kind, j.state, i.runbook, i.service, i.environment, i.name, i.started, i.link,
  i.thread, i.message, j.queued, j.began, j.ended, j.pid, j.record, j.told
  FROM jobs j JOIN incidents i ON i.id = j.incident"""

# What was resolved is verified only after the run that looked at it.
_NEXT = " ".join(
    (
        _JOB,
        "WHERE j.state = 'queued' AND (j.kind = 'run' OR (j.queued <= ? AND NOT EXISTS (SELECT 1 FROM jobs r WHERE",
        "r.incident = j.incident AND r.kind = 'run' AND r.state IN ('queued', 'running')))) ORDER BY j.id LIMIT 1",
    )
)
_OPEN = """SELECT i.id FROM incidents i WHERE i.source = ? AND i.grouped = ? AND EXISTS (
  SELECT 1 FROM alerts a WHERE a.incident = i.id AND NOT a.resolved) ORDER BY i.started DESC LIMIT ?"""
_ALERT = """INSERT INTO alerts VALUES (?, ?, ?, ?, ?, ?)
  ON CONFLICT DO UPDATE SET resolved = max(resolved, excluded.resolved)"""


class Queue:
    """A queue in one file; usable from several threads, each call is one transaction.

    Args:
        path: the file; made when missing.

    Raises:
        RecordError: it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with closing(self._connect()) as connection:
                connection.execute("PRAGMA journal_mode=WAL")
                connection.executescript(_SCHEMA)
            path.chmod(0o600)
        except (sqlite3.Error, OSError) as error:
            raise RecordError(f"{path}: the queue cannot be opened: {error}") from error

    def take(self, notification: Notification, route: Route) -> tuple[int, tuple[str, ...]]:
        """Remember a delivery, durably, and queue what it asks for unless that was queued before.

        Args:
            notification: what was delivered.
            route: what it starts.

        Returns:
            Number of its incident, and the kinds of job that are new: nothing for a repeated delivery.
        """
        with self._transaction() as db:
            incident = self._incident(db, notification, route)
            place = (incident, notification.source, notification.group)
            for alert in notification.alerts:
                db.execute(_ALERT, (*place, alert.fingerprint, alert.started, not alert.firing))
            if notification.firing:
                db.execute("UPDATE incidents SET fired = 1 WHERE id = ?", (incident,))
            (fired,) = db.execute("SELECT fired FROM incidents WHERE id = ?", (incident,)).fetchone()
            (still,) = db.execute(
                "SELECT count(*) FROM alerts WHERE incident = ? AND NOT resolved", (incident,)
            ).fetchone()
            wanted = [*(["run"] if fired else []), *(["verify"] if fired and not still else [])]
            return incident, tuple(kind for kind in wanted if self._queued(db, incident, kind))

    def next(self, at_once: int, verify_after: timedelta = timedelta()) -> Job | None:
        """Take the oldest job that may begin now; it is running from here on.

        Args:
            at_once: jobs that may run at the same time.
            verify_after: how long a verification waits in the queue at least.
        """
        with self._transaction() as db:
            (running,) = db.execute("SELECT count(*) FROM jobs WHERE state = 'running'").fetchone()
            row = db.execute(_NEXT, (rfc3339(utc_now() - verify_after),)).fetchone()
            if row is None or running >= at_once:
                return None
            db.execute("UPDATE jobs SET state = 'running', began = ?, pid = 0 WHERE id = ?", (_now(), row[0]))
            return Job(*row)

    def started(self, job: int, pid: int) -> None:
        """Remember the process of a job."""
        with self._transaction() as db:
            db.execute("UPDATE jobs SET pid = ? WHERE id = ?", (pid, job))

    def again(self, job: int) -> None:
        """Put a job back whose run never began."""
        with self._transaction() as db:
            db.execute("UPDATE jobs SET state = 'queued', began = '', pid = 0 WHERE id = ?", (job,))

    def finish(self, job: int, *, good: bool, record: str, told: str) -> None:
        """Remember how a job ended."""
        with self._transaction() as db:
            db.execute(
                "UPDATE jobs SET state = ?, ended = ?, record = ?, told = ? WHERE id = ? AND state = 'running'",
                ("done" if good else "failed", _now(), record, told, job),
            )

    def say(self, incident: int, message: str) -> None:
        """Remember our message about an incident."""
        with self._transaction() as db:
            db.execute("UPDATE incidents SET message = ? WHERE id = ?", (message, incident))

    def jobs(self, *states: str, limit: int = 1000) -> tuple[Job, ...]:
        """Jobs in some states, or all of them, oldest first."""
        with closing(self._connect()) as db:
            rows = db.execute(f"{_JOB} ORDER BY j.id").fetchall()
        return tuple(job for row in rows if (job := Job(*row)).state in (states or (job.state,)))[-limit:]

    def waiting(self) -> int:
        """How many jobs are queued."""
        with closing(self._connect()) as db:
            (count,) = db.execute("SELECT count(*) FROM jobs WHERE state = 'queued'").fetchone()
        return int(count)

    def _queued(self, db: sqlite3.Connection, incident: int, kind: str) -> bool:
        done = db.execute(
            "INSERT INTO jobs(incident, kind, state, queued) VALUES (?, ?, 'queued', ?) ON CONFLICT DO NOTHING",
            (incident, kind, _now()),
        )
        return done.rowcount == 1

    def _incident(self, db: sqlite3.Connection, notification: Notification, route: Route) -> int:
        """The incident of a delivery: that of an alert that is known, else one of its group that still goes on."""
        place = (notification.source, notification.group)
        for alert in notification.alerts:
            row = db.execute(
                "SELECT incident FROM alerts WHERE source = ? AND grouped = ? AND fingerprint = ? AND started = ?",
                (*place, alert.fingerprint, alert.started),
            ).fetchone()
            if row:
                return int(row[0])
        new = {alert.fingerprint for alert in notification.alerts}
        recent = db.execute(_OPEN, (*place, _RECENT)).fetchall()
        for (incident,) in recent:
            known = {row[0] for row in db.execute("SELECT fingerprint FROM alerts WHERE incident = ?", (incident,))}
            # The same alert with another beginning is another firing of it: a new incident.
            if not known & new:
                return int(incident)
        made = db.execute(
            "INSERT INTO incidents(source, grouped, name, started, runbook, service, environment, link, thread) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (*place, notification.name, notification.started, route.runbook, route.service, route.environment,
             notification.link, notification.thread),
        )  # fmt: skip
        return int(made.lastrowid or 0)

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=30, isolation_level=None)
        # FULL: a delivery that was answered with 200 is on the disk.
        connection.execute("PRAGMA synchronous=FULL")
        return connection

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with closing(self._connect()) as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
            except BaseException:
                db.execute("ROLLBACK")
                raise
            db.execute("COMMIT")


def _now() -> str:
    return rfc3339(utc_now())
