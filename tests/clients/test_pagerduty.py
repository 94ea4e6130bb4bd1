"""The PagerDuty client against the lab's PagerDuty, and against named failures."""

from __future__ import annotations

import uuid

import pytest

from runbook_lib.clients.pagerduty import PagerDutyClient
from runbook_lib.errors import ActionRejectedError, OutcomeUnknownError
from runbook_lib.model import Evidence, Gap


@pytest.fixture
def client(make, vendors) -> PagerDutyClient:
    secrets = {"routing_key": vendors.secret("pagerduty_routing_key"), "token": vendors.secret("pagerduty_token")}
    made = make(PagerDutyClient, {"url": f"{vendors.url}/pagerduty"}, secrets=secrets)
    assert isinstance(made, PagerDutyClient)
    return made


@pytest.fixture
def failing(make, answerer, monkeypatch) -> PagerDutyClient:
    """A client of the server with named failures."""
    monkeypatch.setenv("PD_KEY", "canary-routing-key")
    monkeypatch.setenv("PD_TOKEN", "canary-rest-token")
    secrets = {"routing_key": "env:PD_KEY", "token": "env:PD_TOKEN"}
    made = make(PagerDutyClient, {"url": answerer.url}, secrets=secrets, connect_seconds=0.5, total_seconds=0.8)
    assert isinstance(made, PagerDutyClient)
    return made


def test_incident_from_trigger_to_resolve(client):
    """An event opens the incident of its key once; acknowledge and resolve change it."""
    key = uuid.uuid4().hex
    details, links = {"p95": "612 ms"}, {"record": "https://example.com/record"}
    assert {"dedup_key": key} == client.trigger(
        "p95 latency above 200 ms", dedup_key=key, component="api", details=details, links=links
    )
    opened = client.incident(key)
    assert isinstance(opened, Evidence)
    client.trigger("again", dedup_key=key, component="api")
    client.acknowledge(dedup_key=key)
    assert ("acknowledged", opened.document["id"]) == (
        client.incident(key).document["status"],
        client.incident(key).document["id"],
    )
    client.resolve(dedup_key=key)
    assert "resolved" == client.incident(key).document["status"]


def test_note_on_an_incident(client, vendors):
    """A note is written once, in the name of its sender."""
    key = uuid.uuid4().hex
    client.trigger("slow", dedup_key=key, component="api")
    identity = client.incident(key).document["id"]
    assert client.note(identity, f"scaled to 5 {key}", sender="oncall@example.com")["id"]
    assert 1 == len([one for one in vendors.sent("pagerduty") if f"scaled to 5 {key}" in str(one)])


def test_unknown_key_has_no_incident(client):
    """That no incident has the key is an answer."""
    found = client.incident("no-such-key")
    assert isinstance(found, Evidence)
    assert False is found.document["found"]


def test_who_is_on_call(client):
    """Each level of the policy has its person."""
    found = client.on_call()
    assert isinstance(found, Evidence)
    assert len(found.table) >= 1


@pytest.mark.parametrize(
    ("url", "events"),
    [
        ("http://127.0.0.1:1/pagerduty", "http://127.0.0.1:1/pagerduty"),
        ("http://api.eu.invalid", "http://events.eu.invalid"),
    ],
)
def test_events_go_to_their_own_host(make, monkeypatch, url, events):
    """PagerDuty takes events at another host than the REST API's; a lab at the same."""
    monkeypatch.setenv("PD_KEY", "routing-key")
    asked: list[str] = []
    client = make(PagerDutyClient, {"url": url}, secrets={"routing_key": "env:PD_KEY"})
    original = client._http_to
    monkeypatch.setattr(client, "_http_to", lambda address: asked.append(address) or original(address))
    with pytest.raises(ActionRejectedError):
        client.resolve(dedup_key="k")
    assert [events] == asked


@pytest.mark.parametrize("failure", ["500", "reset", "hang", "garbage"])
def test_event_without_a_clear_answer_is_unknown_and_sent_once(failing, answerer, failure):
    """Whatever leaves the effect open is unknown; it is not sent again, and no key is shown."""
    answerer.fail(failure)
    with pytest.raises(OutcomeUnknownError) as raised:
        failing.trigger("x", dedup_key="k", component="api")
    assert 1 == len(answerer.requests)
    assert "canary" not in str(raised.value)


def test_wrong_routing_key_is_rejected_without_showing_it(failing, answerer):
    """PagerDuty's refusal is a rejection in its own words."""
    answerer.always(
        400, {"status": "invalid event", "message": "Event object is invalid", "errors": ["canary-routing-key"]}
    )
    with pytest.raises(ActionRejectedError, match="Event object is invalid") as raised:
        failing.resolve(dedup_key="k")
    assert "canary" not in str(raised.value)


def test_wrong_token_is_denied(failing, answerer):
    """A refused read is a gap of kind denied."""
    answerer.fail("401")
    result = failing.incident("k")
    assert isinstance(result, Gap)
    assert "denied" == result.kind


def test_incident_id_cannot_leave_its_path(failing, answerer):
    """An id that is none is refused before anything is sent."""
    with pytest.raises(ActionRejectedError, match="no id of an incident"):
        failing.note("../services", "x", sender="a@example.com")
    assert [] == answerer.requests
