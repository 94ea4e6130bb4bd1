"""The first thing a run shows: who, where, which window, in which mode, and which systems answered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from runbook_lib.model import Gap, Objective, Window, show
from runbook_lib.model.evidence import Evidence

_MODES = {
    "headless": "headless: reads freely, changes only an approved plan",
    "interactive": "interactive: reads freely, changes only what you approve",
    "plain": "without a runner: reads only",
    "replay": "replay: answers come from a record, nothing is asked or changed",
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
    """

    verdict: str
    cause: str
    next_step: str
    record: str

    def __str__(self) -> str:
        lines = [
            f"{show.SIGNS[self.verdict]} {self.verdict.upper()}",
            self.cause,
            self.next_step,
            f"record: {self.record}",
        ]
        return "\n".join(line for line in lines if line)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        rows = [("cause", self.cause), ("next step", self.next_step), ("record", self.record)]
        return f"<div>{show.chip(self.verdict, self.verdict)}</div>" + show.facts((k, v) for k, v in rows if v)
