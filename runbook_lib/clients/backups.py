"""Backups of the database: the newest dump of a folder, what is in it, and whether it can be restored."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from runbook_lib.clients import _process
from runbook_lib.clients._source import SourceClient
from runbook_lib.clients._tape import Answer, Question
from runbook_lib.errors import (
    ActionRejectedError,
    SourceAnswerError,
    SourceEmptyError,
    SourceTimeoutError,
    SourceUnreachableError,
)
from runbook_lib.model import Evidence, Gap

_LIST_SECONDS = 30.0
_TRIAL_SECONDS = 300.0
#: A dump that is larger is not restored on the machine of a run.
_TRIAL_BYTES = 1024**3
_ENVIRONMENT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR")
_UNSHARE = ("unshare", "--user", "--map-user=1000", "--map-group=1000")
_HEAD = {
    "taken": re.compile(r"^;\s*Archive created at (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)", re.MULTILINE),
    "server": re.compile(r"^;\s*Dumped from database version: (\S+)", re.MULTILINE),
}
_TABLE = re.compile(r"^\d+; \d+ \d+ TABLE DATA ", re.MULTILINE)


class BackupsClient(SourceClient):
    """Settings of the endpoint: ``folder`` with files ``*.dump`` of ``pg_dump --format=custom``, ``binaries`` (folder
    of PostgreSQL's programs; default: PATH), ``trial_max_bytes`` (larger dumps are not restored on trial)."""

    source = "backups"

    def newest(self) -> Evidence | Gap:
        """Document of the newest dump; see the query."""
        return self._ask("newest", self._fetch_newest)

    def trial(self, newest: Evidence | Gap) -> Evidence | Gap:
        """Document ``{name, restored, tables, rows, reason}`` of a restore on this machine; takes its time.

        Args:
            newest: what ``newest`` gave; a gap is given back.
        """
        if isinstance(newest, Gap):
            return newest
        return self._ask("trial", self._fetch_trial, parameters={"name": str(newest.document.get("name", ""))})

    def _fetch_newest(self, question: Question) -> Answer:
        files = self._files()
        if not files:
            return Answer({"found": False})
        path = files[0]
        listed = self._run(["pg_restore", "--list", str(path)], _LIST_SECONDS)
        if listed.code:
            last = listed.errors.strip().splitlines()[-1:] or ["no reason given"]
            raise SourceAnswerError(f"{path.name} is no whole archive: {last[0]}", source=self.source)
        head = {name: found.group(1) for name, at in _HEAD.items() if (found := at.search(listed.output))}
        # The head holds the local time of whoever dumped, the file that of whoever copied: the older one is safe.
        taken_at = path.stat().st_mtime
        if "taken" in head:
            at = datetime.strptime(head["taken"], "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
            taken_at = min(taken_at, at.timestamp())
        return Answer(
            {
                "found": True,
                "name": path.name,
                "taken_at": taken_at,
                "size_bytes": path.stat().st_size,
                "previous_size_bytes": files[1].stat().st_size if len(files) > 1 else 0,
                "tables": len(_TABLE.findall(listed.output)),
                "server_version": head.get("server", ""),
            }
        )

    def _fetch_trial(self, question: Question) -> Answer:
        name = str(question.parameters["name"])
        path = next((one for one in self._files() if one.name == name), None)
        if path is None:
            raise SourceEmptyError(f"there is no backup {name!r}", source=self.source)
        limit = int(self._configured().settings.get("trial_max_bytes", _TRIAL_BYTES))
        if path.stat().st_size > limit:
            told = f"{name} has {path.stat().st_size} bytes, more than trial_max_bytes ({limit}): restore it elsewhere"
            raise SourceAnswerError(told, source=self.source)
        request = json.dumps({"binaries": str(self._binaries()), "dump": str(path)})
        argv = [*_ordinary(), sys.executable, "-m", "runbook_lib.clients._scratch_child"]
        done = self._run(argv, _TRIAL_SECONDS, request)
        if done.timed_out:
            raise SourceTimeoutError(f"not restored within {_TRIAL_SECONDS:g} s", source=self.source)
        if done.code:
            last = done.errors.strip().splitlines()[-1:] or [f"exit code {done.code}"]
            raise SourceAnswerError(f"the trial could not be made: {last[0]}", source=self.source)
        restored: dict[str, Any] = json.loads(done.output)
        return Answer({"name": name, **restored})

    def _files(self) -> list[Path]:
        """The dumps, newest first."""
        folder = Path(self._setting("folder"))
        if not folder.is_dir():
            raise SourceUnreachableError(f"{folder} is no folder", source=self.source)
        return sorted(folder.glob("*.dump"), key=lambda path: path.stat().st_mtime, reverse=True)

    def _binaries(self) -> Path:
        place = self._setting("binaries") or str(Path(shutil.which("pg_restore") or "").resolve().parent)
        if not (Path(place) / "pg_restore").exists():
            raise SourceUnreachableError("pg_restore is not on PATH, nor in backups.binaries", source=self.source)
        return Path(place)

    def _run(self, argv: list[str], seconds: float, text: str = "") -> _process.Finished:
        program = str(self._binaries() / argv[0]) if argv[0].startswith("pg_") else argv[0]
        environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ} | {"TZ": "UTC"}
        try:
            return _process.run([program, *argv[1:]], deadline_seconds=seconds, text=text, environment=environment)
        except ActionRejectedError as error:
            raise SourceUnreachableError(str(error), source=self.source) from error


def _ordinary() -> tuple[str, ...]:
    """A prefix under which a PostgreSQL server agrees to run: it refuses root, also where that is a namespace's."""
    if os.geteuid() != 0:
        return ()
    trial = subprocess.run([*_UNSHARE, "true"], check=False, capture_output=True, timeout=10)
    if trial.returncode:
        raise SourceUnreachableError("a trial needs an ordinary user, or user namespaces", source=BackupsClient.source)
    return _UNSHARE
