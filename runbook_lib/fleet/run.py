"""Runs a runbook on every target, some at once, and ends early when too many fail or somebody asks for it."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from runbook_lib.errors import RecordError
from runbook_lib.fleet.results import NOT_STARTED, Fleet, Result
from runbook_lib.fleet.start import Child, Start
from runbook_lib.fleet.targets import Target
from runbook_lib.fleet.worker import failure, summary
from runbook_lib.headless.stop import SIGNALS
from runbook_lib.model.times import parse_rfc3339, rfc3339, utc_now
from runbook_lib.record.folder import JOURNAL, PARTIAL
from runbook_lib.record.record import Record
from runbook_lib.record.recover import recover

_POLL_SECONDS = 0.01
# The record of a killed runner is free when its kernel is gone too, which its watcher sees to.
_RECOVER_SECONDS = 15.0

Told = Callable[[str, Mapping[str, Any]], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be run.

    Args:
        runbook: name of the runbook.
        notebook: its file.
        targets: one run each.
        catalog: the service catalogue; None when there is none.
        archive: folder of the archive.
        at_once: how many runs at a time.
        stop_after: start nothing more once so many runs have failed; 0 for never.
    """

    runbook: str
    notebook: Path
    targets: Sequence[Target]
    catalog: Path | None
    archive: Path
    at_once: int = 2
    stop_after: int = 0


class Dispatch:
    """One fleet from its first target to its page.

    Args:
        plan: what is to be run.
        start: starts the process of one target.
        told: is told the name of a target and a message of its run, for the screen.
    """

    def __init__(self, plan: Plan, start: Start, told: Told = lambda _name, _message: None) -> None:
        self._plan, self._start, self._told = plan, start, told
        self._running: dict[str, tuple[Target, Child, str]] = {}
        self._results: dict[str, Mapping[str, Any]] = {}
        self._asked: list[signal.Signals] = []
        self._passed_on = 0

    def run(self) -> Fleet:
        """Run every target, or as many as the budget and the signals allow; keeps the page up to date on the way.

        Raises:
            RecordError: the results cannot be written.
        """
        fleet = Fleet.begin(self._plan.archive, self._plan.runbook, [one.name for one in self._plan.targets])
        before = {number: signal.signal(number, self._on_signal) for number in SIGNALS if _free(number)}
        waiting = list(self._plan.targets)
        try:
            while self._running or (waiting and not self._over(fleet)):
                while waiting and len(self._running) < self._plan.at_once and not self._over(fleet):
                    self._begin(fleet, waiting.pop(0))
                if not self._listen(fleet):
                    time.sleep(_POLL_SECONDS)
                self._pass_on()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        for target in waiting:
            fleet.add(self._not_started(fleet, target))
        fleet.finish(stopped=SIGNALS[self._asked[0]] if self._asked else 0)
        return fleet

    def _begin(self, fleet: Fleet, target: Target) -> None:
        task = {
            "notebook": str(self._plan.notebook),
            "parameters": dict(target.values),
            "catalog": str(self._plan.catalog or ""),
            "archive": str(self._plan.archive),
            "lock": {
                "folder": str(self._plan.archive / "ledger" / "fleet"),
                "name": f"{self._plan.runbook}-{target.name}",
            },
        }
        child = self._start(task, fleet.log(target.name))
        self._running[target.name] = (target, child, rfc3339(utc_now()))
        self._told(target.name, {"status": "started"})

    def _listen(self, fleet: Fleet) -> bool:
        """Take what the runs have told; whether there was anything."""
        heard = False
        for name, (target, child, began) in list(self._running.items()):
            # Asked before it is heard: what it told in its last moment is then still heard.
            over = child.ended()
            for message in child.messages():
                heard = True
                if "result" in message:
                    self._results[name] = message["result"]
                else:
                    self._told(name, message)
            if over:
                heard = True
                words = child.death()
                del self._running[name]
                found = self._results.pop(name, None) or self._dead(target, began, words)
                result = _result(target, found, began)
                fleet.add(result)
                self._told(name, {"status": "ended", "result": result})
        return heard

    def _dead(self, target: Target, began: str, words: str) -> dict[str, Any]:
        """The result of a run whose process is gone without a word: its record is put in order."""
        record = _orphan(self._plan.archive, target, began)
        if record is None:
            return failure(1, f"{words}; it had begun no record")
        limit = time.monotonic() + _RECOVER_SECONDS
        while True:
            try:
                sealed = recover(record)
            except RecordError as error:
                if time.monotonic() > limit:
                    return {**failure(7, f"{words}; its record is not in order: {error}"), "record": str(record)}
                time.sleep(0.1)
            else:
                told = summary(Record.read(sealed.path).to_json())
                return {**told, "exit_code": 1, "reason": words, "record": str(sealed.path)}

    def _over(self, fleet: Fleet) -> bool:
        limit = self._plan.stop_after
        return bool(self._asked) or (limit > 0 and sum(one.failed for one in fleet.results) >= limit)

    def _not_started(self, fleet: Fleet, target: Target) -> Result:
        why = "the fleet was interrupted" if self._asked else f"{self._plan.stop_after} runs had failed before"
        return _result(target, {**failure(1, f"not started: {why}"), "status": NOT_STARTED}, "")

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._asked.append(signal.Signals(number))

    def _pass_on(self) -> None:
        """Hand signals on to the runs, which end in order; they are not in this process's group."""
        while self._passed_on < len(self._asked):
            for _, child, _ in self._running.values():
                child.stop(self._asked[self._passed_on])
            self._passed_on += 1


def _free(number: signal.Signals) -> bool:
    return number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN


def _result(target: Target, found: Mapping[str, Any], began: str) -> Result:
    ended = utc_now()
    seconds = (ended - parse_rfc3339(began)).total_seconds() if began else 0.0
    return Result(
        target=target.name,
        service=target.service,
        environment=target.environment,
        started=began,
        seconds=round(seconds, 2),
        **found,
    )


def _orphan(archive: Path, target: Target, began: str) -> Path | None:
    """The unsealed record that the run of a target left behind."""
    for journal in sorted(archive.glob(f"[0-9]*/[0-9]*/[0-9]*/*{PARTIAL}/{JOURNAL}"), reverse=True):
        with suppress(RecordError, LookupError, ValueError):
            record = Record.read(journal.parent)
            fits = record.run.get("parameters") == dict(target.values)
            if fits and record.started is not None and rfc3339(record.started) >= began:
                return journal.parent
    return None
