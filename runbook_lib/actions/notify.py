"""Tell people: a page, a note on its incident, a message that is edited in place, an answer in its thread.

Each is one plan and one request. Its key names the incident, so that the same incident is one page and one message,
however often somebody hands it over. A system that refuses or does not answer in time is an outcome like any other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from runbook_lib.errors import ActionRejectedError
from runbook_lib.model import Environment, Gap, GuardResult, NoPlan, OutcomeStatus, Plan

if TYPE_CHECKING:
    from runbook_lib.actions.propose import Systems

KIND = "notify"
#: Characters of a message's text that Slack asks apps to stay below.
MESSAGE_CHARACTERS = 4000
#: Characters of a note; longer ones belong into the record.
NOTE_CHARACTERS = 4000
_CONTACT = "tell them yourself"


def page(run: Systems, summary: str, *, key: str, details: Mapping[str, str] | None = None) -> Plan | NoPlan:
    """Plan to open the incident of a key in PagerDuty; one that is open gets the event added to it.

    Args:
        run: where it acts.
        summary: title of the incident.
        key: names the incident.
        details: shown with it.
    """
    wanted = {"do": "page", "summary": summary, "details": dict(details or {})}
    return _plan(run, "pagerduty", key, wanted, "resolve the incident in PagerDuty: nobody is called any more")


def note(run: Systems, text: str, *, key: str, sender: str = "") -> Plan | NoPlan:
    """Plan to write a note on the incident of a key in PagerDuty.

    Args:
        run: where it acts.
        text: the note.
        key: names the incident.
        sender: e-mail address of the PagerDuty user who writes it; default: the address among the service's contacts.
    """
    known = (str(one).removeprefix("pagerduty:") for one in run.service.contacts.values())
    address = sender or next((one for one in known if "@" in one), "")
    if not address:
        return NoPlan("a note needs the e-mail address of a PagerDuty user", ("Give it as sender.",))
    wanted = {"do": "note", "text": text[:NOTE_CHARACTERS], "sender": address}
    return _plan(run, "pagerduty", key, wanted, "a note stays; write another one that corrects it")


def message(run: Systems, text: str, *, key: str) -> Plan | NoPlan:
    """Plan to post the message of a key in Slack, or to edit it where it stands.

    Args:
        run: where it acts.
        text: the message.
        key: names the incident.
    """
    wanted = {"do": "message", "text": text[:MESSAGE_CHARACTERS]}
    return _plan(run, "slack", key, wanted, "edit the message, or delete it in Slack")


def answer(run: Systems, text: str, *, key: str) -> Plan | NoPlan:
    """Plan to answer in the thread under the message of a key.

    Args:
        run: where it acts.
        text: the answer.
        key: names the incident.
    """
    wanted = {"do": "answer", "text": text[:MESSAGE_CHARACTERS]}
    return _plan(run, "slack", key, wanted, "delete the answer in Slack")


def _plan(run: Systems, source: str, key: str, wanted: Mapping[str, Any], way_back: str) -> Plan | NoPlan:
    service, environment = run.service, run.environment
    if source not in environment.endpoints:
        who = ", ".join(f"{role}: {address}" for role, address in service.contacts.items())
        return NoPlan(f"{source} is not configured in {environment.name}", (f"{_CONTACT}: {who}",))
    where = str(environment.endpoints[source].settings.get("channel", "incident"))
    plan = Plan(
        kind=KIND,
        service=service.name,
        environment=environment.name,
        target=f"{source}/{where}/{key}",
        before={},
        after=dict(wanted),
        preconditions={"key": key},
        effect="",
        way_back=way_back,
        command=_EQUAL[wanted["do"]],
    )
    return Notify(run).observe(plan)


_EQUAL = {
    "page": "POST https://events.pagerduty.com/v2/enqueue",
    "note": "POST https://api.pagerduty.com/incidents/{id}/notes",
    "message": "POST https://slack.com/api/chat.postMessage",
    "answer": "POST https://slack.com/api/chat.postMessage",
}


@dataclass(frozen=True, slots=True)
class Notify:
    """The kind ``notify``, bound to the run's Slack and PagerDuty."""

    run: Systems

    def observe(self, plan: Plan) -> Plan | NoPlan:
        """The plan against the incident or message as it is now.

        A note and an answer are planned together with what they hang on, which need not be there yet.
        """
        do = plan.after["do"]
        if do in {"note", "answer"}:
            where = "the incident" if do == "note" else "the thread"
            return replace(plan, effect=f"{where} of {plan.preconditions['key']} gets: {_first(plan.after['text'])}")
        if do == "message" and self._by_webhook:
            warning = "a webhook can neither edit nor find its message: a second hand-over is a second message"
            return replace(plan, effect=f"Slack shows: {_first(plan.after['text'])}", warnings=(warning,))
        found = self._found(plan)
        if isinstance(found, Gap):
            contacts = ", ".join(self.run.service.contacts.values())
            return NoPlan(f"{plan.target} cannot be read: {found.reason}", (f"{_CONTACT}: {contacts}",))
        known = found.document
        if do == "message":
            effect = f"the message {'is changed in its place' if known['found'] else 'is posted'}: "
            return replace(plan, before={"ts": known["ts"]}, effect=effect + _first(plan.after["text"]))
        opened = bool(known["found"]) and known["status"] != "resolved"
        effect = (
            "the open incident gets an event" if opened else "an incident is opened and whoever is on call is paged"
        )
        before = {"incident": known["id"] if opened else ""}
        return replace(plan, before=before, effect=f"{effect}: {plan.after['summary']}")

    def guards(self, plan: Plan, environment: Environment) -> Iterator[GuardResult]:
        """Whether there is anything to say, and somebody to say it to."""
        text = str(plan.after.get("text", plan.after.get("summary", ""))).strip()
        yield GuardResult("it says something", bool(text), _first(text) or "the text is empty")

    def send(self, plan: Plan) -> None:
        """Send the one request.

        Raises:
            ActionRejectedError: it was refused, or nothing was sent.
            OutcomeUnknownError: it may have arrived.
        """
        key, after = str(plan.preconditions["key"]), plan.after
        if after["do"] == "page":
            self.run.pagerduty.trigger(
                after["summary"], dedup_key=key, component=plan.service, details=after["details"]
            )
        elif after["do"] == "note":
            self.run.pagerduty.note(self._needed(plan, "id"), after["text"], sender=after["sender"])
        elif after["do"] == "answer":
            self.run.slack.post(after["text"], key=f"{key}/answer", thread=self._needed(plan, "ts"))
        elif self._by_webhook:
            self.run.slack.post_to_webhook(after["text"])
        elif plan.before["ts"]:
            self.run.slack.update(after["text"], channel=self._needed(plan, "channel"), ts=plan.before["ts"])
        else:
            self.run.slack.post(after["text"], key=key)

    def read_back(self, plan: Plan) -> Mapping[str, Any]:
        """The incident or the message as it is now."""
        found = self._found(plan)
        if isinstance(found, Gap):
            return {"unreadable": found.reason}
        names = ("found", "number", "status", "url", "ts", "channel")
        return {name: found.document[name] for name in names if name in found.document}

    def settled(self, plan: Plan, found: Mapping[str, Any]) -> OutcomeStatus:
        """What a request without an answer came to: a message or an incident is there or not; the rest is not told."""
        if "unreadable" in found or plan.after["do"] in {"note", "answer"} or any(plan.before.values()):
            return OutcomeStatus.UNKNOWN
        return OutcomeStatus.APPLIED if found.get("found") else OutcomeStatus.REJECTED

    @property
    def _by_webhook(self) -> bool:
        return "token" not in self.run.environment.endpoints["slack"].secrets

    def _found(self, plan: Plan) -> Any:
        key = str(plan.preconditions["key"])
        return self.run.slack.message(key) if plan.target.startswith("slack/") else self.run.pagerduty.incident(key)

    def _needed(self, plan: Plan, field: str) -> str:
        """A field of what a note or an answer hangs on.

        Raises:
            ActionRejectedError: it is not there.
        """
        found = self._found(plan)
        if isinstance(found, Gap):
            raise ActionRejectedError(f"nothing was sent: {found.reason}")
        if not found.document["found"]:
            raise ActionRejectedError(f"nothing was sent: there is no incident or message {plan.preconditions['key']}")
        return str(found.document[field])


def _first(text: str) -> str:
    line = text.strip().partition("\n")[0]
    return line if len(line) <= 120 else f"{line[:119]}…"
