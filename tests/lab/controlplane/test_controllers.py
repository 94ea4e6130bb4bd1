"""The controllers keep the promises of the Deployment's strategy."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from .node import Node
from .servers import ApiServer

LABELS = {"app": "api"}
MERGE = "application/merge-patch+json"


def deployment(image: str = "acme/api:v1", **spec: Any) -> dict[str, Any]:
    """A Deployment of three pods."""
    template = {"metadata": {"labels": LABELS}, "spec": {"containers": [{"name": "api", "image": image}]}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "api"},
        "spec": {"replicas": 3, "selector": {"matchLabels": LABELS}, "template": template, **spec},
    }


class App:
    """The test's Deployment through the API."""

    def __init__(self, server: ApiServer, namespace: str, wait: Callable[..., Any]) -> None:
        self.server, self.namespace, self.wait = server, namespace, wait
        self.path = f"/apis/apps/v1/namespaces/{namespace}/deployments"

    def create(self, **spec: Any) -> None:
        """Create it."""
        self.server.json("POST", self.path, deployment(**spec))

    def get(self) -> Any:
        """The Deployment."""
        return self.server.json("GET", f"{self.path}/api")

    def patch(self, spec: dict[str, Any]) -> None:
        """Change its spec."""
        self.server.json("PATCH", f"{self.path}/api", {"spec": spec}, MERGE)

    def image(self, image: str) -> None:
        """Roll another image out."""
        containers = [{"name": "api", "image": image}]
        self.patch({"template": {"spec": {"containers": containers}}})

    def pods(self) -> list[Any]:
        """Pods that are not going."""
        found = self.server.json("GET", f"/api/v1/namespaces/{self.namespace}/pods")["items"] or []
        return [pod for pod in found if not pod["metadata"].get("deletionTimestamp")]

    def sets(self) -> dict[str, int]:
        """Size of each ReplicaSet by image."""
        found = self.server.json("GET", f"/apis/apps/v1/namespaces/{self.namespace}/replicasets")["items"] or []
        return {row["spec"]["template"]["spec"]["containers"][0]["image"]: row["spec"]["replicas"] for row in found}

    def condition(self, kind: str) -> Any:
        """One condition of the Deployment."""
        rows = self.get()["status"].get("conditions", [])
        return next((row for row in rows if row["type"] == kind), {})

    def settled(self) -> None:
        """Wait until all pods are of the current template and available."""

        def done() -> bool:
            item = self.get()
            status, wanted = item["status"], item["spec"]["replicas"]
            seen = status.get("observedGeneration") == item["metadata"]["generation"]
            numbers = [status.get(name, 0) for name in ("updatedReplicas", "replicas", "availableReplicas")]
            return seen and numbers == [wanted] * 3

        self.wait(done, "a complete rollout")


@pytest.fixture
def app(cluster: ApiServer, namespace: str, wait: Callable[..., Any]) -> App:
    """The test's Deployment, not created yet."""
    return App(cluster, namespace, wait)


def test_a_rollout_never_has_fewer_available_pods_than_allowed(app: App) -> None:
    """With maxUnavailable 0 and maxSurge 1 every moment of a rollout has 3 available and at most 4 pods."""
    app.create(strategy={"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}})
    app.settled()
    seen: list[tuple[int, int]] = []
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            status = app.get()["status"]
            seen.append((status.get("availableReplicas", 0), sum(app.sets().values())))

    thread = threading.Thread(target=look)
    thread.start()
    app.image("acme/api:v2")
    app.settled()
    stop.set()
    thread.join()
    assert (3, True) == (min(available for available, _ in seen), max(total for _, total in seen) <= 4)
    assert {"acme/api:v1": 0, "acme/api:v2": 3} == app.sets()


def test_a_broken_release_stops_at_its_surge(app: App) -> None:
    """A release whose pods never get ready adds one pod, keeps the old ones, and passes its deadline."""
    app.create(strategy={"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}, progressDeadlineSeconds=2)
    app.settled()
    app.image("acme/api:broken")
    app.wait(lambda: app.condition("Progressing").get("reason") == "ProgressDeadlineExceeded", "the deadline")
    assert {"acme/api:v1": 3, "acme/api:broken": 1} == app.sets()
    assert ("False", "True") == (app.condition("Progressing")["status"], app.condition("Available")["status"])


def test_a_release_after_a_broken_one_recovers(app: App) -> None:
    """The next good template replaces the stuck one, and the Deployment is complete again."""
    app.create(progressDeadlineSeconds=1)
    app.settled()
    app.image("acme/api:broken")
    app.wait(lambda: app.condition("Progressing").get("reason") == "ProgressDeadlineExceeded", "the deadline")
    app.image("acme/api:v3")
    app.settled()
    assert "NewReplicaSetAvailable" == app.wait(lambda: app.condition("Progressing")["reason"], "a reason")
    assert {"acme/api:v1": 0, "acme/api:broken": 0, "acme/api:v3": 3} == app.sets()


def test_an_old_template_takes_its_replica_set_back(app: App) -> None:
    """A rollback reuses the ReplicaSet, under the next revision."""
    app.create()
    app.settled()
    app.image("acme/api:v2")
    app.settled()
    app.image("acme/api:v1")
    app.settled()
    assert ({"acme/api:v1": 3, "acme/api:v2": 0}, "3") == (
        app.sets(),
        app.get()["metadata"]["annotations"]["deployment.kubernetes.io/revision"],
    )


def test_recreate_stops_before_it_starts(app: App) -> None:
    """With Recreate no pod of the new template exists before the last old one is gone."""
    app.create(strategy={"type": "Recreate"})
    app.settled()
    app.image("acme/api:v2")
    mixed = 0
    while len({pod["spec"]["containers"][0]["image"] for pod in app.pods()} & {"acme/api:v2"}) == 0:
        time.sleep(0.01)
    mixed = sum(pod["spec"]["containers"][0]["image"] == "acme/api:v1" for pod in app.pods())
    app.settled()
    assert 0 == mixed


def test_min_ready_seconds_delays_availability(app: App) -> None:
    """A ready pod counts as available only after minReadySeconds."""
    app.create(minReadySeconds=2)
    app.wait(lambda: app.get()["status"].get("readyReplicas") == 3, "ready pods")
    assert 0 == app.get()["status"].get("availableReplicas", 0)
    app.settled()


def test_the_history_is_limited(app: App) -> None:
    """No more old ReplicaSets are kept than revisionHistoryLimit."""
    app.create(revisionHistoryLimit=1)
    app.settled()
    for number in (2, 3, 4):
        app.image(f"acme/api:v{number}")
        app.settled()
    app.wait(lambda: app.sets() == {"acme/api:v3": 0, "acme/api:v4": 3}, "two ReplicaSets")


def test_scaling_in_the_middle_of_a_rollout(app: App) -> None:
    """A size change while a rollout is stuck is shared by both ReplicaSets."""
    app.create(strategy={"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 1}})
    app.settled()
    app.image("acme/api:broken")
    app.wait(lambda: app.sets().get("acme/api:broken", 0) == 2, "a stuck rollout")
    app.patch({"replicas": 6})
    app.wait(lambda: sum(app.sets().values()) == 7, "seven pods wanted")
    assert app.sets()["acme/api:v1"] > 2


def test_a_scale_to_zero_and_back(app: App) -> None:
    """No replicas is a complete state too."""
    app.create()
    app.settled()
    app.patch({"replicas": 0})
    app.wait(lambda: not app.pods(), "no pods")
    app.patch({"replicas": 2})
    app.settled()


def test_an_orphan_is_adopted(app: App) -> None:
    """A ready pod with the right labels and no owner is taken over instead of a new one."""
    app.create(replicas=1)
    app.settled()
    name = app.pods()[0]["metadata"]["name"]
    app.server.json("DELETE", f"{app.path}/api?propagationPolicy=Orphan")
    app.wait(lambda: app.server.request("GET", f"{app.path}/api").status_code == 404, "the Deployment is gone")
    app.create(replicas=1)
    app.settled()
    assert [name] == [pod["metadata"]["name"] for pod in app.pods()]


def test_a_pod_that_fits_nowhere_says_why(app: App) -> None:
    """A pod that asks for more than any node has stays pending with the reason."""
    resources = {"requests": {"cpu": "64"}}
    body = {"metadata": {"name": "huge"}, "spec": {"containers": [{"name": "a", "image": "x", "resources": resources}]}}
    path = f"/api/v1/namespaces/{app.namespace}/pods"
    app.server.json("POST", path, body)

    def message() -> str:
        rows = app.server.json("GET", f"{path}/huge")["status"].get("conditions", [])
        return next((row["message"] for row in rows if row["type"] == "PodScheduled"), "")

    expected = (
        "0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate, preemption: 0/1 nodes are "
        "available: 1 Preemption is not helpful for scheduling."
    )
    assert expected == app.wait(message, "a reason")


def test_a_cordoned_node_takes_no_pods(app: App) -> None:
    """An unschedulable node gets no new pods until it is uncordoned."""
    cordon(app.server, True)
    try:
        app.create(replicas=1)
        app.wait(lambda: len(app.pods()) == 1, "one pod")
        time.sleep(0.3)
        assert [None] == [pod["spec"].get("nodeName") for pod in app.pods()]
    finally:
        cordon(app.server, None)
    app.settled()


def test_endpoints_follow_readiness(app: App, wait: Callable[..., Any]) -> None:
    """A pod that stops being ready leaves the ready endpoints, and a deleted one leaves the slice."""
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "api"},
        "spec": {"selector": LABELS, "ports": [{"port": 80}]},
    }
    app.server.json("POST", f"/api/v1/namespaces/{app.namespace}/services", service)
    app.create()
    app.settled()

    def states() -> list[bool]:
        found = app.server.json("GET", f"/apis/discovery.k8s.io/v1/namespaces/{app.namespace}/endpointslices")["items"]
        return sorted(row["conditions"]["ready"] for row in (found[0].get("endpoints") or []))

    wait(lambda: states() == [True] * 3, "three ready endpoints")
    pod = app.pods()[0]["metadata"]["name"]
    conditions = [{"type": name, "status": "False"} for name in ("Ready", "ContainersReady")]
    path = f"/api/v1/namespaces/{app.namespace}/pods/{pod}/status"
    app.server.json("PATCH", path, {"status": {"conditions": conditions}}, "application/strategic-merge-patch+json")
    wait(lambda: states() == [False, True, True], "one endpoint not ready")
    app.patch({"replicas": 1})
    wait(lambda: states() == [True], "one endpoint")


def test_pods_of_a_removed_node_go(cluster: ApiServer, app: App, wait: Callable[..., Any]) -> None:
    """When a node is deleted its pods are replaced elsewhere."""
    second = Node(cluster, "node-2")
    second.start()
    cordon(cluster, True)
    try:
        app.create()
        wait(lambda: [pod["spec"].get("nodeName") for pod in app.pods()] == ["node-2"] * 3, "pods on the second node")
    finally:
        cordon(cluster, None)
        second.stop()
        cluster.json("DELETE", "/api/v1/nodes/node-2")
    # The real garbage collection of pods looks around every 20 s and waits 40 s before it believes that a node is gone.
    wait(
        lambda: [pod["spec"].get("nodeName") for pod in app.pods()] == ["node-1"] * 3,
        "pods on the first node",
        seconds=150.0,
    )


def cordon(cluster: ApiServer, unschedulable: bool | None) -> None:
    """Keep new pods from the first node, or let them on it again."""
    cluster.json("PATCH", "/api/v1/nodes/node-1", {"spec": {"unschedulable": unschedulable}}, MERGE)
