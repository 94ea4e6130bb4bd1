"""The Slack endpoints answer as Slack's webhook and Web API do."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import Vendors


def call(vendors: Vendors, method: str, body: dict[str, Any], token: str | None = None) -> dict[str, Any]:
    """One Web API call with the right token unless another is given."""
    given = vendors.secrets["slack_token"] if token is None else token
    headers = {"Authorization": f"Bearer {given}"} if given else {}
    answer: dict[str, Any] = vendors.client.post(f"/slack/api/{method}", json=body, headers=headers).json()
    return answer


def test_webhook_takes_a_message(vendors: Vendors) -> None:
    """The incoming webhook answers ``ok`` as text and keeps the message."""
    answer = vendors.client.post(f"/slack/{vendors.secrets['slack_webhook_path']}", json={"text": "rolled back"})
    assert (200, "ok") == (answer.status_code, answer.text)
    assert {"text": "rolled back"} == vendors.sent("slack", "webhook")[-1]["data"]


@pytest.mark.parametrize(
    ("path", "content", "expected"),
    [
        pytest.param("services/T1/B1/wrong", b'{"text": "x"}', (404, "no_service"), id="unknown webhook"),
        pytest.param("", b"{", (400, "invalid_payload"), id="not JSON"),
        pytest.param("", b"[]", (400, "invalid_payload"), id="not an object"),
        pytest.param("", b"{}", (400, "no_text"), id="no text"),
    ],
)
def test_webhook_refuses(vendors: Vendors, path: str, content: bytes, expected: tuple[int, str]) -> None:
    """The webhook refuses with Slack's status and word."""
    answer = vendors.client.post(f"/slack/{path or vendors.secrets['slack_webhook_path']}", content=content)
    assert expected == (answer.status_code, answer.text)


def test_message_can_be_posted_changed_and_read(vendors: Vendors) -> None:
    """A message's ts names it: chat.update changes it and the history shows the change."""
    posted = call(vendors, "chat.postMessage", {"channel": "#api-alerts", "text": "high latency"})
    changed = call(vendors, "chat.update", {"channel": posted["channel"], "ts": posted["ts"], "text": "resolved"})
    history = call(vendors, "conversations.history", {"channel": posted["channel"]})
    assert (True, True) == (posted["ok"], changed["ok"])
    assert "resolved" == next(one["text"] for one in history["messages"] if one["ts"] == posted["ts"])


def test_replies_are_kept_in_their_thread(vendors: Vendors) -> None:
    """A reply shows in its thread and not in the channel."""
    root = call(vendors, "chat.postMessage", {"channel": "api-alerts", "text": "root"})
    reply = call(vendors, "chat.postMessage", {"channel": "api-alerts", "text": "reply", "thread_ts": root["ts"]})
    thread = call(vendors, "conversations.replies", {"channel": root["channel"], "ts": root["ts"]})
    history = call(vendors, "conversations.history", {"channel": root["channel"]})
    assert [root["ts"], reply["ts"]] == [one["ts"] for one in thread["messages"]]
    assert reply["ts"] not in [one["ts"] for one in history["messages"]]


@pytest.mark.parametrize(
    ("method", "body", "token", "error"),
    [
        pytest.param("auth.test", {}, "xoxb-wrong", "invalid_auth", id="wrong token"),
        pytest.param("auth.test", {}, "", "not_authed", id="no token"),
        pytest.param("chat.postMessage", {"channel": "#nowhere", "text": "x"}, None, "channel_not_found", id="channel"),
        pytest.param("chat.postMessage", {"channel": "#api-alerts"}, None, "no_text", id="empty message"),
        pytest.param(
            "chat.update", {"channel": "#api-alerts", "ts": "1.0", "text": "x"}, None, "message_not_found", id="ts"
        ),
        pytest.param("chat.nothing", {}, None, "unknown_method", id="method"),
    ],
)
def test_web_api_errors_are_200_with_ok_false(
    vendors: Vendors, method: str, body: dict[str, Any], token: str | None, error: str
) -> None:
    """An error of the Web API is a 200 with ``ok: false`` and a word."""
    answer = call(vendors, method, body, token)
    assert (False, error) == (answer["ok"], answer["error"])


def test_rate_limit_comes_on_demand_and_ends(vendors: Vendors) -> None:
    """A limited call is 429 with Retry-After; the next one passes."""
    vendors.client.put("/slack/lab", json={"rate_limit_next": 1, "retry_after_seconds": 7})
    path = f"/slack/{vendors.secrets['slack_webhook_path']}"
    first, second = (vendors.client.post(path, json={"text": "x"}) for _ in range(2))
    assert (429, "7", 200) == (first.status_code, first.headers["Retry-After"], second.status_code)


def test_credentials_are_never_kept(vendors: Vendors) -> None:
    """A token sent as a form field does not reach the file of sent messages."""
    token = vendors.secrets["slack_token"]
    form = {"token": token, "channel": "#api-alerts", "text": "by form"}
    assert vendors.client.post("/slack/api/chat.postMessage", data=form).json()["ok"]
    kept = (vendors.directory / "vendors.jsonl").read_text()
    assert "by form" in kept
    assert token not in kept
