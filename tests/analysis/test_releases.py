"""Gates of a release, the complete rule of a rollout, and which revision to return to."""

from __future__ import annotations

from typing import Any

import pytest

from runbook_lib.analysis import (
    objectives_hold,
    release_built,
    release_commit,
    release_ready,
    release_tag,
    rolled_out,
)
from runbook_lib.analysis.release_gate import room_for_surge
from runbook_lib.analysis.release_history import last_good
from runbook_lib.analysis.rollout import hopeless, settled
from runbook_lib.model import Checks, CheckStatus, Evidence, Table

from .builders import AVAILABILITY, LATENCY, evidence, gap, line, series

SHA = "3953765de73d"
RUNS = ("workflow", "status", "conclusion", "event", "branch", "commit")
IMAGE, DIGEST = "acme/api:v2", "sha256:dc51e7"


def runs(*rows: tuple[str, ...]) -> Evidence:
    """CI runs, newest first."""
    return evidence("github", "runs", Table(RUNS, rows), windowed=False)


def image(**fields: Any) -> Evidence:
    """The registry's answer about a tag."""
    return evidence("registry", "tag", {"tag": "v2", "found": True, "digest": DIGEST, **fields}, windowed=False)


def history(*statuses: str) -> Evidence:
    """Revisions 1, 2, ... with their statuses."""
    rows = tuple((number, status) for number, status in enumerate(statuses, start=1))
    return evidence("helm", "history", Table(("revision", "status"), rows), windowed=False)


def reading(**changes: Any) -> dict[str, Any]:
    """A complete rollout of three pods; ``pod``, ``endpoint`` and other keys change one thing about it."""
    pod, endpoint = changes.pop("pod", {}), changes.pop("endpoint", {})
    pods = [
        {"name": f"p{n}", "image": IMAGE, "image_id": f"x@{DIGEST}", "ready": True, "reason": "", "restarts": 0,
         "terminating": False, **(pod if n == 0 else {})}
        for n in range(3)
    ]  # fmt: skip
    ends = [{"pod": f"p{n}", "ready": True, "terminating": False, **(endpoint if n == 0 else {})} for n in range(3)]
    deployment = {
        "replicas": 3, "total": 3, "updated": 3, "available": 3, "paused": False, "progress": "NewReplicaSetAvailable",
        "metadata": {"generation": 4}, "status": {"observedGeneration": 4, "conditions": []}, **changes,
    }  # fmt: skip
    return {"deployment": deployment, "pods": pods, "endpoints": ends, "waited_seconds": 5.0, "restarts_before": {}}


def judged(state: dict[str, Any], versions: dict[str, int] | None = None) -> set[str]:
    """Names of the clauses that are open."""
    told = versions or {"v2": 10}
    status = evidence("service", "status", {"versions": told, "asked": sum(told.values())}, windowed=False)
    found = evidence("kubernetes", "rollout", state, windowed=False)
    checks = rolled_out(found, status, image=IMAGE, digest=DIGEST, version="v2")
    return {check.name for check in checks if check.status is not CheckStatus.PASSED}


def by_name(checks: Checks) -> dict[str, str]:
    """Check to status."""
    return {check.name: str(check.status) for check in checks}


def test_newest_run_is_not_the_release() -> None:
    """Without a tag the newest push of a version that CI passed is taken, not the newest run of all."""
    found = runs(
        ("CI", "in_progress", "", "push", "main", "a"),
        ("CI", "completed", "failure", "push", "v4", "b"),
        ("CI", "completed", "success", "pull_request", "v5", "c"),
        ("CI", "completed", "success", "push", "v3", "d"),
    )
    assert ("v3", "v1", "") == (release_tag(found), release_tag(found, "v1"), release_tag(gap("github", "runs")))


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        pytest.param([("CI", "completed", "success", "push", "v2", SHA)], "passed", id="success"),
        pytest.param([("CI", "completed", "failure", "push", "v2", SHA)], "failed", id="failure"),
        pytest.param([("CI", "in_progress", "", "push", "v2", SHA)], "failed", id="running"),
        pytest.param([("CI", "completed", "success", "push", "v2", "other")], "failed", id="another-commit"),
        pytest.param(
            [("CI", "completed", "success", "push", "v2", SHA), ("CI", "completed", "failure", "push", "v2", SHA)],
            "passed",
            id="passed-again",
        ),
        pytest.param(
            [("CI", "completed", "success", "push", "v2", SHA), ("Scan", "completed", "failure", "push", "v2", SHA)],
            "failed",
            id="another-workflow",
        ),
    ],
)
def test_ci_of_exactly_the_commit(rows: list[tuple[str, ...]], expected: str) -> None:
    """The newest run of every workflow of the commit decides."""
    assert expected == by_name(release_built(SHA, runs(*rows), image()))["CI passed"]


def test_commit_without_a_tag_is_unknown() -> None:
    """No git tag, no commit, no CI: that is unknown, not passed."""
    tag = evidence("github", "tag", {"found": False, "sha": ""}, windowed=False)
    assert ("", "full-sha") == (release_commit(tag), release_commit(tag, "full-sha"))
    assert "unknown" == by_name(release_built("", runs(), image()))["CI passed"]


@pytest.mark.parametrize(
    ("tag", "expected"),
    [
        pytest.param(image(), "passed", id="there"),
        pytest.param(image(found=False), "failed", id="missing"),
        pytest.param(image(digest=""), "unknown", id="without-digest"),
        pytest.param(gap("registry", "tag"), "unknown", id="silent"),
    ],
)
def test_image_must_be_in_the_registry(tag: Any, expected: str) -> None:
    """Only a tag with a digest passes."""
    assert expected == by_name(release_built(SHA, runs(), tag))["image in the registry"]


@pytest.mark.parametrize(
    ("last", "expected"),
    [("deployed", "passed"), ("failed", "passed"), ("pending-upgrade", "failed"), ("pending-rollback", "failed")],
)
def test_pending_release_is_not_touched(last: str, expected: str) -> None:
    """An operation that runs or has died stands against a release."""
    checks = ready(history=history("superseded", last))
    assert expected == checks["release is idle"]


def ready(**given: Any) -> dict[str, str]:
    """The checks of a release that may change, with some answers replaced."""
    spec = {"replicas": 3, "template": {"spec": {"containers": [{"readinessProbe": {}}]}},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0}}}  # fmt: skip
    answers = {
        "history": history("deployed"),
        "deployment": evidence("kubernetes", "deployment", {"spec": spec}, windowed=False),
        "quotas": evidence("kubernetes", "quotas", Table(("quota", "resource", "used", "limit", "ratio"), ())),
        "errors": series("error_ratio", "ratio", {"": line(0.0001)}),
        **given,
    }
    return by_name(release_ready(*answers.values(), AVAILABILITY))


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        pytest.param(line(0.0001), "passed", id="quiet"),
        pytest.param(line(0.05), "failed", id="burning"),
        pytest.param(line(0.05, 0.0), "passed", id="over"),
        pytest.param([], "unknown", id="no-sample"),
    ],
)
def test_burning_budget_stops_a_release(points: list[tuple[float, float]], expected: str) -> None:
    """A burn rate that would page stops it; one that has ended does not, and no data is not healthy."""
    assert expected == ready(errors=series("error_ratio", "ratio", {"": points}))["error budget"]


def test_full_quota_leaves_no_room() -> None:
    """A full quota of pods would stop the rollout half-way."""
    columns = ("quota", "resource", "used", "limit", "ratio")
    quotas = evidence("kubernetes", "quotas", Table(columns, (("team", "pods", 3, 3, 1.0),)))
    assert ("failed", "passed") == (ready(quotas=quotas)["room for a pod more"], ready()["room for a pod more"])


@pytest.mark.parametrize(
    ("resource", "used", "limit", "expected"),
    [
        pytest.param("requests.cpu", 0.3, 0.4, "passed", id="just-enough"),
        pytest.param("requests.cpu", 0.3, 0.35, "failed", id="too-little-left"),
        pytest.param("limits.memory", 600.0, 1000.0, "failed", id="by-its-limit"),
        pytest.param("pods", 3, 4, "passed", id="one-pod-left"),
        pytest.param("pods", 0, 0, "failed", id="none-at-all"),
        pytest.param("services", 9, 9, "passed", id="not-of-pods"),
    ],
)
def test_quota_must_have_room_for_what_a_pod_takes(resource: str, used: float, limit: float, expected: str) -> None:
    """A quota that is not full stops a rollout all the same when the rest is less than one pod asks for."""
    rows = ((("team", resource, used, limit, used / limit if limit else None)),)
    quotas = evidence("kubernetes", "quotas", Table(("quota", "resource", "used", "limit", "ratio"), rows))
    takes = {"pods": 1, "requests.cpu": 0.1, "limits.memory": 500.0}
    deployment = evidence("kubernetes", "deployment", {"pod_takes": takes}, windowed=False)
    assert expected == str(room_for_surge(deployment, quotas).status)


def test_complete_rollout_has_no_open_clause() -> None:
    """Everything replaced, ready, serving and answering: complete."""
    assert set() == judged(reading())
    assert settled(reading(), IMAGE)


@pytest.mark.parametrize(
    ("change", "clause"),
    [
        ({"status": {"observedGeneration": 3, "conditions": []}}, "controller has seen it"),
        ({"paused": True}, "not paused"),
        ({"replicas": 0, "total": 0, "updated": 0, "available": 0}, "all pods replaced"),
        ({"total": 4}, "all pods replaced"),
        ({"progress": "ReplicaSetUpdated"}, "controller is done"),
        ({"pod": {"image": "acme/api:v1"}}, "image as asked"),
        ({"pod": {"image_id": "x@sha256:other"}}, "image as asked"),
        ({"pod": {"ready": False}}, "pods ready"),
        ({"pod": {"restarts": 1}}, "no restarts"),
        ({"endpoint": {"pod": "old"}}, "endpoints new and ready"),
        ({"endpoint": {"ready": False}}, "endpoints new and ready"),
    ],
)
def test_each_clause_is_needed(change: dict[str, Any], clause: str) -> None:
    """kubectl's own rule passes several of these."""
    assert clause in judged(reading(**change))


@pytest.mark.parametrize("versions", [{"v1": 1, "v2": 9}, {"v2": 4}], ids=["a-left-over", "too-few"])
def test_every_answer_carries_the_version(versions: dict[str, int]) -> None:
    """One answer of the old version, or too few answers to know all pods, leave it open."""
    assert {"served version"} == judged(reading(), versions)


@pytest.mark.parametrize("reason", ["ImagePullBackOff", "CrashLoopBackOff", "CreateContainerConfigError"])
def test_hopeless_rollout_is_not_waited_for(reason: str) -> None:
    """What does not pass by waiting ends the watch, with the pod's name."""
    state = reading(updated=1, pod={"ready": False, "reason": reason})
    assert f"pod p0: {reason}" == hopeless(state, IMAGE)
    assert settled(state, IMAGE)


def test_old_pod_in_trouble_is_not_the_release() -> None:
    """A pod of the release before may crash while it is replaced."""
    state = reading(updated=1, pod={"ready": False, "reason": "CrashLoopBackOff", "image": "acme/api:v1"})
    assert "" == hopeless(state, IMAGE)


@pytest.mark.parametrize(
    ("statuses", "good", "expected"),
    [
        pytest.param(("superseded", "superseded", "deployed"), (1, 2, 3), 2, id="the-newest-good-one"),
        pytest.param(("superseded", "failed", "deployed"), (1,), 1, id="never-the-one-before"),
        pytest.param(("superseded", "failed", "failed"), (1, 2), 1, id="one-that-failed-was-never-live"),
        pytest.param(("superseded", "deployed"), (), 0, id="nothing-recorded"),
        pytest.param(("superseded", "deployed"), (9,), 0, id="gone-from-the-history"),
    ],
)
def test_last_good_revision(statuses: tuple[str, ...], good: tuple[int, ...], expected: int) -> None:
    """The last revision that was live and recorded good; never simply the one before."""
    assert expected == last_good(history(*statuses), good)


def test_objectives_without_data_are_unknown() -> None:
    """A number within its bound passes, above it fails, and no number is unknown."""
    good, bad, none = (series("latency_seconds", "s", {"": points}) for points in (line(0.05), line(0.5), []))
    errors = series("error_ratio", "ratio", {"": line(0.0001)})
    told = [by_name(objectives_hold(one, errors, LATENCY))["p95 latency"] for one in (good, bad, none)]
    assert ["passed", "failed", "unknown"] == told
