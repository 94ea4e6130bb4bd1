"""The PagerDuty endpoints answer as Events API v2 and the REST API do."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from .conftest import Vendors

PAYLOAD = {"summary": "p95 above 200 ms", "source": "api", "severity": "critical"}


def enqueue(vendors: Vendors, **event: Any) -> httpx.Response:
    """Send one event with the right routing key unless another is given."""
    return vendors.client.post(
        "/pagerduty/v2/enqueue", json={"routing_key": vendors.secrets["pagerduty_routing_key"], **event}
    )


def headers(vendors: Vendors) -> dict[str, str]:
    """REST headers with the sender that changes need."""
    return {"Authorization": f"Token token={vendors.secrets['pagerduty_token']}", "From": "oncall@example.com"}


def open_incident(vendors: Vendors, key: str) -> dict[str, Any]:
    """Trigger an incident and read it back."""
    enqueue(vendors, event_action="trigger", dedup_key=key, payload=PAYLOAD)
    found = vendors.client.get("/pagerduty/incidents", params={"incident_key": key}, headers=headers(vendors)).json()
    incident: dict[str, Any] = found["incidents"][-1]
    return incident


def test_same_dedup_key_is_one_incident(vendors: Vendors) -> None:
    """Two triggers with one key open one incident."""
    open_incident(vendors, "same")
    open_incident(vendors, "same")
    found = vendors.client.get("/pagerduty/incidents", params={"incident_key": "same"}, headers=headers(vendors))
    assert 1 == len(found.json()["incidents"])


def test_resolve_closes_and_a_new_trigger_opens_another(vendors: Vendors) -> None:
    """After a resolve the key is free: the next trigger is a new incident."""
    first = open_incident(vendors, "again")
    enqueue(vendors, event_action="resolve", dedup_key="again")
    second = open_incident(vendors, "again")
    assert (
        "resolved"
        == vendors.client.get(f"/pagerduty/incidents/{first['id']}", headers=headers(vendors)).json()["incident"][
            "status"
        ]
    )
    assert first["id"] != second["id"]


def test_enqueue_makes_a_key_when_none_is_given(vendors: Vendors) -> None:
    """The answer is 202 with the key to use from then on."""
    answer = enqueue(vendors, event_action="trigger", payload=PAYLOAD)
    assert 202 == answer.status_code
    assert 32 == len(answer.json()["dedup_key"])


@pytest.mark.parametrize(
    ("event", "error"),
    [
        pytest.param({"event_action": "trigger"}, "'payload.summary' is missing or blank", id="no payload"),
        pytest.param({"event_action": "page"}, "'event_action' is invalid", id="action"),
        pytest.param({"event_action": "resolve"}, "'dedup_key' is missing or blank", id="no key"),
        pytest.param(
            {"event_action": "trigger", "payload": PAYLOAD, "routing_key": "0" * 32}, "'routing_key'", id="key"
        ),
        pytest.param(
            {"event_action": "trigger", "payload": PAYLOAD | {"severity": "high"}}, "'payload.severity'", id="severity"
        ),
    ],
)
def test_invalid_events_are_400(vendors: Vendors, event: dict[str, Any], error: str) -> None:
    """A bad event is 400 with ``invalid event`` and the reason."""
    answer = enqueue(vendors, **event)
    assert (400, "invalid event") == (answer.status_code, answer.json()["status"])
    assert error in answer.json()["errors"][0]


def test_notes_need_a_sender(vendors: Vendors) -> None:
    """A note without the From header is refused, with it it is kept and read back."""
    path = f"/pagerduty/incidents/{open_incident(vendors, 'noted')['id']}/notes"
    token = {"Authorization": headers(vendors)["Authorization"]}
    body = {"note": {"content": "scaled to 5"}}
    assert 400 == vendors.client.post(path, json=body, headers=token).status_code
    assert 201 == vendors.client.post(path, json=body, headers=headers(vendors)).status_code
    assert ["scaled to 5"] == [one["content"] for one in vendors.client.get(path, headers=token).json()["notes"]]


def test_incident_cannot_be_resolved_twice(vendors: Vendors) -> None:
    """The second resolve by REST is 400 ``Incident Already Resolved``."""
    path = f"/pagerduty/incidents/{open_incident(vendors, 'twice')['id']}"
    body = {"incident": {"type": "incident_reference", "status": "resolved"}}
    first, second = (vendors.client.put(path, json=body, headers=headers(vendors)) for _ in range(2))
    assert (200, 400) == (first.status_code, second.status_code)
    assert ["Incident Already Resolved"] == second.json()["error"]["errors"]


def test_routing_key_is_never_kept(vendors: Vendors) -> None:
    """The file of sent messages holds the event without its routing key."""
    enqueue(vendors, event_action="trigger", dedup_key="kept", payload=PAYLOAD)
    kept = (vendors.directory / "vendors.jsonl").read_text()
    assert '"kept"' in kept
    assert vendors.secrets["pagerduty_routing_key"] not in kept


def test_wrong_token_is_401(vendors: Vendors) -> None:
    """The REST API refuses a wrong token in PagerDuty's error shape."""
    answer = vendors.client.get("/pagerduty/incidents", headers={"Authorization": "Token token=wrong"})
    assert (401, 2006) == (answer.status_code, answer.json()["error"]["code"])
