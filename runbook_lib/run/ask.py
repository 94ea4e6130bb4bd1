"""Asking the person in front of a notebook to approve one exact plan; without one, nothing is asked."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runbook_lib.model import Environment, Evidence, Gap, NoPlan, Objective, Plan, show
from runbook_lib.model.times import clock, utc_now
from runbook_lib.run import clicks
from runbook_lib.run.live import DRAW_SECONDS, Reader, update
from runbook_lib.run.live import show as display

if TYPE_CHECKING:
    from runbook_lib.model import GuardResult

CARD = "card"
#: A front end that shows widgets has shown the card by then, seconds; one that does not never will.
READY_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Decision:
    """What a person said about a plan.

    Args:
        plan: the plan, or that there is none.
        word: ``approved``, ``declined``, ``expired`` (nobody answered in time) or ``not asked``.
        sentence: who, when, and what follows, for a person.
        approval: path of the approval; empty when there is none.
        shown: whether it stands in the output of the cell that asked already.
    """

    plan: Plan | NoPlan
    word: str
    sentence: str
    approval: str = ""
    shown: bool = False

    def __await__(self) -> Generator[Any, None, Decision]:
        # Nobody has to be waited for; a notebook awaits the answer all the same.
        yield from ()
        return self

    def __str__(self) -> str:
        return f"{self.word.upper()}: {self.sentence}"

    __repr__ = __str__

    def bundle(self) -> dict[str, Any]:
        """The plan and what was decided about it, for a display."""
        html = f"{self.plan._repr_html_()}<div>{show.chip('note', self.word)} {show.text(self.sentence)}</div>"
        return {"text/html": html, "text/plain": f"{self.plan}\n{self}"}

    def _ipython_display_(self) -> None:
        if not self.shown:
            display(self.bundle())


@dataclass(frozen=True, slots=True)
class Asked:
    """What a question is about.

    Args:
        plan: what is to be approved.
        environment: where it acts; says who may approve.
        person: who is in front of the notebook.
        run_id: the run that asks.
        seconds: how long the question stands.
        watched: a number to show beside the plan; None for none.
        objective: what that number is held against.
        guards: the conditions as they are now.
    """

    plan: Plan
    environment: Environment
    person: str
    run_id: str
    seconds: float
    watched: Evidence | Gap | None
    objective: Objective | None
    guards: tuple[GuardResult, ...]


Decided = Callable[[str, str], Decision]


def refusal(plan: Plan, environment: Environment, person: str, run_id: str) -> str:
    """Why a card cannot approve this plan, and what can; empty when it can."""
    rule = environment.rule(plan.kind, destructive=plan.destructive)
    command = f"runbook approve {run_id} --plan {plan.digest}"
    if rule == "two":
        return f"{plan.kind} needs a second person, who reads the plan and runs: {command}"
    if CARD not in environment.accepts(rule):
        ways = " or ".join(environment.accepts(rule))
        return f"{environment.name} does not take an approval from a card; it asks for {ways}: {command}"
    people = environment.may_approve(plan.kind)
    if people and person not in people:
        return f"{person} may not approve {plan.kind}; {', '.join(people)} may: {command}"
    return ""


class Question:
    """A question that stands in the output of a cell; ``await`` it, or apply the plan in a later cell.

    Args:
        asked: what it is about.
        decided: writes a decision down; given ``approved``, ``declined`` or ``expired`` and what was typed.
    """

    def __init__(self, asked: Asked, decided: Decided) -> None:
        self._asked, self._decided = asked, decided
        self._until = time.monotonic() + asked.seconds
        self._ready = False
        self._decision: Decision | None = None
        self._answer: tuple[str, str] | None = None
        self._settling = threading.Lock()
        self._waiting: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None
        self._reader = Reader(asked.watched) if asked.watched is not None else None
        self._card, self._handle = None, None
        if not clicks.can_arrive():
            return
        card = _card(asked, self._told)
        if card is not None:
            self._card = card
            self._handle = display({**card_bundle(card), **still(asked)})
            if self._reader is not None:
                self._reader.start()

    def __await__(self) -> Generator[Any, None, Decision]:
        return self._wait().__await__()

    def _ipython_display_(self) -> None:
        # The card is displayed already, also where no cell waits for it.
        return

    async def _wait(self) -> Decision:
        told = asyncio.Event()
        self._waiting = asyncio.get_running_loop(), told
        try:
            await self._click(told)
        finally:
            self._waiting = None
        if self._decision is None:
            self._type()
        assert self._decision is not None
        return self._decision

    async def _click(self, told: asyncio.Event) -> None:
        """Wait until the card is answered, or out of time; also over when no front end has shown it."""
        shown_until = time.monotonic() + READY_SECONDS
        while self._decision is None and self._card is not None:
            if self._answer is not None:
                self._settle(*self._answer)
            elif time.monotonic() > self._until:
                self._settle("expired", "")
            elif not self._ready and time.monotonic() > shown_until:
                return
            else:
                self._draw()
                await clicks.let_in()
                with suppress(TimeoutError):
                    await asyncio.wait_for(told.wait(), DRAW_SECONDS / 2)

    def close(self) -> None:
        """The run ends: an open question is declined, so that the saved notebook holds no dead card."""
        if self._decision is None:
            self._settle("expired", "")

    def _draw(self) -> None:
        from runbook_lib.charts.live import live_address, live_sentence, live_svg

        if self._reader is None or self._card is None:
            return
        latest, objective = self._reader.latest, self._asked.objective
        self._card.sentence = live_sentence(latest, objective)
        self._card.picture = live_address(live_svg(latest, utc_now(), objective))

    def _told(self, message: Mapping[str, Any]) -> None:
        if message.get("kind") == "ready":
            self._ready = True
        elif message.get("kind") == "decision" and self._decision is None and self._answer is None:
            plan = self._asked.plan
            good = message.get("plan") == plan.digest and time.monotonic() <= self._until
            approved = bool(message.get("approved")) and good and message.get("typed") == plan.service
            self._answer = "approved" if approved else "declined", str(message.get("typed", ""))
            if self._waiting is None:
                self._settle(*self._answer)
                return
            # May be another thread than the cell's; the cell settles it, or it would end before its output is there.
            loop, told = self._waiting
            loop.call_soon_threadsafe(told.set)

    def _type(self) -> None:
        """The same question where no card can be shown: a prompt."""
        name = self._asked.plan.service
        update(self._handle, still(self._asked)) if self._handle else display(still(self._asked))
        typed = input(f"type {name} to approve {self._asked.plan.kind} on {self._asked.plan.target}, or nothing: ")
        late = time.monotonic() > self._until
        self._settle("expired" if late else "approved" if typed.strip() == name else "declined", typed)

    def _settle(self, word: str, typed: str) -> None:
        # A click may come in another thread just as the cell begins to wait: it is decided once, and shown before
        # whoever came second goes on.
        with self._settling:
            if self._decision is None:
                self._end(word, typed)

    def _end(self, word: str, typed: str) -> None:
        if self._reader is not None:
            self._reader.stop()
        decision = self._decided(word, typed)
        record = settled(self._asked, decision, self._reader.latest if self._reader else None)
        if self._handle is not None:
            update(self._handle, record)
        else:
            display(record)
        if self._card is not None:
            self._card.close()
        # Last: whoever sees it goes on.
        self._decision = decision


def _card(asked: Asked, told: Callable[[Mapping[str, Any]], None]) -> Any:
    try:
        from runbook_lib.run.card import Card
    except ImportError:
        return None
    plan = asked.plan
    until_ms = (time.time() + asked.seconds) * 1000
    return Card(told, service=plan.service, digest=plan.digest, plan_html=plan_html(asked), until_ms=until_ms)


def card_bundle(card: Any) -> dict[str, Any]:
    """The card's own display data."""
    found = card._repr_mimebundle_()
    data = found[0] if isinstance(found, tuple) else found
    return {mime: value for mime, value in (data or {}).items() if mime != "text/plain"}


def plan_html(asked: Asked) -> str:
    """The plan, its conditions as they are now, and that the approval is good once."""
    rows = [("passed" if one.passed else "REFUSED", one.name, one.reason) for one in asked.guards]
    guards = show.table(("now", "condition", "reason"), rows) if rows else ""
    return asked.plan._repr_html_() + guards


def still(asked: Asked) -> dict[str, Any]:
    """The question for viewers without scripts: the plan, and how it is approved from a terminal."""
    command = f"runbook approve {asked.run_id} --plan {asked.plan.digest}"
    return {
        "text/html": plan_html(asked) + show.facts([("approve", command)]),
        "text/plain": f"{asked.plan}\napprove with: {command}",
    }


def settled(asked: Asked, decision: Decision, watched: Evidence | Gap | None) -> dict[str, Any]:
    """What stays in the notebook: the plan, who decided what and when, and the number at that moment."""
    from runbook_lib.charts.live import live_sentence

    level = {"approved": "healthy", "not asked": "note"}.get(decision.word, "refused")
    facts = [("decision", decision.sentence)]
    if watched is not None:
        facts.append(("then", live_sentence(watched, asked.objective)))
    html = f"<div>{show.chip(level, decision.word)}</div>{show.facts(facts)}{plan_html(asked)}"
    text = "\n".join([str(decision), *(value for _, value in facts[1:]), str(asked.plan)])
    return {"text/html": html, "text/markdown": f"**{decision.word}**: {decision.sentence}", "text/plain": text}


def sentence(word: str, typed: str, asked: Asked) -> str:
    """Who decided what, when."""
    at = f"at {clock(utc_now())} UTC"
    if word == "approved":
        return f"{asked.person} typed {asked.plan.service} {at}; good once, for 15 minutes, for exactly this plan"
    if word == "expired":
        return f"nobody answered within {asked.seconds / 60:.0f} minutes {at}; nothing will be applied"
    told = f"{asked.person} declined {at}" if not typed else f"{typed[:60]!r} is not the service's name ({at})"
    return f"{told}; nothing will be applied"
