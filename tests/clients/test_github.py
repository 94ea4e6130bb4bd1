"""The GitHub client against the lab's GitHub, and against named failures."""

from __future__ import annotations

from typing import Any

import pytest

from runbook_lib.clients.github import GitHubClient
from runbook_lib.lab.vendors import github_history
from runbook_lib.model import Evidence, Gap


@pytest.fixture
def client(make, vendors) -> GitHubClient:
    settings = {"url": f"{vendors.url}/github", "repository": "acme/api"}
    made = make(GitHubClient, settings, secrets={"token": vendors.secret("github_token")})
    assert isinstance(made, GitHubClient)
    return made


@pytest.fixture
def failing(make, answerer) -> GitHubClient:
    """A client of the server with named failures."""
    made = make(GitHubClient, {"url": answerer.url, "repository": "acme/api"}, connect_seconds=0.5, total_seconds=0.8)
    assert isinstance(made, GitHubClient)
    return made


def test_runs_of_the_exact_commit(client):
    """Only runs of the asked commit are read, with their conclusion."""
    tag, sha = next(iter(github_history.tags().items()))
    result = client.runs(sha)
    assert isinstance(result, Evidence)
    rows = result.table.records()
    assert {sha} == {row["commit"] for row in rows}
    assert "success" in {row["conclusion"] for row in rows}, tag


def test_run_that_still_goes_has_no_conclusion(client):
    """A run in progress is not a success."""
    rows = client.runs().table.records()
    assert "" in {row["conclusion"] for row in rows if row["status"] != "completed"}
    assert sorted((row["started_at"] for row in rows), reverse=True) == [row["started_at"] for row in rows]


def test_commit_without_runs_is_a_gap(client):
    """Nothing says that CI has passed, so it has not."""
    result = client.runs("0" * 40)
    assert isinstance(result, Gap)
    assert "empty" == result.kind


def test_tag_names_its_commit(client):
    """A tag leads to the SHA of its commit, and that to its message."""
    tag, sha = list(github_history.tags().items())[-1]
    found = client.tag(tag)
    assert isinstance(found, Evidence)
    assert (True, sha) == (found.document["found"], found.document["sha"])
    commit = client.commit(tag)
    assert isinstance(commit, Evidence)
    assert sha == commit.document["sha"]


def test_missing_tag_is_an_answer(client):
    """That there is no such tag is evidence."""
    assert False is client.tag("v999").document["found"]


def test_annotated_tag_is_followed(failing, answerer):
    """An annotated tag is an object of its own; the commit is behind it."""
    answerer.by_path(
        {
            "/repos/acme/api/git/ref/tags/v1": {"object": {"type": "tag", "sha": "t1"}},
            "/repos/acme/api/git/tags/t1": {"object": {"type": "commit", "sha": "c1"}},
        }
    )
    assert "c1" == failing.tag("v1").document["sha"]


def test_compare_lists_commits_and_files(client):
    """What a release brings is read from the tag before it."""
    tags = list(github_history.tags())
    result = client.compare(tags[0], tags[-1])
    assert isinstance(result, Evidence)
    assert (result.document["ahead_by"], 0) == (len(result.document["commits"]), result.document["behind_by"])


@pytest.mark.parametrize("name", ["a?b=c", "a#b", "a b", "%2e%2e/x", "a\\b"])
def test_name_stays_in_its_path(failing, answerer, name):
    """A reference is quoted, so that it stays a part of the path."""
    answerer.by_path({})
    failing.commit(name)
    asked = answerer.requests[0]
    assert {} == asked.query
    assert asked.path.startswith("/repos/acme/api/commits/")


@pytest.mark.parametrize("name", ["../../../user", "..", "a/../../../x", "."])
def test_name_of_dots_is_never_asked(failing, answerer, name):
    """Dots would be resolved before sending and lead out of the repository."""
    result = failing.commit(name)
    assert isinstance(result, Gap)
    assert ([], "answer") == (answerer.requests, result.kind)


def test_used_up_rate_limit_is_said(failing, answerer):
    """A used-up rate limit is not a missing permission."""
    answerer.always(403, {"message": "API rate limit exceeded"}, X_RateLimit_Remaining="0")
    result = failing.runs()
    assert isinstance(result, Gap)
    assert ("answer", True) == (result.kind, "rate limit" in result.reason)


@pytest.mark.parametrize(("failure", "kind"), [("401", "denied"), ("hang", "timeout"), ("garbage", "answer")])
def test_failure_is_a_gap(failing, answerer, failure, kind):
    """Every failure is a gap of its kind."""
    answerer.fail(failure)
    result = failing.runs()
    assert isinstance(result, Gap)
    assert kind == result.kind


def test_repository_must_be_named(make, answerer: Any):
    """Without a repository nothing is asked."""
    result = make(GitHubClient, {"url": answerer.url}).runs()
    assert isinstance(result, Gap)
    assert "github.repository" in result.reason


def test_reviewers_of_a_protected_environment(failing, answerer):
    """Who approved and who rejected a workflow run, for each protected environment."""
    review = {"state": "approved", "user": {"login": "grace"}, "environments": [{"name": "prod"}, {"name": "eu"}]}
    answerer.by_path({"/repos/acme/api/actions/runs/7/approvals": [review]})
    result = failing.reviewers(7)
    assert isinstance(result, Evidence)
    assert [("prod", "approved", "grace"), ("eu", "approved", "grace")] == list(result.table.rows)
