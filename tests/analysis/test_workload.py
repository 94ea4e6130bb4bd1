"""Pods, and what the service says of itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from runbook_lib import analysis
from runbook_lib.model import Evidence, Finding, Role, Severity
from runbook_lib.model.evidence import Scalar

from .builders import END, document, gap, line, series, table

NOW = END.timestamp()


def pod(name: str, **fields: Scalar) -> dict[str, Scalar]:
    """A row of the pods; a healthy one unless said otherwise."""
    usual: dict[str, Scalar] = {
        "name": name, "phase": "Running", "ready": True, "restarts": 0, "reason": "", "image": "acme/api:v1",
        "started_at": NOW - 9000, "terminating": False, "last_reason": "",
    }  # fmt: skip
    return {**usual, **fields}


HEALTHY = [pod(name) for name in "abc"]


def pods(*rows: Mapping[str, Scalar]) -> Evidence:
    """The pods of the deployment."""
    return table("kubernetes", "pods", rows)


def deployment(wanted: int = 3, available: int = 3, **fields: Any) -> Evidence:
    """The deployment."""
    return document("kubernetes", "deployment", replicas=wanted, available=available, **fields)


def history(wanted: list[tuple[float, float]], available: list[tuple[float, float]]) -> Evidence:
    """Pods wanted and available over time."""
    return series("replicas", "count", {"wanted": wanted, "available": available}, "state")


def claimed(found: tuple[Finding, ...]) -> dict[str, Finding]:
    """Cause to finding, for what is claimed."""
    return {one.cause: one for one in found if one.role is Role.CAUSE}


def test_pods_that_all_serve_are_ruled_out() -> None:
    """Three of three pods without restarts rule crash loops and missing pods out."""
    found = analysis.replicas(deployment(), pods(*HEALTHY))
    assert {"app.crash_loop", "app.replicas_missing"} == {one.cause for one in found if one.role is Role.RULED_OUT}


@pytest.mark.parametrize(
    "bad",
    [
        pod("d", ready=False, restarts=3, reason="CrashLoopBackOff", image="acme/api:v2"),
        pod("d", ready=False, restarts=1, reason="OOMKilled"),
        pod("d", ready=True, restarts=4, last_reason="Error", started_at=NOW - 9),
    ],
    ids=["back-off", "out of memory", "up for the moment"],
)
def test_a_pod_that_dies_again_and_again_is_named(bad: Mapping[str, Scalar]) -> None:
    """A crash loop is found even while the old pods serve."""
    found = claimed(analysis.replicas(deployment(), pods(*HEALTHY, bad)))
    assert ["d"] == found["app.crash_loop"].subject["pods"]


@pytest.mark.parametrize(
    "row",
    [pod("d", restarts=7, started_at=NOW - 9000), pod("d", restarts=5, reason="CrashLoopBackOff", terminating=True)],
    ids=["restarts of long ago", "on its way out"],
)
def test_old_restarts_and_leaving_pods_do_not_count(row: Mapping[str, Scalar]) -> None:
    """A pod that has stayed up, or is being removed, is no crash loop."""
    assert {} == claimed(analysis.replicas(deployment(), pods(*HEALTHY, row)))


def test_restarts_over_time_tell_when_the_pods_do_not() -> None:
    """Restarts that the metrics counted in the last minutes are a loop."""
    restarts = series("restarts", "count", {"a": [(t, 0.0 if t < NOW - 300 else 3.0) for t, _ in line(1)]})
    assert "app.crash_loop" in claimed(analysis.replicas(deployment(), pods(*HEALTHY), restarts=restarts))


def test_an_image_that_cannot_be_pulled_is_a_bad_release() -> None:
    """A pod that waits for an image that does not exist accuses the release."""
    bad = pod("d", ready=False, reason="ImagePullBackOff", image="acme/api:v9")
    found = claimed(analysis.replicas(deployment(), pods(*HEALTHY, bad)))
    assert "acme/api:v9" == found["app.bad_release"].subject["image"]


def test_a_rollout_past_its_deadline_is_a_bad_release() -> None:
    """The deployment's own word that its rollout did not finish is enough."""
    conditions = [{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}]
    found = analysis.replicas(deployment(status={"conditions": conditions}), pods(*HEALTHY))
    assert "app.bad_release" in claimed(found)


@pytest.mark.parametrize(("wanted", "available"), [(3, 1), (0, 0)], ids=["one of three", "none asked for"])
def test_too_few_pods_are_found(wanted: int, available: int) -> None:
    """Fewer pods than asked for, and none asked for, are both a finding."""
    found = claimed(analysis.replicas(deployment(wanted, available), pods(*HEALTHY[:available])))
    assert "app.replicas_missing" in found


def test_a_deployment_that_was_scaled_down_is_found_in_its_history() -> None:
    """One of one pods serves, but three were asked for until five minutes ago."""
    steps = [(t, 3.0 if t < NOW - 300 else 1.0) for t, _ in line(1)]
    found = claimed(analysis.replicas(deployment(1, 1), pods(pod("a")), history(steps, steps)))
    assert (3, 1) == tuple(found["app.replicas_missing"].subject[key] for key in ("before", "now"))


def test_a_deployment_that_was_scaled_up_is_no_finding() -> None:
    """More pods than before are not missing."""
    steps = [(t, 3.0 if t < NOW - 300 else 5.0) for t, _ in line(1)]
    rows = [pod(name) for name in "abcde"]
    assert {} == claimed(analysis.replicas(deployment(5, 5), pods(*rows), history(steps, steps)))


def test_metrics_stand_in_for_a_silent_cluster() -> None:
    """When the cluster does not answer, the metrics still tell that pods are missing."""
    given = history([(t, 3.0) for t, _ in line(1)], [(t, 3.0 if t < NOW - 60 else 1.0) for t, _ in line(1)])
    silent = gap("kubernetes", "deployment")
    assert "app.replicas_missing" in claimed(analysis.replicas(silent, silent, given))


def test_a_silent_cluster_is_unknown() -> None:
    """Without cluster and metrics nothing is said about pods."""
    silent = gap("kubernetes", "deployment")
    assert {Severity.UNKNOWN} == {one.severity for one in analysis.replicas(silent, silent)}


def failing(name: str, of: int = 3) -> dict[str, dict[str, object]]:
    """A check that fails in so many of three answers."""
    return {name: {"said": "refused" if of else "ok", "failing": of, "answers": 3}}


def test_a_service_that_calls_itself_healthy_is_ruled_out() -> None:
    """A healthy answer rules errors of the service's own out."""
    assert Role.RULED_OUT is analysis.health(document("service", "health", status="healthy"))[0].role


@pytest.mark.parametrize(
    ("check", "cause"),
    [("database", "db.unreachable"), ("cache", "redis.unreachable"), ("payments", "dependency.slow")],
)
def test_a_failing_check_names_what_fails(check: str, cause: str) -> None:
    """The service's own checks say which of its systems is gone."""
    given = document("service", "health", status="unhealthy", checks={**failing(check), **failing("other", of=0)})
    claims = claimed(analysis.health(given))
    assert ({cause}, Severity.CRITICAL) == (set(claims), claims[cause].severity)
    assert f"the service's own check of its {check} fails in 3 of 3 answers: refused" == claims[cause].title


def test_a_check_that_fails_in_one_answer_is_a_warning() -> None:
    """One pod that cannot reach its database is named, and is not the whole service."""
    given = document("service", "health", status="healthy", asked=3, healthy=2, checks=failing("database", of=1))
    assert Severity.WARNING is claimed(analysis.health(given))["db.unreachable"].severity


@pytest.mark.parametrize(
    ("cause", "subject"),
    [
        ("db.lock_contention", {}),
        ("db.idle_in_transaction", {}),
        ("db.connections_saturated", {"scope": "pool"}),
        ("app.bad_release", {"prompt": True}),
        ("traffic.surge", {}),
    ],
)
def test_a_failing_check_displaces_no_better_cause(cause: str, subject: dict[str, Any]) -> None:
    """While the database answers us, a check that times out is what a found cause does, however weak it is."""
    answers = Finding("db.slow_query", Severity.NOTE, "quick", Role.RULED_OUT, evidence=("postgres.activity#sha256:1",))
    better = Finding(cause, Severity.WARNING, "better", confidence=0.3, subject=subject)
    checks = analysis.health(document("service", "health", status="unhealthy", checks=failing("database")))
    first, second, *_ = analysis.weigh([*checks, better, answers])
    assert (cause, "db.unreachable", Role.CONTEXT) == (first.cause, second.cause, second.role)


def test_an_unhealthy_answer_without_checks_is_an_error_of_its_own() -> None:
    """Unhealthy without a reason is still unhealthy."""
    assert {"app.errors"} == set(claimed(analysis.health(document("service", "health", status="unhealthy"))))


def test_one_unhealthy_answer_of_three_is_not_healthy() -> None:
    """One bad pod of three shows in one answer of three."""
    given = document("service", "health", status="healthy", asked=3, healthy=2)
    assert {"app.errors"} == set(claimed(analysis.health(given)))


@pytest.mark.parametrize(
    "given", [gap("service", "health"), document("service", "health")], ids=["no answer", "no status"]
)
def test_no_word_from_the_service_is_unknown(given: Evidence) -> None:
    """Silence is not health."""
    assert Severity.UNKNOWN is analysis.health(given)[0].severity
