"""The GitHub endpoints show one repository as the REST API does."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import Vendors

REPOSITORY = "/github/repos/acme/api"


def get(vendors: Vendors, path: str, **parameters: Any) -> Any:
    """The JSON of one read without a token."""
    return vendors.client.get(f"{REPOSITORY}{path}", params=parameters).raise_for_status().json()


def test_newest_run_is_not_the_one_to_deploy(vendors: Vendors) -> None:
    """``--limit 1`` finds a run on main that goes on, so its branch is no image tag."""
    newest = get(vendors, "/actions/runs", per_page=1)["workflow_runs"][0]
    assert ("in_progress", None, "main") == (newest["status"], newest["conclusion"], newest["head_branch"])


@pytest.mark.parametrize("tag", ["v1", "v2", "v3", "v2-slow"])
def test_every_tag_has_its_successful_run(vendors: Vendors, tag: str) -> None:
    """The run of a tag was a success on exactly the tag's commit."""
    run = get(vendors, "/actions/runs", branch=tag)["workflow_runs"][0]
    assert "success" == run["conclusion"]
    assert get(vendors, f"/git/ref/tags/{tag}")["object"]["sha"] == run["head_sha"]


@pytest.mark.parametrize("conclusion", ["success", "failure", "cancelled", "in_progress"])
def test_runs_can_be_asked_by_status(vendors: Vendors, conclusion: str) -> None:
    """The status filter takes a status or a conclusion, as GitHub's does."""
    runs = get(vendors, "/actions/runs", status=conclusion)["workflow_runs"]
    assert {conclusion} == {run["conclusion"] or run["status"] for run in runs}


def test_comparison_lists_the_commits_between_two_tags(vendors: Vendors) -> None:
    """v2...v3 is ahead, v3...v2 is behind, and the commits of the first end at v3."""
    forward, backward = get(vendors, "/compare/v2...v3"), get(vendors, "/compare/v3...v2")
    assert ("ahead", "behind") == (forward["status"], backward["status"])
    assert (forward["ahead_by"], "Release v3") == (backward["behind_by"], forward["commits"][-1]["commit"]["message"])
    assert len(forward["commits"]) == forward["total_commits"]


def test_pages_follow_the_link_header(vendors: Vendors) -> None:
    """Walking ``rel="next"`` gives every commit once."""
    seen, url = [], f"{REPOSITORY}/commits?per_page=5"
    while url:
        answer = vendors.client.get(url)
        seen += [one["sha"] for one in answer.json()]
        url = answer.links.get("next", {}).get("url", "")
    assert [one["sha"] for one in get(vendors, "/commits", per_page=100)] == seen


def test_unchanged_answer_is_304(vendors: Vendors) -> None:
    """An If-None-Match with the answer's ETag gives 304."""
    first = vendors.client.get(f"{REPOSITORY}/tags")
    again = vendors.client.get(f"{REPOSITORY}/tags", headers={"If-None-Match": first.headers["ETag"]})
    assert 304 == again.status_code


@pytest.mark.parametrize(
    ("path", "token", "status"),
    [
        pytest.param("/actions/runs", "wrong", 401, id="bad credentials"),
        pytest.param("/actions/runs/1", "", 404, id="unknown run"),
        pytest.param("/git/ref/tags/v99", "", 404, id="unknown tag"),
        pytest.param("/commits/0000000", "", 422, id="unknown commit"),
        pytest.param("/../other", "", 404, id="unknown repository"),
    ],
)
def test_refusals_have_githubs_shape(vendors: Vendors, path: str, token: str, status: int) -> None:
    """An error carries message, documentation_url and the status as text."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    answer = vendors.client.get(f"{REPOSITORY}{path}", headers=headers)
    assert (status, str(status)) == (answer.status_code, answer.json()["status"])


def test_dispatch_needs_a_token_and_is_kept(vendors: Vendors) -> None:
    """A workflow dispatch is 401 without a token, 204 with one, and is remembered."""
    path, body = f"{REPOSITORY}/actions/workflows/ci.yml/dispatches", {"ref": "main", "inputs": {"tag": "v2"}}
    headers = {"Authorization": f"Bearer {vendors.secrets['github_token']}"}
    assert 401 == vendors.client.post(path, json=body).status_code
    assert 204 == vendors.client.post(path, json=body, headers=headers).status_code
    assert {"workflow": "ci.yml", **body} == vendors.sent("github")[-1]["data"]
