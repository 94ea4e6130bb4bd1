"""All records of an archive: list, find, search, keep and remove. The folders are the truth, the index a cache."""

from __future__ import annotations

import json
import shutil
from datetime import datetime, timedelta
from pathlib import Path

from runbook_lib.errors import RecordError, UnknownNameError
from runbook_lib.model.times import parse_rfc3339, rfc3339, utc_now
from runbook_lib.record.chain import locked
from runbook_lib.record.folder import JOURNAL, PARTIAL
from runbook_lib.record.index import Entry, entries, forget_all, search
from runbook_lib.record.verify import record_folders

#: File whose presence keeps a record from being removed; it lies beside the record, so that the seal stays whole.
HOLD_SUFFIX = ".hold"


class Archive:
    """The records under one folder.

    Args:
        root: the archive.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)

    def entries(self, *, limit: int = 0, **filters: str) -> tuple[Entry, ...]:
        """Records, newest first; see ``index.entries``."""
        return entries(self.root, filters, limit)

    def search(self, text: str, *, limit: int = 50) -> tuple[Entry, ...]:
        """Records that hold all the words; see ``index.search``."""
        return search(self.root, text, limit)

    def find(self, name: str) -> Path:
        """Folder of the run whose id is ``name`` or begins with it; ``last`` is the newest one.

        Raises:
            UnknownNameError: no run, or more than one, is meant; carries the nearest id.
        """
        if (Path(name) / JOURNAL).is_file():
            return Path(name)
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

    def rebuild(self) -> int:
        """Throw the index away and make it anew from the folders; returns the number of records."""
        forget_all(self.root)
        return len(self.entries())

    def hold(self, run_id: str, reason: str) -> None:
        """Keep a record from being removed until ``release``.

        Raises:
            UnknownNameError: there is no such run.
        """
        note = {"reason": reason, "since": rfc3339(utc_now())}
        _hold_file(self.find(run_id)).write_text(json.dumps(note), encoding="utf-8")

    def release(self, run_id: str) -> None:
        """End a hold.

        Raises:
            UnknownNameError: there is no such run.
        """
        _hold_file(self.find(run_id)).unlink(missing_ok=True)

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
        """
        if _hold_file(path).exists():
            raise RecordError(f"{path}: is on hold: {_hold_file(path).read_text(encoding='utf-8')}")
        if path.name.endswith(PARTIAL):
            raise RecordError(f"{path}: is not sealed; recover it first")
        with locked(self.root) as chain:
            place = path.relative_to(self.root).as_posix()
            chain.append("removed", run_id=path.name, path=place, reason=f"{reason} (by {by})")
        try:
            shutil.rmtree(path)
        except OSError as error:
            raise RecordError(f"{path}: cannot be removed: {error.strerror}") from error


def _means(name: str, run_id: str) -> bool:
    return run_id.startswith(name) or run_id.endswith(f"-{name}")


def _run_id(path: Path) -> str:
    return path.name.removesuffix(PARTIAL)


def _hold_file(path: Path) -> Path:
    return path.with_name(f"{_run_id(path)}{HOLD_SUFFIX}")
