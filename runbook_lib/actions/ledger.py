"""What was sent to a target and what became of it: written once, before and after, for all runs of an archive."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runbook_lib.errors import GuardError
from runbook_lib.model import Plan
from runbook_lib.model.canonical import digest_bytes
from runbook_lib.model.times import rfc3339, utc_now

#: Requests to one target are counted over this time, seconds.
RATE_SECONDS = 600.0
_OUTCOME = ".outcome.json"


@dataclass(frozen=True, slots=True)
class Ledger:
    """Intents and their outcomes, one folder a target.

    Args:
        folder: the ledger of an archive.
    """

    folder: Path

    def begin(self, plan: Plan, run_id: str) -> str:
        """Write down that one request is about to be sent, unless this run has done so before; returns its key.

        Raises:
            GuardError: this run has sent this plan.
        """
        key = f"{plan.digest[7:]}-{run_id}"
        entry = {"kind": plan.kind, "target": plan.target, "at": rfc3339(utc_now()), "run_id": run_id}
        if not _insert(self._of(plan) / f"{key}.json", {**entry, "plan": plan.digest}):
            raise GuardError("this run has applied this plan before; an action is sent once")
        return key

    def settle(self, plan: Plan, key: str, outcome: str, by: str) -> bool:
        """Write down what became of a request, once; whether it was not written before.

        Args:
            plan: what was sent.
            key: as ``begin`` gave it.
            outcome: a value of ``OutcomeStatus`` other than ``unknown``.
            by: id of the run that knows.
        """
        return _insert(self._of(plan) / f"{key}{_OUTCOME}", {"outcome": outcome, "by": by, "at": rfc3339(utc_now())})

    def outcome(self, plan: Plan, key: str) -> Mapping[str, Any]:
        """``{outcome, by, at}`` of a request; empty while nobody knows."""
        try:
            found: Mapping[str, Any] = json.loads((self._of(plan) / f"{key}{_OUTCOME}").read_bytes())
        except (OSError, ValueError):
            return {}
        return found

    def unsettled(self, plan: Plan) -> tuple[Mapping[str, Any], ...]:
        """Requests to the plan's target whose outcome nobody knows: of dead runs, and of lost answers."""
        found = []
        for path in self._intents(plan):
            if not path.with_name(path.name.removesuffix(".json") + _OUTCOME).exists():
                try:
                    found.append(json.loads(path.read_bytes()))
                except (OSError, ValueError):
                    # A power cut between making the file and filling it: the request was not sent yet.
                    continue
        return tuple(found)

    def recent(self, plan: Plan, *, seconds: float = RATE_SECONDS) -> int:
        """How many requests the plan's target got lately."""
        since, count = time.time() - seconds, 0
        for path in self._intents(plan):
            with suppress(OSError):
                count += path.stat().st_mtime >= since
        return count

    def _intents(self, plan: Plan) -> Iterator[Path]:
        return (path for path in self._of(plan).glob("*.json") if not path.name.endswith(_OUTCOME))

    def _of(self, plan: Plan) -> Path:
        name = f"{plan.environment}/{plan.target}"
        readable = re.sub(r"[^A-Za-z0-9_.-]+", "_", name)[:100]
        return self.folder / "intents" / f"{readable}-{digest_bytes(name.encode())[7:15]}"


def _insert(path: Path, value: Mapping[str, Any]) -> bool:
    """Write a file that must not exist, durably; whether it did not."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return False
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(value, file)
        file.flush()
        os.fsync(file.fileno())
    # The name of a file is on the disk only when its folder is.
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return True
