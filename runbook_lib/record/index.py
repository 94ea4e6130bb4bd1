"""An index over the records of an archive, for lists and full-text search; made from the folders at will."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runbook_lib.errors import RecordError
from runbook_lib.model.times import rfc3339
from runbook_lib.record.folder import JOURNAL
from runbook_lib.record.record import Record

INDEX = "index.sqlite"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS records(
  path TEXT PRIMARY KEY, run_id TEXT, stamp TEXT, runbook TEXT, service TEXT, environment TEXT, status TEXT,
  verdict TEXT, cause TEXT, title TEXT, started TEXT, ended TEXT, exit_code INTEGER);
CREATE INDEX IF NOT EXISTS newest ON records(started DESC, run_id DESC);
CREATE INDEX IF NOT EXISTS unsealed ON records(path) WHERE path LIKE '%.partial';
CREATE TABLE IF NOT EXISTS days(day TEXT PRIMARY KEY, stamp INTEGER);
CREATE VIRTUAL TABLE IF NOT EXISTS words USING fts5(content);
"""
# A folder's time of change may be as coarse as this: one that was changed more recently is listed again.
_SETTLED_SECONDS = 2.0
#: Of the tables below; an index of another version is made anew.
_VERSION = 2
_COLUMNS = (
    "path",
    "run_id",
    "runbook",
    "service",
    "environment",
    "status",
    "verdict",
    "cause",
    "title",
    "started",
    "ended",
    "exit_code",
)
_FILTERS = ("service", "runbook", "environment", "status", "verdict", "cause")


@dataclass(frozen=True, slots=True)
class Entry:
    """One record as a list shows it.

    Args:
        path: its folder.
        run_id: the run.
        runbook: name of the runbook.
        service: the service.
        environment: where it ran.
        status: how the run stands.
        verdict: its conclusion.
        cause: id of the strongest cause; empty when none is named.
        title: the strongest finding in words.
        started: RFC 3339.
        ended: RFC 3339; empty while it has not ended.
        exit_code: of the run.
    """

    path: Path
    run_id: str
    runbook: str
    service: str
    environment: str
    status: str
    verdict: str
    cause: str
    title: str
    started: str
    ended: str
    exit_code: int

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data, as ``runbook records list --json`` prints."""
        return {name: str(self.path) if name == "path" else getattr(self, name) for name in _COLUMNS}


def entries(root: Path, filters: Mapping[str, str], limit: int = 0) -> tuple[Entry, ...]:
    """Records, newest first.

    Args:
        root: the archive.
        filters: column to wanted value: ``service``, ``runbook``, ``environment``, ``status``, ``verdict``, ``cause``.
        limit: at most so many; 0 for all.

    Raises:
        RecordError: there is no archive.
    """
    wanted = {name: value for name, value in filters.items() if value and name in _FILTERS}
    where = " AND ".join(f"{name} = ?" for name in wanted) or "1"
    return _select(root, f"WHERE {where} ORDER BY started DESC, run_id DESC", list(wanted.values()), limit)


def search(root: Path, text: str, limit: int = 50) -> tuple[Entry, ...]:
    """Records whose findings, plans, notes, answers or parameters hold all the words, best of the newest 1,000 first.

    Args:
        root: the archive.
        text: words; a word may end in ``*``.
        limit: at most so many.

    Raises:
        RecordError: there is no archive.
    """
    terms = [_term(word) for word in text.split() if word.strip('*"')]
    if not terms:
        return ()
    # To weigh every record that holds a common word takes a second for 100,000 of them.
    clause = """JOIN words ON words.rowid = records.rowid WHERE words MATCH ?1 AND words.rowid >= coalesce(
      (SELECT rowid FROM words WHERE words MATCH ?1 ORDER BY rowid DESC LIMIT 1 OFFSET 1000), 0)
      ORDER BY rank, started DESC"""
    return _select(root, clause, [" AND ".join(terms)], limit)


def forget_all(root: Path) -> None:
    """Throw the index away; the next list or search makes it anew."""
    for suffix in ("", "-wal", "-shm", "-journal"):
        (root / f"{INDEX}{suffix}").unlink(missing_ok=True)


def _select(root: Path, clause: str, values: Sequence[str], limit: int) -> tuple[Entry, ...]:
    names = ", ".join(f"records.{name}" for name in _COLUMNS)
    ending = f" LIMIT {int(limit)}" if limit else ""
    statement = f"SELECT {names} FROM records {clause}{ending}"  # noqa: S608 - our own names; values are bound
    with closing(_opened(root)) as index:
        _refresh(index, root)
        rows = index.execute(statement, values).fetchall()
    return tuple(Entry(root / row[0], *row[1:]) for row in rows)


def _opened(root: Path) -> sqlite3.Connection:
    if not root.is_dir():
        raise RecordError(f"{root}: no archive there; the first run makes it")
    target = root / INDEX
    try:
        connection = _connect(target)
        target.chmod(0o600)
    except (sqlite3.Error, OSError):
        # A broken index, or a folder that may only be read, is no reason not to answer.
        return _connect(":memory:")
    return connection


def _connect(target: str | Path) -> sqlite3.Connection:
    connection = sqlite3.connect(target, timeout=5)
    try:
        if connection.execute("PRAGMA user_version").fetchone()[0] != _VERSION:
            tables = "".join(f"DROP TABLE IF EXISTS {table};" for table in ("records", "words", "days"))
            connection.executescript(f"{tables}PRAGMA user_version = {_VERSION};")
        connection.executescript(_SCHEMA)
        with connection:
            connection.execute("DELETE FROM records WHERE path = ''")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _refresh(index: sqlite3.Connection, root: Path) -> None:
    """Bring the index up to date: looks at days that were changed, and at records that are not sealed yet.

    A sealed record never changes, and whoever adds, seals or removes one changes its day's folder. So the cost follows
    what is new, not what is there.
    """
    known = dict(index.execute("SELECT day, stamp FROM days").fetchall())
    there = {day: folder.stat().st_mtime_ns for day, folder in _days(root)}
    settled = time.time_ns() - int(_SETTLED_SECONDS * 1e9)
    with index:
        for day in known.keys() - there.keys():
            _take(index, root, day, set())
            index.execute("DELETE FROM days WHERE day = ?", (day,))
        for day, stamp in there.items():
            if known.get(day) != stamp:
                _take(index, root, day, _records(root, day))
                # The time was read before the list: what came since has changed it again.
                index.execute("INSERT OR REPLACE INTO days VALUES (?, ?)", (day, stamp if stamp < settled else 0))
        for place, stamp in index.execute("SELECT path, stamp FROM records WHERE path LIKE '%.partial'").fetchall():
            now = _stamp(root / place)
            if now != stamp:
                _forget(index, place)
                if now:
                    _remember(index, root, place, now)


def _days(root: Path) -> Iterator[tuple[str, Path]]:
    for folder in sorted(root.glob("[0-9]*/[0-9]*/[0-9]*")):
        if folder.is_dir():
            yield folder.relative_to(root).as_posix(), folder


def _records(root: Path, day: str) -> set[str]:
    with os.scandir(root / day) as found:
        return {f"{day}/{one.name}" for one in found if one.is_dir()}


def _stamp(folder: Path) -> str:
    with suppress(OSError):
        status = (folder / JOURNAL).stat()
        return f"{status.st_size}-{status.st_mtime_ns}"
    return ""


def _take(index: sqlite3.Connection, root: Path, day: str, there: set[str]) -> None:
    """Make the index hold exactly the records of a day that are there."""
    # 0 is the character behind the slash.
    rows = index.execute("SELECT path FROM records WHERE path >= ? AND path < ?", (f"{day}/", f"{day}0")).fetchall()
    known = {row[0] for row in rows}
    for place in known - there:
        _forget(index, place)
    for place in sorted(there - known):
        stamp = _stamp(root / place)
        if stamp:
            _remember(index, root, place, stamp)


def _forget(index: sqlite3.Connection, place: str) -> None:
    # Words are found by the number of their record: by its path would mean reading all of them.
    index.execute("DELETE FROM words WHERE rowid = (SELECT rowid FROM records WHERE path = ?)", (place,))
    index.execute("DELETE FROM records WHERE path = ?", (place,))


def _remember(index: sqlite3.Connection, root: Path, place: str, stamp: str) -> None:
    try:
        record = Record.read(root / place)
        row = _row(record)
        words = "\n".join(_words(record))
    except (RecordError, LookupError, TypeError, ValueError, AttributeError):
        return  # not a record that can be listed; ``records verify`` says what is wrong with it
    values = (place, row["run_id"], stamp, *(row[name] for name in _COLUMNS[2:]))
    made = index.execute(f"INSERT INTO records VALUES ({', '.join('?' * len(values))})", values)  # noqa: S608 - marks only
    index.execute("INSERT INTO words(rowid, content) VALUES (?, ?)", (made.lastrowid, words))


def _row(record: Record) -> dict[str, Any]:
    top = record.findings[0] if record.findings else {}
    return {
        "run_id": record.run_id,
        "runbook": record.run.get("runbook", ""),
        "service": record.run.get("service", ""),
        "environment": record.run.get("environment", ""),
        "status": str(record.status),
        "verdict": record.verdict,
        "cause": str(record.cause["cause"]) if record.cause else "",
        "title": str(top.get("title", "")),
        "started": rfc3339(record.started) if record.started else "",
        "ended": rfc3339(record.ended) if record.ended else "",
        "exit_code": record.exit_code,
    }


def _words(record: Record) -> Iterator[str]:
    yield from (record.run_id, record.run_id.replace("_", " "))
    yield from (str(value) for value in _row(record).values())
    yield json.dumps(record.run.get("parameters", {}), ensure_ascii=False)
    yield str((record.run.get("actor") or {}).get("name", ""))
    for finding in (*record.findings, *record.ruled_out):
        yield f"{finding['cause']} {finding['title']}"
    for gap in record.gaps:
        yield f"{gap['source']} {gap['title']} {gap['reason']}"
    for entry in record.evidence:
        yield f"{entry['source']} {entry['name']} {entry['summary']}"
    for plan in record.plans:
        yield f"{plan['kind']} {plan['target']} {plan['effect']} {plan['command']} {plan['digest']}"
    for outcome in record.outcomes:
        yield f"{outcome['outcome']} {outcome['reason']}"
    for event in record.all("note"):
        yield str(event.data.get("text", ""))


def _term(word: str) -> str:
    # Quoted, so that no character of a person's word is an operator of the query language.
    quoted = '"' + word.rstrip("*").replace('"', '""') + '"'
    return f"{quoted}*" if word.endswith("*") else quoted
