"""The registry endpoints answer as Docker Hub's two APIs do."""

from __future__ import annotations

import hashlib
import re

import httpx
import pytest

from .conftest import Vendors


def pull(vendors: Vendors, method: str, path: str) -> httpx.Response:
    """One registry request with the anonymous token that its challenge points at."""
    challenge = vendors.client.request(method, f"/registry{path}").headers["Www-Authenticate"]
    realm = re.search(r'realm="([^"]+)"', challenge)
    assert realm is not None
    token = vendors.client.get(realm[1]).json()["token"]
    return vendors.client.request(method, f"/registry{path}", headers={"Authorization": f"Bearer {token}"})


def test_manifest_needs_a_token(vendors: Vendors) -> None:
    """Without a token the answer is 401 with the realm, service and scope to ask for."""
    answer = vendors.client.head("/registry/v2/acme/api/manifests/v1")
    assert 401 == answer.status_code
    assert 'scope="repository:acme/api:pull"' in answer.headers["Www-Authenticate"]


def test_digest_is_that_of_the_manifest(vendors: Vendors) -> None:
    """HEAD names the SHA-256 of the bytes that GET returns, and the digest finds the same manifest."""
    named = pull(vendors, "HEAD", "/v2/acme/api/manifests/v2").headers["Docker-Content-Digest"]
    content = pull(vendors, "GET", "/v2/acme/api/manifests/v2").content
    assert f"sha256:{hashlib.sha256(content).hexdigest()}" == named
    assert content == pull(vendors, "GET", f"/v2/acme/api/manifests/{named}").content


def test_hub_and_registry_agree(vendors: Vendors) -> None:
    """The Hub API lists the registry's tags with the registry's digests."""
    listed = vendors.client.get("/registry/v2/repositories/acme/api/tags/").json()
    named = {tag["name"]: tag["digest"] for tag in listed["results"]}
    assert sorted(named) == pull(vendors, "GET", "/v2/acme/api/tags/list").json()["tags"]
    assert pull(vendors, "HEAD", "/v2/acme/api/manifests/v1").headers["Docker-Content-Digest"] == named["v1"]


@pytest.mark.parametrize(
    ("path", "code"),
    [
        pytest.param("/v2/acme/api/manifests/v99", "MANIFEST_UNKNOWN", id="tag"),
        pytest.param("/v2/acme/other/manifests/v1", "NAME_UNKNOWN", id="repository"),
    ],
)
def test_unknown_names_are_404(vendors: Vendors, path: str, code: str) -> None:
    """What the registry does not hold is 404 with the registry's error code."""
    answer = pull(vendors, "GET", path)
    assert (404, code) == (answer.status_code, answer.json()["errors"][0]["code"])


def test_unknown_hub_tag_is_404(vendors: Vendors) -> None:
    """The Hub API answers an unknown tag with 404 and a message."""
    answer = vendors.client.get("/registry/v2/repositories/acme/api/tags/v99/")
    assert 404 == answer.status_code
    assert "v99" in answer.json()["message"]
