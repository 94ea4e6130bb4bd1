"""Runs a runbook on every target, some at once, and ends early when too many fail or somebody asks for it."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from runbook_lib.errors import SourceError
from runbook_lib.fleet.orphan import Orphan, fetch, here, put_in_order
from runbook_lib.fleet.results import NOT_STARTED, Fleet, Result
from runbook_lib.fleet.start import Child, Engine
from runbook_lib.fleet.targets import Target
from runbook_lib.fleet.worker import failure
from runbook_lib.headless.stop import SIGNALS
from runbook_lib.model.times import parse_rfc3339, rfc3339, utc_now

_POLL_SECONDS = 0.01
# A run that takes every worker with it must not go through all of them.
_MOST_TRIES = 3

Told = Callable[[str, Mapping[str, Any]], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be run.

    Args:
        runbook: name of the runbook.
        notebook: its file.
        targets: one run each.
        catalog: the service catalogue; None when there is none.
        archive: folder of the archive on this machine.
        address: the archive for the runs, which may be elsewhere; that folder when empty.
        at_once: how many runs at a time; 0 for as many as the engine has places.
        stop_after: start nothing more once so many runs have failed; 0 for never.
    """

    runbook: str
    notebook: Path
    targets: Sequence[Target]
    catalog: Path | None
    archive: Path
    address: str = ""
    at_once: int = 0
    stop_after: int = 0


@dataclass(slots=True)
class _Run:
    """A run that is under way.

    Args:
        target: what it is about.
        child: where it goes on.
        began: when it was started, RFC 3339.
        record: folder of its record, where it told one.
        result: what it told at its end; empty before.
    """

    target: Target
    child: Child
    began: str
    record: str = ""
    result: Mapping[str, Any] = field(default_factory=dict)


class Dispatch:
    """One fleet from its first target to its page.

    Args:
        plan: what is to be run.
        engine: starts the run of one target, here or elsewhere.
        told: is told the name of a target and a message of its run, for the screen.
    """

    def __init__(self, plan: Plan, engine: Engine, told: Told = lambda _name, _message: None) -> None:
        self._plan, self._engine, self._told = plan, engine, told
        self._running: dict[str, _Run] = {}
        self._earlier: dict[str, list[str]] = {}
        self._waiting = list(plan.targets)
        self._asked: list[signal.Signals] = []
        self._passed_on = 0

    def run(self) -> Fleet:
        """Run every target, or as many as the budget and the signals allow; keeps the page up to date on the way.

        Raises:
            RecordError: the results cannot be written.
        """
        fleet = Fleet.begin(self._plan.archive, self._plan.runbook, [one.name for one in self._plan.targets])
        before = {number: signal.signal(number, self._on_signal) for number in SIGNALS if _free(number)}
        try:
            while self._running or (self._waiting and not self._over(fleet)):
                while self._waiting and self._room() and not self._over(fleet):
                    self._begin(fleet, self._waiting.pop(0))
                if not self._listen(fleet):
                    time.sleep(_POLL_SECONDS)
                self._pass_on()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        for target in self._waiting:
            fleet.add(self._not_started(fleet, target))
        fleet.finish(stopped=SIGNALS[self._asked[0]] if self._asked else 0)
        return fleet

    def _room(self) -> bool:
        return len(self._running) < self._engine.places(self._plan.at_once)

    def _begin(self, fleet: Fleet, target: Target) -> None:
        task = {
            "notebook": str(self._plan.notebook),
            "parameters": dict(target.values),
            "catalog": str(self._plan.catalog or ""),
            "archive": self._plan.address or str(self._plan.archive),
            "lock": f"{self._plan.runbook}-{target.name}",
        }
        child = self._engine.start(task, fleet.log(target.name))
        self._running[target.name] = _Run(target, child, rfc3339(utc_now()))
        self._told(target.name, {"status": "started"})

    def _listen(self, fleet: Fleet) -> bool:
        """Take what the runs have told; whether there was anything."""
        heard = False
        for name, run in list(self._running.items()):
            # Asked before it is heard: what it told in its last moment is then still heard.
            over = run.child.ended()
            for message in run.child.messages():
                heard = True
                if "result" in message:
                    run.result = message["result"]
                elif "record" in message:
                    run.record = message["record"]
                else:
                    self._told(name, message)
            if over:
                heard = True
                del self._running[name]
                self._end(fleet, run, run.child.death())
        return heard

    def _end(self, fleet: Fleet, run: _Run, words: str) -> None:
        """Keep the result of a run that is over, or do it again where nothing but its place failed."""
        name, found = run.target.name, run.result
        if not found:
            orphan = put_in_order(self._plan.archive, run.target, run.began, run.record, words)
            found = orphan.result
            if run.child.lost and self._again(name, orphan):
                self._waiting.insert(0, run.target)
                self._told(name, {"status": "lost"})
                return
        result = _result(run.target, self._nearby(found), run.began, self._earlier.get(name, ()))
        fleet.add(result)
        self._told(name, {"status": "ended", "result": result})

    def _again(self, name: str, orphan: Orphan) -> bool:
        earlier = self._earlier.setdefault(name, [])
        if not orphan.repeatable or self._asked or len(earlier) + 1 >= _MOST_TRIES:
            return False
        earlier.append(orphan.result["run_id"] or "one without a record")
        return True

    def _nearby(self, found: Mapping[str, Any]) -> Mapping[str, Any]:
        """The result with its record's folder on this machine, where a bucket's record is copied to."""
        if not found["record"]:
            return found
        folder = here(self._plan.archive, found["record"])
        try:
            fetch(self._plan.archive, folder)
        except SourceError as error:
            return {**found, "reason": "; ".join(filter(None, (found["reason"], f"not copied here: {error}")))}
        return {**found, "record": str(folder)}

    def _over(self, fleet: Fleet) -> bool:
        limit = self._plan.stop_after
        failed = limit > 0 and sum(one.failed for one in fleet.results) >= limit
        return bool(self._asked or failed or self._engine.over())

    def _not_started(self, fleet: Fleet, target: Target) -> Result:
        why = self._engine.over() or f"{self._plan.stop_after} runs had failed before"
        why = "the fleet was interrupted" if self._asked else why
        earlier = self._earlier.get(target.name, ())
        return _result(target, {**failure(1, f"not started: {why}"), "status": NOT_STARTED}, "", earlier)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._asked.append(signal.Signals(number))

    def _pass_on(self) -> None:
        """Hand signals on to the runs, which end in order; they are not in this process's group."""
        while self._passed_on < len(self._asked):
            for run in self._running.values():
                run.child.stop(self._asked[self._passed_on])
            self._passed_on += 1


def _free(number: signal.Signals) -> bool:
    return number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN


def _result(target: Target, found: Mapping[str, Any], began: str, earlier: Sequence[str]) -> Result:
    ended = utc_now()
    seconds = (ended - parse_rfc3339(began)).total_seconds() if began else 0.0
    lost = f"done again after {', '.join(earlier)}, lost with its worker" if earlier else ""
    return Result(
        target=target.name,
        service=target.service,
        environment=target.environment,
        started=began,
        seconds=round(seconds, 2),
        **{**found, "reason": "; ".join(filter(None, (found["reason"], lost)))},
    )
