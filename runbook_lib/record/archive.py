"""All records of an archive: list, find, search, keep and remove. The folders are the truth, the index a cache."""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from runbook_lib.errors import RecordError, SourceError, UnknownNameError
from runbook_lib.model.times import parse_rfc3339, rfc3339, utc_now
from runbook_lib.record.chain import REMOTE, locked
from runbook_lib.record.folder import HOLD_SUFFIX, JOURNAL, PARTIAL, local_archive
from runbook_lib.record.index import Entry, entries, forget_all, search
from runbook_lib.record.verify import record_folders

if TYPE_CHECKING:
    from runbook_lib.record.remote import Remote

_LOG = logging.getLogger(__name__)


class Archive:
    """The records of one archive.

    Args:
        root: path or address of the archive. One in a bucket is read through its working folder, which gets what is
            missing first; when the bucket cannot be reached, what is known here is shown, with a warning.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = local_archive(root)
        self._fetched = False

    @property
    def _remote(self) -> Remote | None:
        if not (self.root / REMOTE).is_file():
            return None
        from runbook_lib.record.remote import Remote

        return Remote(self.root)

    def _fetch(self) -> None:
        remote = None if self._fetched else self._remote
        if remote is not None:
            self._fetched = True
            try:
                remote.fetch()
            except SourceError as error:
                _LOG.warning("%s; showing what is known on this machine", error)

    def entries(self, *, limit: int = 0, **filters: str) -> tuple[Entry, ...]:
        """Records, newest first; see ``index.entries``."""
        self._fetch()
        return entries(self.root, filters, limit)

    def search(self, text: str, *, limit: int = 50) -> tuple[Entry, ...]:
        """Records that hold all the words; see ``index.search``."""
        self._fetch()
        return search(self.root, text, limit)

    def find(self, name: str) -> Path:
        """Folder of the run whose id is ``name`` or begins with it; ``last`` is the newest one.

        Raises:
            UnknownNameError: no run, or more than one, is meant; carries the nearest id.
            SourceError: the record is in a bucket that cannot be read.
        """
        if (Path(name) / JOURNAL).is_file():
            return Path(name)
        self._fetch()
        folder, remote = self._found(name), self._remote
        if remote is not None and not folder.name.endswith(PARTIAL):
            remote.whole(folder)
        return folder

    def _found(self, name: str) -> Path:
        folders = {_run_id(path): path for path in record_folders(self.root) if (path / JOURNAL).is_file()}
        if name == "last" and folders:
            return max(folders.items())[1]
        found = (
            [name] if name in folders else [one for one in folders if one.startswith(name) or one.endswith(f"-{name}")]
        )
        if len(found) != 1:
            kind = "run" if not found else "run (more than one begins like it)"
            known = found or sorted(folders)[-20:]
            raise UnknownNameError(kind, name, known, str(self.root))
        return folders[found[0]]

    @contextmanager
    def as_stored(self, name: str = "") -> Iterator[Path]:
        """The archive, or the folder of one run, with the bytes that are stored now: a bucket's are copied anew.

        Raises:
            UnknownNameError: no run, or more than one, is meant.
            SourceError: the bucket cannot be read.
        """
        remote = self._remote
        folder = self.find(name) if name else self.root
        if remote is None or folder.name.endswith(PARTIAL) or not folder.is_relative_to(self.root):
            yield folder
            return
        with tempfile.TemporaryDirectory() as scratch:
            place = folder.relative_to(self.root).as_posix()
            remote.copy_to(Path(scratch), "" if place == "." else place)
            yield Path(scratch) / place

    def rebuild(self) -> int:
        """Throw the index away and make it anew from the folders; returns the number of records."""
        forget_all(self.root)
        return len(self.entries())

    def hold(self, run_id: str, reason: str) -> None:
        """Keep a record from being removed until ``release``.

        Raises:
            UnknownNameError: there is no such run.
            SourceError: the record is in a bucket that cannot be written.
        """
        self._set_hold(run_id, json.dumps({"reason": reason, "since": rfc3339(utc_now())}))

    def release(self, run_id: str) -> None:
        """End a hold.

        Raises:
            UnknownNameError: there is no such run.
            SourceError: the record is in a bucket that cannot be written.
        """
        self._set_hold(run_id, None)

    def _set_hold(self, run_id: str, note: str | None) -> None:
        file, remote = _hold_file(self.find(run_id)), self._remote
        if remote is not None:
            place = file.relative_to(self.root).as_posix().removesuffix(HOLD_SUFFIX)
            remote.hold(place, None if note is None else note.encode())
        if note is None:
            file.unlink(missing_ok=True)
        else:
            file.write_text(note, encoding="utf-8")

    def expired(self, days: float, *, now: datetime | None = None) -> tuple[Path, ...]:
        """Sealed records that ended more than ``days`` ago and are not held."""
        limit = (now or utc_now()) - timedelta(days=days)
        return tuple(
            entry.path
            for entry in self.entries()
            if entry.ended and parse_rfc3339(entry.ended) < limit and not _hold_file(entry.path).exists()
            and not entry.path.name.endswith(PARTIAL)
        )  # fmt: skip

    def remove(self, path: Path, *, reason: str, by: str) -> None:
        """Remove one sealed record and write that down in the archive's chain, first.

        Raises:
            RecordError: the record is held, is not sealed, or cannot be removed.
            SourceError: it is in a bucket that cannot be written.
        """
        self._fetch()
        remote = self._remote
        if _hold_file(path).exists():
            raise RecordError(f"{path}: is on hold: {_hold_file(path).read_text(encoding='utf-8')}")
        if path.name.endswith(PARTIAL):
            raise RecordError(f"{path}: is not sealed; recover it first")
        with locked(self.root) as chain:
            place = path.relative_to(self.root).as_posix()
            chain.append("removed", run_id=path.name, path=place, reason=f"{reason} (by {by})")
        if remote is not None:
            remote.remove(place)
        try:
            shutil.rmtree(path)
        except OSError as error:
            raise RecordError(f"{path}: cannot be removed: {error.strerror}") from error


def _run_id(path: Path) -> str:
    return path.name.removesuffix(PARTIAL)


def _hold_file(path: Path) -> Path:
    return path.with_name(f"{_run_id(path)}{HOLD_SUFFIX}")
