"""The archive's own chain: one line for each sealed record, so that a whole run cannot disappear unseen."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from runbook_lib.errors import RecordError
from runbook_lib.model.canonical import canonical, digest
from runbook_lib.model.times import rfc3339, utc_now
from runbook_lib.record._disk import DISK, Disk
from runbook_lib.record.event import NO_EVENT

CHAIN = "chain.jsonl"
#: In the working folder of an archive in a bucket: says which.
REMOTE = "remote.json"


@dataclass(frozen=True, slots=True)
class Link:
    """One line of ``chain.jsonl``.

    Args:
        number: its place, from 0.
        kind: ``sealed`` or ``removed`` (by retention, with the reason).
        run_id: the run.
        path: folder of the record relative to the archive.
        seal: digest of ``seal.json``; empty for a removal.
        reason: why and by whom it was removed; empty for a seal.
        at: when, RFC 3339.
        prev: ``hash`` of the line before.
        hash: digest of the rest.
    """

    number: int
    kind: str
    run_id: str
    path: str
    seal: str
    reason: str
    at: str
    prev: str
    hash: str


class Chain:
    """The lines of an archive's chain, held under its lock; see ``locked``."""

    def __init__(self, path: Path, descriptor: int, links: list[Link], disk: Disk) -> None:
        self._path, self._descriptor, self._disk = path, descriptor, disk
        self.links = links

    @property
    def head(self) -> dict[str, Any]:
        """``{number, hash}`` of the last line; number -1 while there is none."""
        return {"number": len(self.links) - 1, "hash": self.links[-1].hash if self.links else NO_EVENT}

    def append(self, kind: str, *, run_id: str, path: str, seal: str = "", reason: str = "") -> Link:
        """Add a line and wait for the disk.

        Raises:
            RecordError: it cannot be written.
        """
        link = link_after(self.links, kind, run_id=run_id, path=path, seal=seal, reason=reason)
        size = os.fstat(self._descriptor).st_size
        try:
            self._disk.write(self._descriptor, canonical(asdict(link)) + b"\n")
            self._disk.sync(self._descriptor)
        except OSError as error:
            self._disk.truncate(self._descriptor, size)
            raise RecordError(f"{self._path}: cannot be written: {error.strerror}") from error
        self.links.append(link)
        return link

    def publish(self, folder: Path, place: str) -> None:
        """Bring a sealed record to where the archive is, before its line; a local archive has it already.

        Args:
            folder: the record.
            place: its folder's final name relative to the archive.
        """


def link_after(links: Sequence[Link], kind: str, *, run_id: str, path: str, seal: str = "", reason: str = "") -> Link:
    """The next line behind ``links``; see ``Link``."""
    entry: dict[str, Any] = {
        "number": len(links),
        "kind": kind,
        "run_id": run_id,
        "path": path,
        "seal": seal,
        "reason": reason,
        "at": rfc3339(utc_now()),
        "prev": links[-1].hash if links else NO_EVENT,
    }
    return Link(**entry, hash=digest(entry))


@contextmanager
def locked(archive: Path, *, disk: Disk = DISK) -> Iterator[Chain]:
    """The archive's chain, for this process alone while the block runs.

    A torn last line, left by a writer that died, is cut off.

    Raises:
        RecordError: the chain cannot be opened or a line of it is no link.
    """
    path = archive / CHAIN
    try:
        descriptor = _open(path, disk)
    except OSError as error:
        raise RecordError(f"{path}: cannot be opened: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        content = path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            disk.truncate(descriptor, len(whole))
        yield _kind(archive)(path, descriptor, links_of(whole, str(path)), disk)
    finally:
        os.close(descriptor)


def _kind(archive: Path) -> type[Chain]:
    if not (archive / REMOTE).is_file():
        return Chain
    from runbook_lib.record.remote import RemoteChain

    return RemoteChain


def _open(path: Path, disk: Disk) -> int:
    try:
        return disk.open(path, create=False)
    except FileNotFoundError:
        pass
    try:
        descriptor = disk.open(path, create=True)
    except FileExistsError:
        return disk.open(path, create=False)
    disk.sync_folder(path.parent)
    return descriptor


def read_chain(archive: Path) -> tuple[Link, ...]:
    """The whole lines of an archive's chain; none when it has no chain.

    Raises:
        RecordError: a line is no link.
    """
    path = archive / CHAIN
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return ()
    return tuple(links_of(content, str(path)))


def links_of(content: bytes, where: str) -> list[Link]:
    """The whole lines of a chain's bytes.

    Raises:
        RecordError: a line is no link.
    """
    lines = content[: content.rfind(b"\n") + 1].splitlines()
    return [_link(line, f"{where}:{number}") for number, line in enumerate(lines, start=1)]


def archive_head(archive: Path) -> Mapping[str, Any]:
    """``{number, hash}`` of the last sealed record, for the genesis of a new run."""
    links = read_chain(archive)
    return {"number": len(links) - 1, "hash": links[-1].hash if links else NO_EVENT}


def _link(line: bytes, where: str) -> Link:
    try:
        return Link(**json.loads(line))
    except (ValueError, TypeError) as error:
        raise RecordError(f"{where}: not a line of the archive's chain: {error}") from error
