"""Kubernetes objects as rows: the parts that need no cluster."""

from __future__ import annotations

from typing import Any

import pytest

from runbook_lib.clients import _kubernetes_objects as objects
from runbook_lib.model.canonical import canonical


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("300m", 0.3),
        ("2", 2.0),
        ("0.5", 0.5),
        ("123456789n", 0.123456789),
        ("250u", 0.00025),
        ("256Mi", 256 * 2**20),
        ("1Gi", 2**30),
        ("1G", 1e9),
        ("129e6", 129e6),
        ("1E", 1e18),
        ("5e-1", 0.5),
    ],
)
def test_quantity(text, number):
    """Quantities of every kind are plain numbers."""
    assert pytest.approx(number) == objects.quantity(text)


@pytest.mark.parametrize("text", ["", "1 Gi", "Mi", "1.2.3", "abc", "1KiB"])
def test_what_is_no_quantity_is_refused(text):
    """A text that is no quantity is an error, not zero."""
    with pytest.raises(ValueError, match="no Kubernetes quantity"):
        objects.quantity(text)


@pytest.mark.parametrize(("text", "seconds"), [("15s", 15), ("1m0.5s", 60.5), ("10.1ms", 0.0101), ("", 0)])
def test_go_duration(text, seconds):
    """Durations of the metrics API are seconds."""
    assert pytest.approx(seconds) == objects.go_seconds(text)


def test_selector_with_expressions():
    """Labels and expressions become the text that lists take."""
    labels = {
        "matchLabels": {"app": "api"},
        "matchExpressions": [
            {"key": "tier", "operator": "In", "values": ["web", "edge"]},
            {"key": "old", "operator": "DoesNotExist"},
        ],
    }
    assert "app=api,tier in (web,edge),!old" == objects.selector(labels)


def deployment(**status: Any) -> dict[str, Any]:
    known = {"observedGeneration": 2, "replicas": 3, "updatedReplicas": 3, "readyReplicas": 3, "availableReplicas": 3}
    done = [{"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable"}]
    container = {"name": "api", "image": "acme/api:v1", "env": [{"name": "DATABASE_URL", "value": "postgres://canary"}]}
    return {
        "metadata": {
            "name": "api-deployment",
            "uid": "u",
            "generation": 2,
            "managedFields": [
                {"manager": "kubectl", "subresource": "scale", "fieldsV1": {"f:spec": {"f:replicas": {}}}}
            ],
            "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "canary", "a": "b"},
        },
        "spec": {"replicas": 3, "template": {"spec": {"containers": [container]}}},
        "status": {**known, "conditions": done, **status},
    }


def test_deployment_shows_no_value_of_a_variable():
    """Names of environment variables stay, their values go, and so does the copy in the annotation."""
    found = objects.deployment(deployment())
    assert b"canary" not in canonical(found)
    assert [{"name": "DATABASE_URL"}] == found["spec"]["template"]["spec"]["containers"][0]["env"]
    assert ["kubectl (scale)"] == found["replicas_managers"]


@pytest.mark.parametrize(
    ("status", "complete"),
    [
        ({}, True),
        ({"observedGeneration": 1}, False),
        ({"availableReplicas": 2}, False),
        ({"updatedReplicas": 2}, False),
        ({"replicas": 4}, False),
        ({"conditions": []}, False),
    ],
    ids=["done", "not seen yet", "not available", "old pods left", "surge left", "still progressing"],
)
def test_complete_needs_every_clause(status, complete):
    """A rollout is complete only when all of it is."""
    assert complete is objects.deployment(deployment(**status))["complete"]


def pod(**status: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "p", "creationTimestamp": "2026-01-02T03:04:05Z"},
        "spec": {"containers": [{"name": "api", "image": "acme/api:v2"}]},
        "status": status,
    }


CRASHED = {"terminated": {"reason": "OOMKilled", "exitCode": 137}}
NO_NODE = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        ({"containerStatuses": [{"name": "api", "state": {"running": {"startedAt": "2026-01-02T03:04:06Z"}}}]}, ""),
        (
            {"containerStatuses": [{"name": "api", "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]},
            "CrashLoopBackOff",
        ),
        ({"containerStatuses": [{"name": "api", "state": CRASHED}]}, "OOMKilled"),
        ({"initContainerStatuses": [{"name": "i", "state": {"terminated": {"reason": "Completed"}}}]}, ""),
        ({"initContainerStatuses": [{"name": "i", "state": {"waiting": {"reason": "ErrImagePull"}}}]}, "ErrImagePull"),
        ({"reason": "Evicted", "phase": "Failed"}, "Evicted"),
        ({"conditions": [NO_NODE]}, "Unschedulable"),
        ({}, ""),
    ],
    ids=["runs", "crash loop", "died", "init done", "init stuck", "evicted", "no node", "new"],
)
def test_reason_of_a_pod(status, reason):
    """Why a pod does not run is the API's own word."""
    assert reason == objects.pods([pod(**status)], "api").records()[0]["reason"]


def test_how_a_pod_ended_before():
    """The last end of a container is kept beside its present state."""
    row = objects.pods(
        [pod(containerStatuses=[{"name": "api", "restartCount": 4, "state": {}, "lastState": CRASHED}])], "api"
    ).records()[0]
    assert (4, "OOMKilled", 137) == (row["restarts"], row["last_reason"], row["last_exit_code"])


def test_revision_that_was_returned_to_starts_with_its_pods():
    """A replica set that is taken up again keeps its old creation time; its pods tell when it came back."""
    labels = {"pod-template-hash": "abc"}
    sets = [
        {
            "metadata": {
                "name": "api-abc",
                "uid": "rs",
                "labels": labels,
                "creationTimestamp": "2026-01-01T00:00:00Z",
                "annotations": {
                    "deployment.kubernetes.io/revision": "3",
                    "deployment.kubernetes.io/revision-history": "1",
                },
            },
            "spec": {"replicas": 1, "template": {"spec": {"containers": [{"name": "api", "image": "acme/api:v1"}]}}},
        }
    ]
    young = pod()
    young["metadata"]["ownerReferences"] = [{"uid": "rs", "controller": True}]
    found = {"metadata": {"annotations": {"deployment.kubernetes.io/revision": "3"}}}
    row = objects.rollouts(found, sets, [young], "api").records()[0]
    assert (3, True, "acme/api:v1") == (row["revision"], row["current"], row["image"])
    assert objects.epoch("2026-01-02T03:04:05Z") == row["started_at"]


def test_events_of_the_deployment_in_the_window():
    """Events of others and from outside the window are left out."""

    def event(name: str, at: str) -> dict[str, Any]:
        return {
            "metadata": {"creationTimestamp": at},
            "involvedObject": {"kind": "Pod", "name": name},
            "lastTimestamp": at,
            "reason": "Killing",
        }

    found = [
        event("api-deployment-abc-1", "2026-01-02T03:00:00Z"),
        event("api-deployment-abc-1", "2026-01-02T02:00:00Z"),
        event("web-abc-1", "2026-01-02T03:00:00Z"),
    ]
    start, end = objects.epoch("2026-01-02T02:30:00Z"), objects.epoch("2026-01-02T03:30:00Z")
    assert 1 == len(objects.events(found, "api-deployment", start, end))


def test_what_a_pod_takes_of_a_quota():
    """Containers add up, the largest init container counts once, and a limit stands for a request that is not there."""
    small, large = {"cpu": "100m", "memory": "1Ki"}, {"cpu": "1", "memory": "2Ki"}
    containers = [{"resources": {"requests": small, "limits": large}}, {"resources": {"limits": large}}, {}]
    taken = objects.pod_takes({"containers": containers, "initContainers": [{"resources": {"requests": {"cpu": "3"}}}]})
    wanted = {"requests.cpu": 3.0, "limits.cpu": 2.0, "requests.memory": 3072.0, "limits.memory": 4096.0, "cpu": 3.0}
    assert {**wanted, "memory": 3072.0, "pods": 1, "count/pods": 1} == pytest.approx(taken)
