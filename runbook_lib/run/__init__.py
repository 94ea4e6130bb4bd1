"""Run: what a notebook holds. It reads, notes, plans, applies, verifies, and writes all of it down."""

from __future__ import annotations

import atexit
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime
from functools import cached_property
from typing import Any, TypeVar

from runbook_lib import actions, analysis, catalog
from runbook_lib.errors import ParameterError, RecordError
from runbook_lib.model import (
    Check,
    Checks,
    CheckStatus,
    Environment,
    Evidence,
    Finding,
    Findings,
    Gap,
    NoPlan,
    Objective,
    Outcome,
    OutcomeStatus,
    Plan,
    Role,
    Service,
    Verification,
    Window,
)
from runbook_lib.record.diff import REPLAYED_OUTCOME
from runbook_lib.run import live, opening, resume
from runbook_lib.run.ask import Decision, Question
from runbook_lib.run.attach import Surroundings, current_cell, surroundings
from runbook_lib.run.checked import findings_of
from runbook_lib.run.cockpit import Cockpit
from runbook_lib.run.handover import HANDOVER, Handover, handover, replayed_handover
from runbook_lib.run.header import Closing, greeting, next_step
from runbook_lib.run.preflight import preflight
from runbook_lib.run.releases import Releases
from runbook_lib.run.stop import stop_early
from runbook_lib.run.systems import Clients, Systems
from runbook_lib.run.verify import verify

#: How many systems are asked at once.
READERS = 8

T = TypeVar("T")
Note = Finding | Iterable[Finding] | None


class Run(Clients):
    """One execution of a runbook; made by ``Run.start``, ended by ``close``.

    Attributes:
        id: name of the run.
        service: service under investigation.
        environment: where it runs.
        window: half-open UTC interval that all evidence shares.
    """

    def __init__(
        self,
        runbook: str,
        service: Service,
        environment: Environment,
        window: Window,
        around: Surroundings,
    ) -> None:
        self.runbook, self.service, self.environment, self.window = runbook, service, environment, window
        self._around = around
        self._opened = opening.open_record(runbook, service, environment, window, around, keep=self._keep)
        self.id: str = self._opened.record.run_id
        ledger = self._opened.record.path.parents[3] / opening.LEDGER
        self._cockpit = Cockpit(self, around, self._opened.person, ledger, self._journal)
        self._resumed = resume.Resumed(around.resume)
        self._systems = Systems(service, environment, window, self._opened.tape)
        self._noted: list[Finding] = []
        self._gaps: dict[str, Gap] = {}
        self._plans: dict[str, Plan] = {}
        self._outcomes: list[Outcome] = []
        self._verification: Verification | None = None
        self._changed_at: datetime | None = None
        self._closed = False
        self._header = greeting(self, around, self._opened.actor)
        atexit.register(self._leave)

    @classmethod
    def start(cls, runbook: str, *, service: str, environment: str, minutes: float = 60) -> Run:
        """Begin a run, or join the one that a runner began.

        Args:
            runbook: name of the procedure.
            service: a service of the catalogue.
            environment: an environment of the catalogue.
            minutes: length of the window that evidence is read over, minutes.

        Raises:
            UnknownNameError: the catalogue has no such service or environment; carries the nearest name.
            CatalogError: the catalogue is missing or wrong.
            ParameterError: ``minutes`` is not above zero or too long.
            RecordError: the record cannot be written.
        """
        around = surroundings()
        known = catalog.load(around.catalog)
        if around.replay:
            place = opening.replayed_environment(known, environment, around.replay)
            window = Window.last(minutes, end=opening.replayed_end(around.replay))
        else:
            place, window = known.environment(environment), Window.last(minutes)
        return cls(runbook, known.service(service), place, window, around)

    @property
    def objective(self) -> Objective:
        """The latency objective of the service.

        Raises:
            ParameterError: the service promises nothing about latency.
        """
        return self._objective("latency")

    @property
    def availability(self) -> Objective:
        """The availability objective of the service.

        Raises:
            ParameterError: the service promises nothing about availability.
        """
        return self._objective("availability")

    @property
    def findings(self) -> Findings:
        """What the run knows now, root causes first, with the verdict that this allows."""
        gaps = tuple(self._gaps.values())
        weighed = analysis.weigh(self._noted, gaps)
        return _findings(weighed, gaps)

    def first_questions(self) -> Mapping[str, Callable[[], Evidence | Gap]]:
        """Source to a first, cheap question, for every system that the environment has."""
        return self._systems.first_questions()

    def gather(self, *reads: Callable[[], T]) -> tuple[T, ...]:
        """Read several things at once.

        Args:
            reads: functions without arguments, such as ``run.metrics.error_ratio``.

        Returns:
            Their answers, in the same order.
        """
        with ThreadPoolExecutor(max_workers=READERS) as pool:
            return tuple(future.result() for future in [pool.submit(read) for read in reads])

    def note(self, *notes: Note) -> Findings:
        """Write findings down.

        Args:
            notes: findings, groups of findings, or None for a question without one.

        Returns:
            What these findings alone say.
        """
        new = [one for note in notes for one in ([note] if isinstance(note, Finding) else note or ())]
        for finding in new:
            self._journal("finding", finding.to_json())
        self._noted += new
        return _findings(new, (), part=True)

    def watch(self, evidence: Evidence | Gap, *, seconds: float = 300) -> None:
        """Show a number that moves while later cells run, until ``seconds`` or the run are over; every reading is kept.

        Without a person in front of it the number is drawn once, as it was read.
        """
        self._cockpit.watch(evidence, self._promised("latency"), seconds)

    def ask(
        self, plan: Plan | NoPlan, *, approval: str = "", watch: Evidence | Gap | None = None
    ) -> Question | Decision:
        """Ask the person in front of the notebook to approve a plan; ``await`` it, and ``apply`` uses the approval.

        Without a person, or with an approval already, nothing is asked and nothing waits.

        Args:
            plan: as ``actions`` made it.
            approval: path of an approval that there is already; empty when there is none.
            watch: a number to show, live, beside the plan.
        """
        if isinstance(plan, Plan):
            self._planned(plan)
        return self._cockpit.ask(plan, approval=approval, watched=watch, objective=self._promised("latency"))

    def apply(self, plan: Plan | NoPlan, *, approval: str = "") -> Outcome | NoPlan:
        """Carry out a plan through the one guarded path, or say why not.

        Args:
            plan: as ``actions`` made it.
            approval: path of an approval of exactly this plan; empty: the one that ``ask`` got, or plans only.

        Returns:
            The outcome; a refusal is an outcome. What was no plan comes back as it is.
        """
        earlier = self._resumed.take(plan, self)
        if earlier is not None:
            self._journal("note", resume.note(*earlier))
            if earlier[1].status is OutcomeStatus.APPLIED:
                return self._done(earlier[1])
        if isinstance(plan, NoPlan):
            self._journal("note", {"text": str(plan), **plan.to_json()})
            if plan.blocked:
                # What was asked for and cannot be done is no success, whatever else the run found.
                fix = " ".join(plan.advice) or "mend it, and plan again"
                self.check(Check("plan", "the change can be planned", CheckStatus.FAILED, plan.reason, "a plan", fix))
            return plan
        self._planned(plan)
        if self._around.replay:
            outcome = opening.replayed_outcome(self._around.replay, plan)
            told = f"the record says: {outcome}; a replay changes nothing"
            self._journal("note", {"what": REPLAYED_OUTCOME, "text": told})
        else:
            given = approval or self._around.approval or self._cockpit.granted(plan)
            context = opening.action_context(self._opened, self.environment, self._around, self._journal_durably)
            outcome = actions.apply(actions.bind(plan, self), plan, context, given)
        if outcome.status is OutcomeStatus.WAITING:
            self._journal("approval.asked", {"plan": plan.digest, "reason": outcome.reason})
        return self._done(outcome)

    def _done(self, outcome: Outcome) -> Outcome:
        self._outcomes.append(outcome)
        self._changed_at = outcome.sent_at or self._changed_at
        return outcome

    def preflight(self, *groups: str) -> Checks:
        """Check what this service needs here; changes nothing.

        Args:
            groups: ``systems``, ``service``, ``permissions``, ``metrics``, ``tools``; all of them when none is given.

        Raises:
            UnknownNameError: a group that nobody knows.
        """
        return self.check(preflight(self, *groups))

    def check(self, *given: Checks | Check) -> Checks:
        """Write checks down; a needed one that failed makes the run fail, an unknown one the verdict unknown."""
        checks = Checks(tuple(one for each in given for one in ((each,) if isinstance(each, Check) else each)))
        self._journal("note", {"what": "checks", "items": [check.to_json() for check in checks]})
        self.note(findings_of(checks))
        return checks

    def verify(
        self,
        after: Callable[[], Evidence | Gap],
        *,
        against: Evidence | Gap,
        beside: Evidence | Gap | None = None,
        within_seconds: float = 180,
    ) -> Verification:
        """Compare evidence read after a change with the same evidence before it; reads again until it holds.

        Args:
            after: reads the evidence again, such as ``latency.again``; not called when nothing was changed.
            against: the evidence before the change.
            beside: another number to show to a person while this reads, such as the pods.
            within_seconds: how long to keep reading, seconds.
        """
        if self._changed_at is None:
            result = Verification("not_needed", "nothing was changed, so there is nothing to verify")
        else:
            first = after()
            with self._cockpit.follow(first, self.objective, within_seconds, beside) as seen:
                result, _ = verify(
                    first,
                    against,
                    self.objective,
                    changed_at=self._changed_at,
                    within_seconds=within_seconds,
                    wait=opening.pause(self._opened.tape, first),
                    seen=seen,
                )
        return self.conclude(result)

    @property
    def changed_at(self) -> datetime | None:
        """When this run sent the request that changed something; None when it changed nothing."""
        effects = {OutcomeStatus.APPLIED, OutcomeStatus.FAILED, OutcomeStatus.UNKNOWN}
        return self._changed_at if any(one.status in effects for one in self._outcomes) else None

    @cached_property
    def releases(self) -> Releases:
        """What this run does around a change of a release."""
        return Releases(self, self._around, self._opened.record.path.parents[3], self._journal)

    def handover(self, *, incident: str, on_call: Evidence | Gap | None = None) -> Handover:
        """What the next person must know: what is found now, what earlier runs tried, their records, and the contacts.

        Args:
            incident: names the trouble, such as the alert; the same name is the same page and message.
            on_call: who is on call, where that can be read.
        """
        archive, replay = self._opened.record.path.parents[3], self._around.replay
        told = (replay and replayed_handover(replay)) or handover(self, archive, incident=incident, on_call=on_call)
        self._journal("note", {"what": HANDOVER, **told.to_json()})
        return told

    def conclude(self, verification: Verification) -> Verification:
        """Take a verification that was made of several readings as this run's own."""
        self._verification = verification
        self._journal("verification", verification.to_json())
        return verification

    def close(self) -> Closing:
        """End the run: write the verdict down; without a runner, also seal the record."""
        self._cockpit.close()
        known = self.findings
        every = (*known.items, *known.ruled_out)
        self._journal("verdict", {"verdict": str(known.verdict), "findings": [one.to_json() for one in every]})
        self._closed = True
        # The runner seals once the kernel is gone, a notebook's server with the next save: it then has this name.
        place = self._opened.record.path.with_suffix("")
        if self._around.saved_as:
            self._opened.record.release()
        if self._opened.own:
            place = opening.seal(self._opened, str(known.verdict), catalog.load(self._around.catalog))
        return Closing(
            str(known.verdict),
            str(known.top or ""),
            next_step(known, self._outcomes, self._verification, self.id),
            str(place),
            fixed=self._verification is not None and self._verification.status == "held",
        )

    def _planned(self, plan: Plan) -> None:
        if plan.digest not in self._plans:
            self._plans[plan.digest] = plan
            self._journal("plan", plan.to_json())

    def _promised(self, kind: str) -> Objective | None:
        return next((one for one in self.service.objectives.values() if one.kind == kind), None)

    def _objective(self, kind: str) -> Objective:
        if (found := self._promised(kind)) is None:
            raise ParameterError(f"service {self.service.name} has no {kind} objective in {self._around.catalog}")
        return found

    def _keep(self, answer: Evidence | Gap) -> None:
        # Called by the tape, one thread at a time: what was a gap and can be read now is none any more.
        watched = live.watching.get()
        self._opened.record.keep(answer, cell=current_cell(), watched=watched)
        if watched:
            return
        if isinstance(answer, Gap):
            self._gaps[answer.key] = answer
        else:
            self._gaps.pop(answer.key, None)

    def _journal(self, kind: str, data: Mapping[str, Any]) -> None:
        self._opened.record.journal.append(kind, data, cell=current_cell())

    def _journal_durably(self, kind: str, data: Mapping[str, Any]) -> None:
        self._opened.record.journal.append(kind, data, cell=current_cell(), durable=True)

    def _leave(self) -> None:
        # A process that ends without `close` leaves a record without a seal: that says it was not successful.
        if not self._closed:
            with suppress(OSError, RecordError):
                self._opened.record.release()

    def __str__(self) -> str:
        return str(self._header)

    __repr__ = __str__
    stop = stop_early

    def _repr_html_(self) -> str:
        return self._header._repr_html_()


def _findings(claims: Sequence[Finding], gaps: tuple[Gap, ...], *, part: bool = False) -> Findings:
    ruled_out = tuple(one for one in claims if one.role is Role.RULED_OUT)
    kept = tuple(one for one in claims if one.role is not Role.RULED_OUT)
    return Findings(kept, ruled_out, gaps, analysis.conclude(claims, gaps), part)


__all__ = ["Run"]
