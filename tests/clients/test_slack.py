"""The Slack client against the lab's Slack, and against named failures."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from runbook_lib.clients.slack import SlackClient
from runbook_lib.errors import ActionRejectedError, OutcomeUnknownError
from runbook_lib.model import Evidence, Gap

CANARY = "xoxb-canary-0123456789"


@pytest.fixture
def client(make, vendors) -> SlackClient:
    secrets = {"token": vendors.secret("slack_token"), "webhook": vendors.secret("slack_webhook_url")}
    made = make(SlackClient, {"url": f"{vendors.url}/slack", "channel": "#api-alerts"}, secrets=secrets)
    assert isinstance(made, SlackClient)
    return made


@pytest.fixture
def failing(make, answerer, monkeypatch) -> SlackClient:
    """A client of the server with named failures."""
    monkeypatch.setenv("SLACK_TOKEN", CANARY)
    monkeypatch.setenv("SLACK_WEBHOOK", f"{answerer.url}/services/T1/B1/canarywebhook")
    secrets = {"token": "env:SLACK_TOKEN", "webhook": "env:SLACK_WEBHOOK"}
    settings = {"url": answerer.url, "channel": "#api-alerts"}
    made = make(SlackClient, settings, secrets=secrets, connect_seconds=0.5, total_seconds=0.8)
    assert isinstance(made, SlackClient)
    return made


def test_message_is_posted_edited_and_found(client, vendors):
    """One message is posted, changed in its place, and found again by its key."""
    key = uuid.uuid4().hex
    sent = client.post("investigating", key=key)
    assert sent == client.update("resolved", channel=sent["channel"], ts=sent["ts"])
    assert 1 == len([one for one in vendors.sent("slack", "chat.postMessage") if key in str(one)])
    found = client.message(key)
    assert isinstance(found, Evidence)
    assert (True, sent["ts"], "resolved") == (found.document["found"], found.document["ts"], found.document["text"])


def test_message_that_was_never_posted_is_not_found(client):
    """That no message has the key is an answer."""
    found = client.message("no-such-key")
    assert isinstance(found, Evidence)
    assert False is found.document["found"]


def test_answer_goes_into_the_thread(client, vendors):
    """A message in a thread names the message that it answers."""
    key = uuid.uuid4().hex
    first = client.post("incident", key=key)
    client.post("details", key=f"{key}-2", thread=first["ts"])
    assert first["ts"] in str([one for one in vendors.sent("slack", "chat.postMessage") if f"{key}-2" in str(one)])


def test_webhook_posts_once(client, vendors):
    """The incoming webhook takes one message."""
    text = f"API deployment rolled back {uuid.uuid4().hex}"
    client.post_to_webhook(text)
    assert 1 == len([one for one in vendors.sent("slack", "webhook") if text in str(one)])


def test_identity_of_the_token(client):
    """The token's user is told, for a preflight."""
    found = client.identity()
    assert isinstance(found, Evidence)
    assert found.document["user"]


def test_unknown_channel_is_rejected(client):
    """Slack's own refusal, which comes with status 200, is a rejection."""
    with pytest.raises(ActionRejectedError, match="Slack refused"):
        client.update("x", channel="C000", ts="1.0")


@pytest.mark.parametrize("failure", ["500", "503", "reset", "closed", "hang", "garbage", "other json"])
def test_post_without_a_clear_answer_is_unknown_and_sent_once(failing, answerer, failure):
    """Whatever leaves open whether the message is there is unknown; it is not sent again."""
    answerer.fail(failure)
    with pytest.raises(OutcomeUnknownError) as raised:
        failing.post("x", key="k")
    assert 1 == len(answerer.requests)
    assert "canary" not in str(raised.value)


@pytest.mark.parametrize("failure", ["401", "403", "429", "redirect"])
def test_webhook_that_refuses_is_a_rejection_without_its_address(failing, answerer, failure):
    """The webhook's address is a secret, so no error shows it."""
    answerer.fail(failure)
    with pytest.raises(ActionRejectedError) as raised:
        failing.post_to_webhook("x")
    assert 1 == len(answerer.requests)
    assert "canary" not in str(raised.value)


def test_webhook_that_cannot_be_reached_is_a_rejection(make, dead_port, monkeypatch):
    """Where nothing was sent nothing was posted, and the address stays secret."""
    monkeypatch.setenv("SLACK_WEBHOOK", f"http://127.0.0.1:{dead_port}/services/T1/B1/canarywebhook")
    client = make(SlackClient, {}, secrets={"webhook": "env:SLACK_WEBHOOK"})
    with pytest.raises(ActionRejectedError, match="nothing was sent") as raised:
        client.post_to_webhook("x")
    assert "canary" not in str(raised.value)


def test_wrong_token_is_denied(failing, answerer):
    """Slack says invalid_auth with status 200."""
    answerer.always(200, {"ok": False, "error": "invalid_auth"})
    result = failing.identity()
    assert isinstance(result, Gap)
    assert "denied" == result.kind


@pytest.mark.parametrize("call", ["post", "post_to_webhook"])
def test_missing_configuration_is_a_rejection(make, call):
    """Without an endpoint nothing is sent, and it is said."""
    client: Any = make(SlackClient, None)
    with pytest.raises(ActionRejectedError, match="not configured"):
        client.post("x", key="k") if call == "post" else client.post_to_webhook("x")
