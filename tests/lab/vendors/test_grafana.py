"""The Grafana endpoints answer as Grafana's HTTP API does."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import Vendors

API = "/grafana/api"


def headers(vendors: Vendors) -> dict[str, str]:
    """The right service account token."""
    return {"Authorization": f"Bearer {vendors.secrets['grafana_token']}"}


def get(vendors: Vendors, path: str, **parameters: Any) -> Any:
    """The JSON of one authorised read."""
    return vendors.client.get(f"{API}{path}", params=parameters, headers=headers(vendors)).raise_for_status().json()


def annotate(vendors: Vendors, **body: Any) -> int:
    """Post one annotation and return its id."""
    answer = vendors.client.post(f"{API}/annotations", json=body, headers=headers(vendors)).raise_for_status().json()
    return int(answer["id"])


def test_health_needs_no_token(vendors: Vendors) -> None:
    """The health endpoint is open and says the database is ok."""
    assert "ok" == vendors.client.get(f"{API}/health").json()["database"]


@pytest.mark.parametrize(
    ("given", "message_id"),
    [
        pytest.param({}, "auth.unauthorized", id="none"),
        pytest.param({"Authorization": "Bearer x"}, "api-key.invalid", id="wrong"),
    ],
)
def test_token_is_checked(vendors: Vendors, given: dict[str, str], message_id: str) -> None:
    """No token and a wrong token are both 401, each with its message id."""
    answer = vendors.client.get(f"{API}/search", headers=given)
    assert (401, message_id) == (answer.status_code, answer.json()["messageId"])


def test_search_hit_leads_to_the_dashboard(vendors: Vendors) -> None:
    """The uid of a search hit opens its dashboard, whose panels all have a query."""
    hit = get(vendors, "/search", query="api")[0]
    board = get(vendors, f"/dashboards/uid/{hit['uid']}")["dashboard"]
    assert hit["title"] == board["title"]
    assert all(target["expr"] for panel in board["panels"] for target in panel["targets"])


def test_unknown_dashboard_is_404(vendors: Vendors) -> None:
    """An unknown uid gives Grafana's not-found body."""
    answer = vendors.client.get(f"{API}/dashboards/uid/nope", headers=headers(vendors))
    assert (404, "Dashboard not found") == (answer.status_code, answer.json()["message"])


def test_annotations_are_found_by_time_and_tag(vendors: Vendors) -> None:
    """The time range and the tags choose; several tags must all match unless matchAny is set."""
    deploy = annotate(vendors, text="v2", tags=["deploy", "api"], time=1_000_000)
    other = annotate(vendors, text="drill", tags=["drill"], time=2_000_000)
    both = {"from": 0, "to": 3_000_000}
    assert [other, deploy] == [one["id"] for one in get(vendors, "/annotations", **both)]
    assert [deploy] == [one["id"] for one in get(vendors, "/annotations", **both, tags="deploy")]
    assert [deploy] == [one["id"] for one in get(vendors, "/annotations", **{"from": 0, "to": 1_500_000})]
    assert [] == get(vendors, "/annotations", **both, tags=["deploy", "drill"])
    assert 2 == len(get(vendors, "/annotations", **both, tags=["deploy", "drill"], matchAny="true"))


def test_annotation_can_be_ended_and_deleted(vendors: Vendors) -> None:
    """PATCH sets the end of an annotation, DELETE removes it."""
    number = annotate(vendors, text="incident", time=9_000_000)
    path = f"{API}/annotations/{number}"
    vendors.client.patch(path, json={"timeEnd": 9_500_000}, headers=headers(vendors)).raise_for_status()
    window = {"from": 9_400_000, "to": 9_600_000}
    assert [number] == [one["id"] for one in get(vendors, "/annotations", **window)]
    vendors.client.delete(path, headers=headers(vendors)).raise_for_status()
    assert [] == get(vendors, "/annotations", **window)


def test_annotation_without_text_is_refused(vendors: Vendors) -> None:
    """An empty text is 400 with Grafana's message."""
    answer = vendors.client.post(f"{API}/annotations", json={"tags": ["x"]}, headers=headers(vendors))
    assert (400, "Failed to save annotation") == (answer.status_code, answer.json()["message"])


def test_proxy_says_when_the_store_is_down(vendors: Vendors) -> None:
    """The data source proxy of a store that does not answer is 502, never an empty result."""
    path = f"{API}/datasources/proxy/uid/prometheus/api/v1/query?query=up"
    assert 502 == vendors.client.get(path, headers=headers(vendors)).status_code
