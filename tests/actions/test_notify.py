"""Telling people: each message once, edited in its place, and no failure of Slack or PagerDuty is a crash."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from runbook_lib import actions
from runbook_lib.actions.notify import Notify, answer, message, note, page
from runbook_lib.actions.protocol import Context
from runbook_lib.clients.pagerduty import PagerDutyClient
from runbook_lib.clients.slack import SlackClient
from runbook_lib.model import Endpoint, Environment, NoPlan, Outcome, Plan
from tests.clients.conftest import answerer, kept, make, vendors, window

__all__ = ["answerer", "kept", "make", "vendors", "window"]

CONTACTS = {"primary": "slack:#platform-oncall", "secondary": "pagerduty:platform-escalation@example.com"}


def run_with(build: Any, slack: dict[str, Any], pagerduty: dict[str, Any], secrets: dict[str, Any], **more: Any) -> Any:
    """What a message needs of a run."""
    clients = {
        "slack": build(SlackClient, slack, secrets=secrets["slack"], **more),
        "pagerduty": build(PagerDutyClient, pagerduty, secrets=secrets["pagerduty"], **more),
    }
    endpoints = {"slack": Endpoint("slack", slack, secrets["slack"])}
    endpoints |= {"pagerduty": Endpoint("pagerduty", pagerduty, secrets["pagerduty"])}
    environment = Environment("prod", "", ("notify",), {"notify": "none"}, endpoints)
    return SimpleNamespace(service=SimpleNamespace(name="api", contacts=CONTACTS), environment=environment, **clients)


@pytest.fixture
def run(make: Any, vendors: Any) -> Any:
    """A run whose Slack and PagerDuty are the lab's."""
    secrets = {
        "slack": {"token": vendors.secret("slack_token")},
        "pagerduty": {
            "routing_key": vendors.secret("pagerduty_routing_key"),
            "token": vendors.secret("pagerduty_token"),
        },
    }
    slack = {"url": f"{vendors.url}/slack", "channel": "#api-alerts"}
    return run_with(make, slack, {"url": f"{vendors.url}/pagerduty"}, secrets)


@pytest.fixture
def send(context: Context) -> Callable[[Any, Plan | NoPlan], Outcome]:
    """Applies a plan through the guarded path, each time as a run of its own."""

    def sends(run: Any, plan: Plan | NoPlan) -> Outcome:
        assert isinstance(plan, Plan), plan
        once = replace(context, environment=run.environment, run_id=f"run-{uuid.uuid4().hex}")
        return actions.apply(Notify(run), plan, once)

    return sends


@pytest.fixture
def key() -> str:
    """A key that no other test uses."""
    return f"api/prod/{uuid.uuid4().hex}"


def test_an_incident_is_opened_once(run: Any, send: Any, key: str) -> None:
    """The second hand-over of the same incident adds an event to it and pages nobody anew."""
    first = page(run, "p95 is 600 ms", key=key)
    assert isinstance(first, Plan)
    assert "is paged" in first.effect
    opened = send(run, first)
    second = page(run, "p95 is 900 ms", key=key)
    assert isinstance(second, Plan)
    assert "open incident gets an event" in second.effect
    assert opened.read_back["number"] == send(run, second).read_back["number"]


def test_a_message_is_edited_in_its_place(run: Any, send: Any, key: str, vendors: Any) -> None:
    """Two hand-overs are one message that says the newest."""
    sent = [send(run, message(run, text, key=key)).read_back["ts"] for text in ("first", "second")]
    assert 1 == len(set(sent))
    assert 1 == len([one for one in vendors.sent("slack", "chat.postMessage") if key in str(one)])
    assert "second" == run.slack.message(key).document["text"]


def test_a_note_and_an_answer_hang_on_what_was_sent_before(run: Any, send: Any, key: str, vendors: Any) -> None:
    """They are planned together with the page and the message, and find them when they are sent."""
    plans = [
        page(run, "slow", key=key),
        note(run, f"tried {key}", key=key),
        message(run, "slow", key=key),
        answer(run, f"record {key}", key=key),
    ]
    assert ["applied"] * 4 == [str(send(run, plan).status) for plan in plans]
    assert f"tried {key}" in str(vendors.sent("pagerduty"))
    replies = [one for one in vendors.sent("slack", "chat.postMessage") if f"record {key}" in str(one)]
    assert [True] == ["thread_ts" in str(one) for one in replies]


def test_a_note_without_an_incident_sends_nothing(run: Any, send: Any, key: str) -> None:
    """What it should hang on is not there: rejected, and nothing was sent."""
    outcome = send(run, note(run, "tried", key=key))
    assert ("rejected", True) == (str(outcome.status), "nothing was sent" in outcome.reason)


@pytest.mark.parametrize(
    ("failure", "status"),
    [("reset", "unknown"), ("hang", "unknown"), ("slow body", "unknown")],
)
def test_a_webhook_that_fails_is_an_outcome(
    make: Any,
    answerer: Any,
    send: Any,
    key: str,
    monkeypatch: Any,
    failure: str,
    status: str,
) -> None:
    """A slow or broken webhook leaves the outcome unknown within its deadline; nothing is sent a second time."""
    monkeypatch.setenv("HOOK", f"{answerer.url}/services/T/B/secret-of-the-webhook")
    secrets: dict[str, Any] = {"slack": {"webhook": "env:HOOK"}, "pagerduty": {}}
    slow = {"connect_seconds": 0.5, "total_seconds": 0.8}
    run = run_with(make, {}, {"url": answerer.url}, secrets, **slow)
    answerer.fail(failure)
    outcome = send(run, message(run, "slow", key=key))
    assert (status, 1) == (str(outcome.status), len(answerer.requests))
    assert "secret-of-the-webhook" not in str(outcome.to_json())


def test_a_webhook_that_refuses_is_an_outcome(
    make: Any,
    answerer: Any,
    send: Any,
    key: str,
    monkeypatch: Any,
) -> None:
    """A webhook that was revoked rejects the message."""
    monkeypatch.setenv("HOOK", f"{answerer.url}/services/T/B/secret-of-the-webhook")
    run = run_with(make, {}, {"url": answerer.url}, {"slack": {"webhook": "env:HOOK"}, "pagerduty": {}})
    answerer.always(403, {"error": "invalid_token"})
    assert "rejected" == str(send(run, message(run, "slow", key=key)).status)


def test_an_unreachable_slack_leads_to_the_contacts(make: Any, dead: str, key: str) -> None:
    """Where it cannot be told whether the message is there, none is planned, and a person learns whom to call."""
    secrets = {"slack": {"token": "env:PATH"}, "pagerduty": {"token": "env:PATH", "routing_key": "env:PATH"}}
    run = run_with(make, {"url": dead, "channel": "#a"}, {"url": dead}, secrets)
    for plan in (message(run, "slow", key=key), page(run, "slow", key=key)):
        assert isinstance(plan, NoPlan)
        assert "platform-escalation@example.com" in plan.advice[0]


@pytest.fixture
def dead(free_port_number: int) -> str:
    """An address where nobody listens."""
    return f"http://127.0.0.1:{free_port_number}"


@pytest.fixture
def free_port_number() -> int:
    """A port on which nobody listens."""
    import socket

    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return int(held.getsockname()[1])
