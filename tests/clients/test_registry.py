"""The registry client against the lab's registry, and against named failures."""

from __future__ import annotations

import pytest

from runbook_lib.clients.registry import RegistryClient
from runbook_lib.model import Evidence, Gap


@pytest.fixture
def client(make, vendors) -> RegistryClient:
    made = make(RegistryClient, {"url": f"{vendors.url}/registry", "repository": "acme/api"})
    assert isinstance(made, RegistryClient)
    return made


def test_tag_with_its_digest(client):
    """A tag is found with the digest that names its content."""
    result = client.tag("v1")
    assert isinstance(result, Evidence)
    found = result.document
    assert (True, "v1", ["linux/amd64"]) == (found["found"], found["tag"], found["platforms"])
    assert found["digest"].startswith("sha256:")
    assert found["digest"] != client.tag("v2").document["digest"]


def test_missing_tag_is_an_answer(client):
    """That there is no such tag is evidence."""
    result = client.tag("v999")
    assert isinstance(result, Evidence)
    assert False is result.document["found"]


def test_missing_repository_is_a_gap(make, vendors):
    """A misspelt repository does not look like a missing tag."""
    result = make(RegistryClient, {"url": f"{vendors.url}/registry", "repository": "acme/apii"}).tag("v1")
    assert isinstance(result, Gap)
    assert "empty" == result.kind


def test_newest_tags(client):
    """Tags are listed with their digests."""
    result = client.tags()
    assert isinstance(result, Evidence)
    assert {"v1", "v2"} == {row["tag"] for row in result.table.records()}


@pytest.mark.parametrize(
    ("failure", "kind"), [("401", "denied"), ("429", "unreachable"), ("hang", "timeout"), ("garbage", "answer")]
)
def test_failure_is_a_gap(make, answerer, failure, kind):
    """Every failure is a gap of its kind."""
    answerer.fail(failure)
    settings = {"url": answerer.url, "repository": "acme/api"}
    result = make(RegistryClient, settings, connect_seconds=0.5, total_seconds=0.8).tag("v1")
    assert isinstance(result, Gap)
    assert kind == result.kind
