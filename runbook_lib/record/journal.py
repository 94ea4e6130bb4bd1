"""The journal of a run: an append-only, hash-chained file that several processes write under one lock."""

from __future__ import annotations

import errno
import fcntl
import math
import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from runbook_lib.errors import RecordError, UnknownNameError
from runbook_lib.model.canonical import canonical, digest_bytes
from runbook_lib.model.times import rfc3339, utc_now
from runbook_lib.record._disk import DISK, Disk
from runbook_lib.record.event import DURABLE, KINDS, NO_EVENT, Event, chain_members, line_of, parse

#: Larger data is left out and its size and digest kept: one runaway output must not make the journal unreadable.
MAX_DATA_BYTES = 8 * 2**20
#: Name of the file beside the journal whose space is given back when the disk is full.
RESERVE = ".reserve"
_PIXELS = ("image/png", "image/jpeg")
_FULL = (errno.ENOSPC, errno.EDQUOT)
_BLOCK = 65536


class Redacts(Protocol):
    """What the journal needs of a ``secrets.Redactor``."""

    def data(self, value: Any) -> Any:
        """``value`` with every secret masked."""


@dataclass(slots=True)
class _Last:
    """Where the journal ends: its size in bytes and the chain members of its last event."""

    size: int
    seq: int
    hash: str
    mono_ns: int
    kind: str


class Journal:
    """Appends events to ``events.jsonl``; made by ``create`` or ``open``, safe in threads and after a fork.

    Args:
        path: the file.
        run_id: the run.
        base_ns: monotonic clock at the run's start, nanoseconds.
        redactor: masks secrets in everything that is written.
        disk: the file operations.
    """

    def __init__(self, path: Path, run_id: str, base_ns: int, redactor: Redacts | None, disk: Disk) -> None:
        self.path, self.run_id = path, run_id
        self.redactor = redactor
        self._base_ns, self._disk = base_ns, disk
        self._mutex = threading.Lock()
        self._descriptor, self._pid = -1, 0
        self._last = _Last(0, -1, NO_EVENT, 0, "")

    @classmethod
    def create(
        cls,
        path: Path,
        *,
        run_id: str,
        genesis: Mapping[str, Any],
        actor: str = "runner",
        redactor: Redacts | None = None,
        disk: Disk = DISK,
    ) -> Journal:
        """Start a journal with the event ``run.started``.

        Args:
            path: the file; it must not exist.
            run_id: the run.
            genesis: what the run is started from; see docs/record-format.md.
            actor: who starts it.
            redactor: masks secrets in everything that is written.
            disk: the file operations.

        Raises:
            RecordError: the file exists or cannot be written.
        """
        base_ns = time.monotonic_ns()
        try:
            os.close(disk.open(path, create=True))
        except OSError as error:
            raise RecordError(f"{path}: the journal cannot be started: {error.strerror}") from error
        journal = cls(path, run_id, base_ns, redactor, disk)
        # The clock's origin is text: it outgrows the integers that JSON keeps exact after 104 days of uptime.
        journal.append("run.started", {**genesis, "monotonic_origin_ns": str(base_ns)}, actor=actor)
        disk.sync_folder(path.parent)
        return journal

    @classmethod
    def open(cls, path: Path, *, redactor: Redacts | None = None, disk: Disk = DISK) -> Journal:
        """Attach to a journal that another process started.

        Raises:
            RecordError: there is no journal, or its first line is no ``run.started``.
        """
        try:
            with path.open("rb") as file:
                first = parse(file.readline())
            base_ns = int(first.data["monotonic_origin_ns"])
        except (OSError, KeyError, ValueError) as error:
            raise RecordError(f"{path}: not the journal of a run: {error}") from error
        except RecordError as error:
            raise RecordError(f"{path}: the first line says no run.started: {error}") from error
        return cls(path, first.run_id, base_ns, redactor, disk)

    def append(
        self, kind: str, data: Mapping[str, Any], *, cell: str = "", actor: str = "kernel", durable: bool = False
    ) -> Event:
        """Write one event; it is in the file when this returns.

        Args:
            kind: a key of ``event.KINDS``.
            data: a JSON object; numbers that are not finite become null.
            cell: id of the cell it happened in.
            actor: who says so.
            durable: also wait for the disk; the kinds in ``event.DURABLE`` always do.

        Raises:
            UnknownNameError: nobody knows the kind.
            RecordError: the journal is sealed, or the file cannot be written.
        """
        if kind not in KINDS:
            raise UnknownNameError("event kind", kind, KINDS, "docs/record-format.md")
        clean, content = self._content(data)
        with self._locked() as descriptor:
            last = self._end(descriptor)
            if last.kind == "sealed":
                raise RecordError(f"{self.path}: the record is sealed; nothing can be added")
            event = self._write(descriptor, kind, clean, content, cell, actor)
            if durable or kind in DURABLE:
                self._sync(descriptor)
        return event

    @property
    def head(self) -> tuple[int, str]:
        """Number of events and the hash of the last one."""
        with self._locked() as descriptor:
            last = self._end(descriptor)
            return last.seq + 1, last.hash

    def close(self) -> None:
        """Give the file back; a later ``append`` opens it again."""
        with self._mutex:
            if self._descriptor >= 0 and self._pid == os.getpid():
                os.close(self._descriptor)
            self._descriptor = -1

    @contextmanager
    def _locked(self) -> Iterator[int]:
        with self._mutex:
            # A descriptor inherited over a fork shares its lock with the parent, so a child opens its own.
            if self._descriptor < 0 or self._pid != os.getpid():
                self._open_file()
            descriptor = self._descriptor
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            try:
                yield descriptor
            finally:
                fcntl.flock(descriptor, fcntl.LOCK_UN)

    def _open_file(self) -> None:
        try:
            self._descriptor, self._pid = self._disk.open(self.path, create=False), os.getpid()
        except OSError as error:
            raise RecordError(f"{self.path}: the journal cannot be opened: {error.strerror}") from error
        self._last.size = -1

    def _end(self, descriptor: int) -> _Last:
        size = os.fstat(descriptor).st_size
        if size == self._last.size:
            return self._last
        line, start, torn = last_line(descriptor, size)
        self._last = _Last(start + len(line) + 1 if line else 0, -1, NO_EVENT, 0, "")
        if line:
            members = chain_members(line)
            self._last = _Last(start + len(line) + 1, members.seq, members.hash, members.mono_ns, members.kind)
        if torn:
            # Writers hold the lock until the line is whole: whoever began this one is dead.
            self._disk.truncate(descriptor, self._last.size)
            note = {"dropped_bytes": len(torn), "dropped_digest": digest_bytes(torn)}
            self._write(descriptor, "recovered", note, canonical(note), "", "journal")
        return self._last

    def _write(
        self, descriptor: int, kind: str, clean: Mapping[str, Any], content: bytes, cell: str, actor: str
    ) -> Event:
        last, ts = self._last, rfc3339(utc_now())
        # After a reboot the clock starts anew; the order then comes from seq alone.
        mono_ns = max(last.mono_ns, time.monotonic_ns() - self._base_ns)
        line, own = line_of(
            content,
            seq=last.seq + 1,
            ts=ts,
            mono_ns=mono_ns,
            run_id=self.run_id,
            actor=actor,
            kind=kind,
            cell=cell,
            prev=last.hash,
        )
        self._put(descriptor, line + b"\n", last.size)
        self._last = _Last(last.size + len(line) + 1, last.seq + 1, own, mono_ns, kind)
        return Event(last.seq + 1, ts, mono_ns, self.run_id, actor, kind, cell, clean, last.hash, own)

    def _put(self, descriptor: int, content: bytes, size: int) -> None:
        try:
            self._disk.write(descriptor, content)
        except OSError as error:
            self._disk.truncate(descriptor, size)
            reserve = self.path.with_name(RESERVE)
            if error.errno not in _FULL or not reserve.exists():
                raise RecordError(f"{self.path}: cannot be written: {error.strerror}") from error
            self._disk.remove(reserve)
            self._put(descriptor, content, size)

    def _sync(self, descriptor: int) -> None:
        try:
            self._disk.sync(descriptor)
        except OSError as error:
            raise RecordError(f"{self.path}: cannot be brought to the disk: {error.strerror}") from error

    def _content(self, data: Mapping[str, Any]) -> tuple[Mapping[str, Any], bytes]:
        """The data as it is written, and its canonical form."""
        clean = self._clean(data)
        try:
            content = canonical(clean)
        except ValueError:
            clean = plain(clean)
            content = canonical(clean)
        if len(content) > MAX_DATA_BYTES:
            clean = {"omitted_bytes": len(content), "omitted_digest": digest_bytes(content)}
            content = canonical(clean)
        return clean, content

    def _clean(self, data: Mapping[str, Any]) -> Mapping[str, Any]:
        if self.redactor is None:
            return data
        bundle = data.get("data")
        # Pixels hold no text: a picture's base64 is not searched, and so cannot be broken by a chance match either.
        pictures = {mime: bundle[mime] for mime in _PIXELS if mime in bundle} if isinstance(bundle, Mapping) else {}
        if not pictures or not isinstance(bundle, Mapping):
            return dict(self.redactor.data(dict(data)))
        rest = {mime: value for mime, value in bundle.items() if mime not in pictures}
        cleaned = self.redactor.data({**data, "data": rest})
        return {**cleaned, "data": {**cleaned["data"], **pictures}}


def last_line(descriptor: int, size: int) -> tuple[bytes, int, bytes]:
    """The last whole line of a file, where it starts, and what follows its newline (a torn line)."""
    tail, start, step = b"", size, _BLOCK
    while start > 0 and tail.count(b"\n") < 2:
        begin = max(0, start - step)
        tail = os.pread(descriptor, start - begin, begin) + tail
        start, step = begin, step * 2
    whole, newline, torn = tail.rpartition(b"\n")
    if not newline:
        return b"", 0, torn
    _before, _, line = whole.rpartition(b"\n")
    return line, start + (len(whole) - len(line)), torn


def plain(value: Any) -> Any:
    """``value`` as JSON data: what JSON cannot hold becomes null or text, so that no event is lost over it."""
    if isinstance(value, Mapping):
        return {plain(str(key)): plain(item) for key, item in value.items()}
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return value if abs(value) <= 2**53 else str(value)
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return [plain(item) for item in value]
    return plain(str(value))
