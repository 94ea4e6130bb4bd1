"""What came of each target, kept as it comes: one line of JSON each, and pages made from them."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from runbook_lib.errors import RecordError
from runbook_lib.headless.document import replace
from runbook_lib.model.times import rfc3339, utc_now
from runbook_lib.record.folder import new_run_id
from runbook_lib.record.status import EXIT_CODES, Status

#: Folder of an archive that holds its fleets.
FLEETS = "fleets"
RESULTS, PAGE, TOTALS, LOGS = "results.jsonl", "fleet.html", "fleet.json", "logs"
#: Status of a target whose run was never begun.
NOT_STARTED = "not_started"
# The page is made anew from all results: not more often than this, so that its cost stays small for many targets.
_PAGE_SECONDS = 2.0
# Which of several exit codes is the fleet's: what a person must look at first.
_WORST = (7, 6, 138, 124, 143, 130, 1, 2, 4, 5, 3, 0)
_ENDED = {0, 3, 5}
_VERDICTS = ("failing", "unknown", "degraded", "healthy")


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one target.

    Args:
        target: its name in the fleet.
        service: the service; empty when the runbook has no such parameter.
        environment: where it ran; empty when the runbook has no such parameter.
        run_id: the run; empty when none was begun.
        status: how the run ended; ``not_started`` when it was never begun.
        verdict: its conclusion; unknown when it came to none.
        exit_code: of the run.
        cause: id of the strongest cause; empty when none is named.
        severity: of the strongest finding.
        title: the strongest finding in words.
        gaps: how many answers are missing.
        reason: why it ended early; empty when it did not.
        record: folder of the record; empty when there is none.
        started: RFC 3339; empty when it was never begun.
        seconds: from its start to its end.
    """

    target: str
    service: str
    environment: str
    run_id: str
    status: str
    verdict: str
    exit_code: int
    cause: str
    severity: str
    title: str
    gaps: int
    reason: str
    record: str
    started: str
    seconds: float

    @property
    def failed(self) -> bool:
        """Whether the run did not come to its end; what it found is no failure of the run."""
        return self.exit_code not in _ENDED

    @property
    def rank(self) -> tuple[int, str]:
        """Place in a list that begins with the worst: a healthy verdict counts only of a run that ended well."""
        verdict = self.verdict if self.verdict in _VERDICTS else "unknown"
        if self.failed and verdict == "healthy":
            verdict = "unknown"
        return 2 * _VERDICTS.index(verdict) + (not self.failed), self.target

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data."""
        return asdict(self)


class Fleet:
    """The folder of one fleet, ``<archive>/fleets/<id>``; made by ``begin``.

    Attributes:
        id: its name.
        results: what has come so far.
    """

    def __init__(self, path: Path, runbook: str, targets: Sequence[str]) -> None:
        self.path, self.id, self.runbook, self.targets = path, path.name, runbook, tuple(targets)
        self.started, self.ended = rfc3339(utc_now()), ""
        self.results: list[Result] = []
        self._stopped, self._paged = 0, 0.0

    @classmethod
    def begin(cls, archive: Path, runbook: str, targets: Sequence[str]) -> Fleet:
        """Make the folder and its first page.

        Raises:
            RecordError: it cannot be written.
        """
        fleet = cls(archive / FLEETS / new_run_id(runbook), runbook, targets)
        try:
            (fleet.path / LOGS).mkdir(mode=0o700, parents=True)
            fleet.path.chmod(0o700)
            (fleet.path / RESULTS).touch(mode=0o600)
        except OSError as error:
            raise RecordError(f"{fleet.path}: cannot be written: {error.strerror}") from error
        fleet._write_pages()
        return fleet

    def log(self, target: str) -> Path:
        """The file for what the process of a target prints."""
        number = self.targets.index(target) + 1
        return self.path / LOGS / f"{number}-{re.sub(r'[^A-Za-z0-9_.@-]+', '_', target)[:80]}.log"

    def add(self, result: Result) -> None:
        """Keep a result: it is on disk when this returns.

        Raises:
            RecordError: it cannot be written.
        """
        self.results.append(result)
        line = json.dumps(result.to_json(), ensure_ascii=False) + "\n"
        try:
            with (self.path / RESULTS).open("a", encoding="utf-8") as file:
                file.write(line)
                file.flush()
                os.fdatasync(file.fileno())
        except OSError as error:
            raise RecordError(f"{self.path / RESULTS}: cannot be written: {error.strerror}") from error
        if time.monotonic() - self._paged > _PAGE_SECONDS:
            self._write_pages()

    def finish(self, *, stopped: int = 0) -> None:
        """The last page.

        Args:
            stopped: exit code of the signal that ended the fleet; 0 when none did.

        Raises:
            RecordError: it cannot be written.
        """
        self.ended, self._stopped = rfc3339(utc_now()), stopped
        self._write_pages()
        for log in (self.path / LOGS).iterdir():
            if log.stat().st_size == 0:
                log.unlink()

    @property
    def worst_first(self) -> list[Result]:
        """The results, worst first."""
        return sorted(self.results, key=lambda one: one.rank)

    @property
    def exit_code(self) -> int:
        """The exit code of the fleet: of the signal that ended it, or the worst of its runs."""
        codes = {one.exit_code for one in self.results} or {EXIT_CODES[Status.FAILED]}
        return self._stopped or next((code for code in _WORST if code in codes), 1)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data, as ``runbook fleet --json`` prints."""
        return {
            "fleet": self.id,
            "runbook": self.runbook,
            "targets": len(self.targets),
            "started": self.started,
            "ended": self.ended,
            "exit_code": self.exit_code if self.ended else None,
            "page": str(self.path / PAGE),
            "results": [one.to_json() for one in self.worst_first],
        }

    def _write_pages(self) -> None:
        from runbook_lib.fleet.page import page

        self._paged = time.monotonic()
        totals = json.dumps(self.to_json(), indent=1, ensure_ascii=False) + "\n"
        try:
            for name, text in ((TOTALS, totals), (PAGE, page(self))):
                replace(self.path / name, text.encode())
                (self.path / name).chmod(0o600)
        except OSError as error:
            raise RecordError(f"{self.path}: cannot be written: {error.strerror}") from error
