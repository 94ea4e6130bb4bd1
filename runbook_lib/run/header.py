"""The first thing a run shows: who, where, which window, in which mode, and which systems answered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from runbook_lib import actions
from runbook_lib.model import Findings, Gap, Objective, Outcome, OutcomeStatus, Verification, Window, show
from runbook_lib.model.evidence import Evidence
from runbook_lib.model.times import parse_rfc3339, seen_from
from runbook_lib.record.record import Record

if TYPE_CHECKING:
    from runbook_lib.run import Run
    from runbook_lib.run.attach import Surroundings

_MODES = {
    "headless": "headless: reads freely, changes only an approved plan",
    "interactive": "interactive: reads freely, changes only what you approve",
    "plain": "without a runner: reads only",
    "replay": "replay: answers come from a record, nothing is asked or changed",
}
#: How a verification ended, to what a person does then; what was not needed says nothing.
_NEXT = {
    "held": "nothing: the objective holds again",
    "not_held": "it does not hold yet: runbook run verify_fix reads it again, runbook run escalate hands over",
    "unknown": "the objective could not be read after the change: runbook run verify_fix reads it again",
}


@dataclass(frozen=True, slots=True)
class Header:
    """What a person must know before reading on.

    Args:
        run_id: name of the run.
        runbook: name of the procedure.
        service: service under investigation.
        environment: where it runs.
        actor: who runs it, and how that is known.
        mode: see ``attach.Surroundings``.
        changes: whether this run may change anything.
        window: interval of the evidence.
        objectives: what the service promises.
        systems: source to its answer to a first question.
        links: name to address, with the window filled in.
        alert: what started the run, and when; empty where nothing but a person did.
    """

    run_id: str
    runbook: str
    service: str
    environment: str
    actor: str
    mode: str
    changes: bool
    window: Window
    objectives: tuple[Objective, ...]
    systems: Mapping[str, Evidence | Gap]
    links: Mapping[str, str]
    alert: str = ""

    def facts(self) -> list[tuple[str, str]]:
        """Name and text of each line."""
        silent = [one for one in self.systems.values() if isinstance(one, Gap)]
        answered = [name for name, one in self.systems.items() if not isinstance(one, Gap)]
        lines = [
            ("run", self.run_id),
            ("runbook", self.runbook),
            ("service", f"{self.service} in {self.environment}"),
            ("objective", "; ".join(map(str, self.objectives))),
            ("window", str(self.window)),
            *([("alert", self.alert)] if self.alert else []),
            ("who", self.actor),
            ("mode", _MODES.get(self.mode, self.mode)),
            ("may change", "an approved plan" if self.changes else "nothing"),
            ("answering", ", ".join(answered) or "no system"),
        ]
        lines += [("no answer", f"{gap.source}: {gap.reason}") for gap in silent]
        return lines + [(name, link) for name, link in self.links.items()]

    def __str__(self) -> str:
        return "\n".join(f"{name:>11}  {text}" for name, text in self.facts())

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return show.facts(self.facts())


@dataclass(frozen=True, slots=True)
class Closing:
    """The last thing a run shows.

    Args:
        verdict: the conclusion.
        cause: the strongest finding in words; empty when there is none.
        next_step: what a person does now.
        record: where the record is, or will be.
        fixed: whether a change was verified: the verdict is about the time before it.
    """

    verdict: str
    cause: str
    next_step: str
    record: str
    fixed: bool = False

    def __str__(self) -> str:
        lines = [
            f"{show.SIGNS[self.verdict]} {self.verdict.upper()}{', then fixed' if self.fixed else ''}",
            self.cause,
            self.next_step,
            f"record: {self.record}",
        ]
        return "\n".join(line for line in lines if line)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        rows = [("cause", self.cause), ("next step", self.next_step), ("record", self.record)]
        fixed = f" then {show.chip('held', 'fixed')}" if self.fixed else ""
        return f"<div>{show.chip(self.verdict, self.verdict)}{fixed}</div>" + show.facts((k, v) for k, v in rows if v)


def greeting(run: Run, around: Surroundings, actor: str) -> Header:
    """The header of a run that begins: every system is asked a first, cheap question.

    Args:
        run: the run.
        around: what its process was told.
        actor: who runs it, and how that is known.
    """
    first = run.first_questions()
    answers = dict(zip(first, run.gather(*first.values()), strict=True))
    return Header(
        run_id=run.id,
        runbook=run.runbook,
        service=run.service.name,
        environment=run.environment.name,
        actor=actor,
        mode=around.mode,
        changes=around.apply and bool(run.environment.actions),
        window=run.window,
        objectives=tuple(run.service.objectives.values()),
        systems=answers,
        links=links(run.service.links, run.window),
        alert=alert_of(around.replay or around.record, run.window),
    )


def alert_of(record: Path | None, window: Window) -> str:
    """The alert that started a record's run, and when it fired; empty when none did.

    Args:
        record: folder of the record that a runner began, or that is replayed.
        window: of the run, whose end is when it began.
    """
    told = Record.read(record).run.get("alert") if record else None
    if not told or not told.get("fired_at"):
        return ""
    return f"{told.get('name', 'it')} fired {seen_from(parse_rfc3339(told['fired_at']), window.end, 'this run')}"


def links(templates: Mapping[str, str], window: Window) -> dict[str, str]:
    """Name to address, with the window filled in as epoch milliseconds."""
    start, end = (str(round(moment.timestamp() * 1000)) for moment in (window.start, window.end))
    return {name: link.replace("{from}", start).replace("{to}", end) for name, link in templates.items()}


def next_step(known: Findings, outcomes: Sequence[Outcome], verification: Verification | None, run_id: str) -> str:
    """What a person does now, after everything that a run knows and did."""
    if verification is not None and verification.status in _NEXT:
        return _NEXT[verification.status]
    waiting = [outcome.plan for outcome in outcomes if outcome.status is OutcomeStatus.WAITING]
    if waiting:
        return f"approve the plan: runbook approve {run_id} --plan {waiting[-1]}"
    if outcomes:
        return str(outcomes[-1])
    if known.top is None:
        return "read again when the gaps are closed" if known.gaps else "nothing: no finding"
    return " ".join(actions.advice(known.top.cause)[:1])
