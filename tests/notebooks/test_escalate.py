"""Handing an incident over, on the lab."""

from __future__ import annotations

import json
import socket
import urllib.parse
import urllib.request
import uuid
from typing import Any

import pytest

from tests.conftest import Practice

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def sent(practice: Practice, vendor: str, key: str) -> list[dict[str, Any]]:
    """What a vendor of the lab was sent about a key."""
    vendors = practice.status["slack_url"].removesuffix("/slack")
    with urllib.request.urlopen(
        f"{vendors}/lab/inbox?{urllib.parse.urlencode({'vendor': vendor})}", timeout=5
    ) as answer:
        return [one for one in json.load(answer) if key in json.dumps(one)]


def test_nothing_is_sent_without_apply_and_each_once_with_it(practice: Practice) -> None:
    """Planned first; then one page, one note, one message and one answer, with what was tried; a replay sends none."""
    key = uuid.uuid4().hex
    earlier = practice.run("verify_fix", "-p", "window_minutes=2")["run_id"]
    words = ("escalate", "-p", f"incident={key}", "-p", "window_minutes=5")
    planned = practice.run(*words)
    assert (4, [], 3) == (len(planned["plans"]), planned["outcomes"], planned["exit_code"])
    assert [] == sent(practice, "pagerduty", key) + sent(practice, "slack", key)
    told = practice.run(*words, "--apply")
    assert ["applied"] * 4 == [one["outcome"] for one in told["outcomes"]]
    assert (2, 2) == (len(sent(practice, "pagerduty", key)), len(sent(practice, "slack", key)))
    assert earlier in json.dumps(sent(practice, "pagerduty", key))
    again = practice.command("records", "replay", told["run_id"], "--json")
    assert ([], 0) == (json.loads(again.stdout)["differences"], again.returncode)
    assert (2, 2) == (len(sent(practice, "pagerduty", key)), len(sent(practice, "slack", key)))


def test_a_slack_that_refuses_keeps_nobody_from_the_pager(practice: Practice) -> None:
    """Nothing listens where Slack should be: the page and its note are sent, and the page says whom to tell by hand."""
    key = uuid.uuid4().hex
    place = practice.folder / "environment.toml"
    text = place.read_text(encoding="utf-8")
    with socket.create_server(("127.0.0.1", 0)) as free:
        dead = f"http://127.0.0.1:{free.getsockname()[1]}/slack"
    place.write_text(text.replace(practice.status["slack_url"], dead), encoding="utf-8")
    try:
        told = practice.run("escalate", "-p", f"incident={key}", "-p", "window_minutes=5", "--apply")
    finally:
        place.write_text(text, encoding="utf-8")
    assert ["applied"] * 2 == [one["outcome"] for one in told["outcomes"]][:2]
    assert ([], True) == (sent(practice, "slack", key), len(sent(practice, "pagerduty", key)) == 2)
    assert told["exit_code"] != 0
