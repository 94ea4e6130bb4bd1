"""The folder of one run while it is being written, and how it is sealed."""

from __future__ import annotations

import fcntl
import os
import re
import secrets
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runbook_lib.errors import RecordError
from runbook_lib.model import Evidence, Gap
from runbook_lib.model.canonical import canonical, digest_bytes
from runbook_lib.model.times import utc_now
from runbook_lib.record._disk import DISK, Disk
from runbook_lib.record.chain import REMOTE
from runbook_lib.record.evidence_file import pack
from runbook_lib.record.journal import RESERVE, Journal

if TYPE_CHECKING:
    from runbook_lib.record.status import Status
    from runbook_lib.secrets import Redactor

JOURNAL = "events.jsonl"
#: File whose presence keeps a record from being removed; it lies beside the record, so that the seal stays whole.
HOLD_SUFFIX = ".hold"
PARTIAL = ".partial"
#: Held by every process that writes to the record; free means that the run is dead or done.
LOCK = ".lock"
#: Space kept aside so that a full disk still takes the last events and the seal.
RESERVE_BYTES = 2**20
RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{2,79}")

Signer = Callable[[bytes], bytes]


def new_run_id(runbook: str, started: datetime | None = None) -> str:
    """A name for a run that no other has: when, which runbook, six random hexadecimal digits."""
    word = re.sub(r"[^a-z0-9]+", "_", runbook.casefold()).strip("_")[:40] or "run"
    return f"{started or utc_now():%Y%m%dT%H%M%SZ}-{word}-{secrets.token_hex(3)}"


def local_archive(archive: str | Path) -> Path:
    """The folder of an archive given as a path or an address.

    For ``s3://bucket/prefix`` that is the folder of this machine in which runs write their records until they are
    sealed, below ``RUNBOOK_STATE`` or the user's folder for states; it is made on first use.

    Raises:
        RecordError: the address is of another kind, or the working folder cannot be made.
        UsageError: the address names no bucket, or holds a credential.
    """
    text = str(archive)
    scheme, separator, rest = text.partition("://")
    if separator and scheme == "s3":
        return _working_folder(text.rstrip("/"))
    if separator and scheme != "file":
        raise RecordError(f"archive {text!r}: records are written to a folder (a path or file://) or to s3://")
    return Path(rest if separator else text).expanduser().absolute()


def _working_folder(url: str) -> Path:
    from runbook_lib.clients.objects import Bucket

    state = os.environ.get("RUNBOOK_STATE", "") or os.environ.get("XDG_STATE_HOME", "") or "~/.local/state"
    name = re.sub(r"[^A-Za-z0-9.-]+", "-", url.removeprefix("s3://"))[:80]
    # Refused before anything is written: a wrong address can hold a credential.
    Bucket(url).check()
    root = Path(state).expanduser().absolute() / "runbook" / f"{name}-{digest_bytes(url.encode())[7:15]}"
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not (root / REMOTE).is_file():
            DISK.replace(root / REMOTE, canonical({"url": url}))
    except OSError as error:
        raise RecordError(f"{root}: the working folder of {url} cannot be made: {error.strerror}") from error
    return root


class RecordFolder:
    """Where one run writes its record; made by ``create`` or ``open``.

    Args:
        path: the folder, ``<archive>/yyyy/mm/dd/<run_id>.partial``.
        journal: its journal.
        redactor: masks secrets in everything that is written.
        disk: the file operations.
    """

    def __init__(self, path: Path, journal: Journal, redactor: Redactor | None, disk: Disk) -> None:
        self.path, self.journal, self.run_id = path, journal, journal.run_id
        self._redactor, self._disk = redactor, disk
        self._lock = hold(path)

    @classmethod
    def create(
        cls,
        archive: str | Path,
        run_id: str,
        *,
        genesis: Mapping[str, Any],
        started: datetime | None = None,
        actor: str = "runner",
        redactor: Redactor | None = None,
        disk: Disk = DISK,
    ) -> RecordFolder:
        """Make the folder and start its journal.

        Args:
            archive: path or ``file://`` address of the archive.
            run_id: name of the run, see ``new_run_id``.
            genesis: what the run is started from, see ``genesis.genesis``.
            started: when the run began; decides the day's folder.
            actor: who starts it.
            redactor: masks secrets in everything that is written.
            disk: the file operations.

        Raises:
            RecordError: the name is not usable, the folder exists, or it cannot be written.
        """
        if not RUN_ID.fullmatch(run_id):
            raise RecordError(f"run id {run_id!r}: use letters, digits, _ and - (3 to 80 characters)")
        root = local_archive(archive)
        path = root / f"{started or utc_now():%Y/%m/%d}" / f"{run_id}{PARTIAL}"
        _make(path, root, disk)
        _reserve(path / RESERVE)
        journal = Journal.create(
            path / JOURNAL, run_id=run_id, genesis=genesis, actor=actor, redactor=redactor, disk=disk
        )
        return cls(path, journal, redactor, disk)

    @classmethod
    def open(cls, path: Path, *, redactor: Redactor | None = None, disk: Disk = DISK) -> RecordFolder:
        """Attach to the record that another process of the run started.

        Raises:
            RecordError: it is no record that can still be written to.
        """
        if not path.name.endswith(PARTIAL):
            raise RecordError(f"{path}: the record is sealed; nothing can be added")
        return cls(path, Journal.open(path / JOURNAL, redactor=redactor, disk=disk), redactor, disk)

    def keep(self, answer: Evidence | Gap, *, cell: str = "", actor: str = "kernel", watched: bool = False) -> str:
        """Write down what a system answered, or that it did not.

        Args:
            answer: evidence or gap.
            cell: id of the cell that asked.
            actor: who asked.
            watched: whether it was read only for a picture that a person looks at: nothing is concluded from it, and
                a replay does not ask for it.

        Returns:
            The reference that findings cite: ``source.name#sha256:...``, or ``source.name`` for a gap.

        Raises:
            RecordError: it cannot be written.
        """
        mark = {"watched": True} if watched else {}
        if isinstance(answer, Gap):
            self.journal.append("gap", {**answer.to_json(), **mark}, cell=cell, actor=actor)
            return answer.key
        value = answer.to_json()
        own = digest_bytes(canonical(value))
        stored, ending = pack(canonical(self._clean(value)))
        sha256 = digest_bytes(stored)
        name = f"evidence/{sha256.removeprefix('sha256:')}{ending}"
        if not (self.path / name).exists():
            # The bytes reach the disk when the record is sealed; until then the digest in the journal tells.
            self._replace(name, stored, durable=False)
        entry = {key: value[key] for key in value if key != "data"}
        entry |= {"summary": str(answer), "digest": own, "file": name, "sha256": sha256, "bytes": len(stored), **mark}
        self.journal.append("evidence", entry, cell=cell, actor=actor)
        return f"{answer.key}#{own}"

    def write(self, name: str, content: bytes) -> Path:
        """Write a file of the record whole, and wait for the disk.

        Raises:
            RecordError: the name leads out of the folder, or the file cannot be written.
        """
        target = self.path / name
        if target.parent != self.path or name.startswith(".") or name == JOURNAL:
            raise RecordError(f"{name!r} is no name for a file of a record")
        return self._replace(name, content)

    def seal(
        self,
        status: Status | str,
        verdict: str,
        *,
        reason: str = "",
        exit_code: int | None = None,
        actor: str = "runner",
        sign: Signer | None = None,
    ) -> Path:
        """End the run: write its views, bind every file, give the folder its final name.

        Args:
            status: how the run ended.
            verdict: the run's conclusion.
            reason: one sentence for a person.
            exit_code: of the run; the one that belongs to the status when omitted.
            actor: who ends it.
            sign: signs the bytes of ``seal.json``; None leaves the record unsigned.

        Returns:
            The folder under its final name.

        Raises:
            RecordError: a known secret stands in a file, or something cannot be written.
        """
        from runbook_lib.record.seal import seal_folder

        return seal_folder(self, str(status), verdict, reason=reason, exit_code=exit_code, actor=actor, sign=sign)

    def holds_secret(self, content: bytes) -> bool:
        """Whether a known secret stands in ``content`` in any form."""
        return self._redactor is not None and self._redactor.holds_known(content)

    @property
    def disk(self) -> Disk:
        """The file operations of this record."""
        return self._disk

    def release(self) -> None:
        """Give up the folder without sealing it, as a process does that is not the last one."""
        self.journal.close()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _replace(self, name: str, content: bytes, *, durable: bool = True) -> Path:
        target = self.path / name
        try:
            self._disk.replace(target, content, durable=durable)
        except OSError as error:
            raise RecordError(f"{target}: cannot be written: {error.strerror}") from error
        return target

    def _clean(self, value: dict[str, Any]) -> dict[str, Any]:
        if self._redactor is None:
            return value
        series = value["data"].get("series")
        if series is None:
            cleaned: dict[str, Any] = self._redactor.data(value)
            return cleaned
        # Samples are numbers: only the labels can hold text.
        labels = [{**one, "labels": self._redactor.data(one["labels"])} for one in series]
        return {**self._redactor.data({**value, "data": None}), "data": {"series": labels}}


def hold(path: Path, *, alone: bool = False) -> int:
    """Lock a record: shared while writing to it, alone to put a dead one in order.

    Returns:
        A descriptor that holds the lock until it is closed, also when the process dies.

    Raises:
        RecordError: it is held by a process that is alive.
    """
    try:
        descriptor = os.open(path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise RecordError(f"{path}: cannot be locked: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise RecordError(f"{path}: a process of the run is still alive") from error
    return descriptor


def _make(path: Path, root: Path, disk: Disk) -> None:
    day = path.parent
    try:
        _make_day(day, root, disk)
        _refuse_existing(day / path.name.removesuffix(PARTIAL))
        disk.make_folder(path)
        disk.make_folder(path / "evidence")
        disk.sync_folder(day)
    except FileExistsError as error:
        raise RecordError(f"{path}: a run of this name has a record already") from error
    except OSError as error:
        raise RecordError(f"{path}: the record cannot be started: {error.strerror}") from error


def _refuse_existing(path: Path) -> None:
    if path.exists():
        raise FileExistsError(path)


def _make_day(day: Path, root: Path, disk: Disk) -> None:
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    for folder in (day.parent.parent, day.parent, day):
        with suppress(FileExistsError):
            disk.make_folder(folder)
            disk.sync_folder(folder.parent)


def _reserve(path: Path) -> None:
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    try:
        # Blocks are allocated, not written; a disk too full for that starts without a reserve.
        os.posix_fallocate(descriptor, 0, RESERVE_BYTES)
    except OSError:
        path.unlink()
    finally:
        os.close(descriptor)
