"""What a run shows to the person in front of it: numbers that move, and the question whether to go on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runbook_lib import actions
from runbook_lib.actions.approval import VALID_MINUTES
from runbook_lib.errors import RunbookError
from runbook_lib.model import Evidence, Gap, GuardResult, NoPlan, Objective, Plan
from runbook_lib.run import ask
from runbook_lib.run.ask import Asked, Decision, Question
from runbook_lib.run.live import MOST_SECONDS, Reader, Watch, show, whole

if TYPE_CHECKING:
    from runbook_lib.run import Run
    from runbook_lib.run.attach import Surroundings

Journal = Callable[[str, Mapping[str, Any]], None]


class Cockpit:
    """The live pictures and open questions of one run.

    Args:
        run: whose they are.
        around: what this process was told; says whether a person can be asked.
        person: who is in front of it.
        ledger: folder of the archive that keeps approvals.
        journal: writes one event.
    """

    def __init__(self, run: Run, around: Surroundings, person: str, ledger: Path, journal: Journal) -> None:
        self._run, self._around, self._person, self._ledger, self._journal = run, around, person, ledger, journal
        self._open: list[Watch | Question] = []
        self._granted: dict[str, str] = {}

    @property
    def attended(self) -> bool:
        """Whether a person sees what the run shows while it runs."""
        return self._around.mode == "interactive"

    def watch(self, evidence: Evidence | Gap, objective: Objective | None, seconds: float) -> None:
        """See ``Run.watch``."""
        if self.attended:
            self._open.append(Watch(evidence, objective, min(seconds, MOST_SECONDS), Reader(evidence)))
        else:
            show(*whole(evidence, objective))

    @contextmanager
    def follow(
        self, reading: Evidence | Gap, objective: Objective | None, seconds: float, beside: Evidence | Gap | None
    ) -> Iterator[Callable[[Evidence | Gap], object]]:
        """Show readings that somebody else makes while this lasts; they are given to what this yields.

        A number ``beside`` them is read here, once a second.
        """
        if not self.attended:
            yield lambda _: None
            return
        shown = [followed := Watch(reading, objective, seconds, None)]
        if beside is not None:
            shown.append(Watch(beside, None, seconds, Reader(beside), small=True))
        try:
            yield followed.feed
        finally:
            for one in shown:
                one.stop()

    def ask(
        self, plan: Plan | NoPlan, *, approval: str, watched: Evidence | Gap | None, objective: Objective | None
    ) -> Question | Decision:
        """See ``Run.ask``."""
        told = self._unasked(plan, approval or self._around.approval)
        if told or not isinstance(plan, Plan):
            return Decision(plan, "not asked", told, approval or self._around.approval)
        guards = self._guards(plan)
        self._journal("approval.asked", {"plan": plan.digest, "reason": f"{self._person} is asked in the notebook"})
        asked = Asked(
            plan=plan,
            environment=self._run.environment,
            person=self._person,
            run_id=self._run.id,
            seconds=VALID_MINUTES * 60,
            watched=watched,
            objective=objective,
            guards=guards,
        )
        question = Question(asked, lambda word, typed: self._decided(asked, word, typed))
        self._open.append(question)
        return question

    def granted(self, plan: Plan) -> str:
        """The approval that was given to exactly this plan; empty when there is none. It is good once."""
        return self._granted.pop(plan.digest, "")

    def close(self) -> None:
        """End every picture and question: nothing that is shown changes after the verdict."""
        for one in self._open:
            if isinstance(one, Watch):
                one.stop()
            else:
                one.close()
        self._open.clear()

    def _unasked(self, plan: Plan | NoPlan, approval: str) -> str:
        """Why nobody is asked; empty when somebody is."""
        if isinstance(plan, NoPlan):
            return "there is nothing to approve"
        environment = self._run.environment
        if approval:
            return f"the run was given the approval {Path(approval).name}"
        if self._around.replay:
            return "a replay changes nothing"
        if plan.kind not in environment.actions:
            return f"{environment.name} allows {', '.join(environment.actions) or 'no action'}; nothing will be applied"
        if environment.rule(plan.kind, destructive=plan.destructive) == "none":
            return f"{environment.name} asks for no approval of {plan.kind}"
        if not self.attended:
            return f"nobody is in front of this run; approve with: runbook approve {self._run.id} --plan {plan.digest}"
        return ask.refusal(plan, environment, self._person, self._run.id)

    def _guards(self, plan: Plan) -> tuple[GuardResult, ...]:
        # The guarded path checks them all again; here a person sees beforehand what it would say.
        try:
            return tuple(actions.bind(plan, self._run).guards(plan, self._run.environment))
        except RunbookError as error:
            return (GuardResult("conditions", False, f"cannot be read now: {error}"),)

    def _decided(self, asked: Asked, word: str, typed: str) -> Decision:
        approval = ""
        if word == "approved":
            folder = self._ledger / "granted"
            approval = str(actions.grant(asked.plan, folder, approver=self._person, known_by=ask.CARD))
            self._granted[asked.plan.digest] = approval
        sentence = ask.sentence(word, typed, asked)
        self._journal("note", {"what": "decision", "plan": asked.plan.digest, "word": word, "text": sentence})
        return Decision(asked.plan, word, sentence, approval, shown=True)
