"""The Kubernetes client against the lab's API server, and against a real one where RUNBOOK_TEST_CLUSTER names it."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from runbook_lib.clients._kubernetes import ApiServer
from runbook_lib.clients._tape import ReplayTape
from runbook_lib.clients.kubernetes import KubernetesClient
from runbook_lib.errors import ActionRejectedError, OutcomeUnknownError
from runbook_lib.model import Evidence, Gap, Window


@dataclass
class Cluster:
    """An API server with a namespace of its own for one test."""

    kubeconfig: Path
    namespace: str
    api: ApiServer

    def deploy(self, replicas: int = 3, image: str = "acme/api:v1") -> dict[str, Any]:
        """Create the deployment; its uid and the rest as the server stored it."""
        container = {"name": "api", "image": image, "resources": {"limits": {"cpu": "300m", "memory": "256Mi"}}}
        return self.api.write(
            "POST",
            f"/apis/apps/v1/namespaces/{self.namespace}/deployments",
            {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": {"name": "api-deployment"},
                "spec": {
                    "replicas": replicas,
                    "selector": {"matchLabels": {"app": "api"}},
                    "template": {"metadata": {"labels": {"app": "api"}}, "spec": {"containers": [container]}},
                },
            },
        )

    def replicas(self) -> int:
        """What the deployment asks for now."""
        found = self.api.get(f"/apis/apps/v1/namespaces/{self.namespace}/deployments/api-deployment")
        return int(found["spec"]["replicas"])


@pytest.fixture
def cluster(kubeconfig_of_cluster) -> Iterator[Cluster]:
    """A cluster with an empty namespace."""
    api = ApiServer(str(kubeconfig_of_cluster), "", connect_seconds=3, total_seconds=10)
    namespace = f"rb-{uuid.uuid4().hex[:8]}"
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
    api.write("POST", "/api/v1/namespaces", body)
    yield Cluster(kubeconfig_of_cluster, namespace, api)
    api.write("DELETE", f"/api/v1/namespaces/{namespace}", None)
    api.close()


@pytest.fixture
def client(make, cluster) -> Callable[..., KubernetesClient]:
    """Builds a client of the cluster; keyword arguments replace settings."""

    def build(**more: Any) -> KubernetesClient:
        options = {name: more.pop(name) for name in ("total_seconds", "connect_seconds", "window") if name in more}
        settings = {"kubeconfig": str(cluster.kubeconfig), "namespace": cluster.namespace, **more}
        made = make(KubernetesClient, settings, **options)
        assert isinstance(made, KubernetesClient)
        return made

    return build


def eventually(ask: Callable[[], Evidence | Gap], holds: Callable[[Evidence], bool]) -> Evidence:
    end = time.monotonic() + 15
    while True:
        result = ask()
        if isinstance(result, Evidence) and holds(result):
            return result
        assert time.monotonic() < end, str(result)
        time.sleep(0.1)


def test_deployment_as_it_is(client, cluster):
    """What was asked for and what is there stand in the document."""
    made = cluster.deploy()
    found = eventually(client().deployment, lambda one: one.document["total"] == 3).document
    assert (3, 0, False) == (found["replicas"], found["available"], found["complete"])
    assert {"api": "acme/api:v1"} == found["images"]
    assert made["metadata"]["uid"] == found["metadata"]["uid"]
    assert "managedFields" not in found["metadata"]


def test_rollouts_and_pods(client, cluster):
    """A second release is a second revision, with its image and its start."""
    cluster.deploy()
    before = time.time() - 5
    eventually(client().rollouts, lambda one: len(one.table) == 1)
    change = [{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "acme/api:v2"}]
    place = f"/apis/apps/v1/namespaces/{cluster.namespace}/deployments/api-deployment"
    cluster.api.write("PATCH", place, change, content_type="application/json-patch+json")
    rows = eventually(client().rollouts, lambda one: len(one.table) == 2).table.records()
    assert [(1, "acme/api:v1", False), (2, "acme/api:v2", True)] == [
        (row["revision"], row["image"], row["current"]) for row in rows
    ]
    assert all(before < row["started_at"] < time.time() + 5 for row in rows)
    pods = eventually(client().pods, lambda one: len(one.table) >= 4).table.records()
    assert {"acme/api:v1", "acme/api:v2"} == {row["image"] for row in pods}
    assert {(0.3, 256 * 2**20, False)} == {
        (row["cpu_limit_cores"], row["memory_limit_bytes"], row["ready"]) for row in pods
    }


def test_missing_deployment_is_a_gap(client):
    """A deployment that does not exist is a gap of kind empty that names it."""
    result = client().deployment()
    assert isinstance(result, Gap)
    assert ("empty", True, True) == (result.kind, "api-deployment" in result.reason, result.needed)


def test_no_autoscaler_and_no_quota_are_answers(client):
    """That nothing scales or limits is evidence."""
    autoscaler, quotas = client().horizontal_autoscaler(), client().quotas()
    assert isinstance(autoscaler, Evidence)
    assert False is autoscaler.document["found"]
    assert isinstance(quotas, Evidence)
    assert 0 == len(quotas.table)


def test_autoscaler_of_the_deployment(client, cluster):
    """An autoscaler that owns the replicas is found with its limits."""
    cluster.deploy()
    cluster.api.write(
        "POST",
        f"/apis/autoscaling/v2/namespaces/{cluster.namespace}/horizontalpodautoscalers",
        {
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "api"},
            "spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "api-deployment"},
                "minReplicas": 3,
                "maxReplicas": 8,
            },
        },
    )
    found = client().horizontal_autoscaler().document
    assert (True, 3, 8, "api") == (found["found"], found["minimum"], found["maximum"], found["metadata"]["name"])


def test_missing_metrics_api_is_a_gap(client, cluster):
    """Without pod metrics there is no number, and it is said why."""
    cluster.deploy()
    result = client().pod_usage()
    assert isinstance(result, Gap)
    assert "empty" == result.kind


def test_permission_is_the_clusters_own_answer(client):
    """An administrator may scale."""
    result = client().can("patch", group="apps", resource="deployments", subresource="scale")
    assert isinstance(result, Evidence)
    assert True is result.document["allowed"]


def test_scale_is_one_request_that_changes_the_replicas(client, cluster):
    """A plan that still holds is applied."""
    made = cluster.deploy()
    done = client().scale(replicas=5, uid=made["metadata"]["uid"], current=3)
    assert (5, 5, False) == (done["replicas"], cluster.replicas(), done["dry_run"])
    owners = client().deployment().document["replicas_managers"]
    assert ["runbook (scale)"] == owners


def test_scale_from_and_to_zero(client, cluster):
    """A deployment without pods can be scaled up, though its replicas have no key then."""
    uid = cluster.deploy()["metadata"]["uid"]
    client().scale(replicas=0, uid=uid, current=3)
    client().scale(replicas=2, uid=uid, current=0)
    assert 2 == cluster.replicas()


def test_dry_run_changes_nothing(client, cluster):
    """The server says what would be, and nothing is."""
    uid = cluster.deploy()["metadata"]["uid"]
    done = client().scale(replicas=5, uid=uid, current=3, dry_run=True)
    assert (5, True, 3) == (done["replicas"], done["dry_run"], cluster.replicas())


@pytest.mark.parametrize(
    "change",
    [{"uid": "another"}, {"current": 4}, {"current": 0}, {"replicas": -1}],
    ids=["uid", "current", "zero", "invalid"],
)
def test_stale_or_wrong_scale_is_rejected(client, cluster, change):
    """A deployment that is not as observed, or a change that is not valid, is left alone."""
    uid = cluster.deploy()["metadata"]["uid"]
    with pytest.raises(ActionRejectedError, match="422"):
        client().scale(**{"replicas": 5, "uid": uid, "current": 3, **change})
    assert 3 == cluster.replicas()


def test_racing_scales_have_one_winner(client, cluster):
    """Of many that saw the same number exactly one changes it."""
    uid = cluster.deploy()["metadata"]["uid"]
    acting = client()

    def attempt(replicas: int) -> bool:
        try:
            acting.scale(replicas=replicas, uid=uid, current=3)
        except ActionRejectedError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(attempt, range(10, 26)))
    assert 1 == sum(won)


def behind_proxy(cluster: Cluster, proxy: Any, folder: Path) -> tuple[Any, Path]:
    """A proxy before the API server, and a kubeconfig that goes through it."""
    config = yaml.safe_load(cluster.kubeconfig.read_text())
    server = config["clusters"][0]["cluster"]
    between = proxy(urlsplit(server["server"]).port)
    server["server"] = f"{urlsplit(server['server']).scheme}://127.0.0.1:{between.port}"
    kubeconfig = folder / "proxied.kubeconfig"
    kubeconfig.write_text(json.dumps(config))
    return between, kubeconfig


def test_answer_lost_after_the_effect_is_unknown(client, cluster, proxy, tmp_path):
    """A connection that breaks after the request leaves the outcome unknown; the request was sent once."""
    uid = cluster.deploy()["metadata"]["uid"]
    between, kubeconfig = behind_proxy(cluster, proxy, tmp_path)
    acting = client(kubeconfig=str(kubeconfig))
    before = eventually(acting.deployment, lambda one: one.document["total"] == 3).document["metadata"]["generation"]
    between.drop_all = True
    with pytest.raises(OutcomeUnknownError):
        acting.scale(replicas=5, uid=uid, current=3)
    between.drop_all = False
    eventually(client().deployment, lambda one: one.document["replicas"] == 5)
    # Each accepted change of the spec raises the generation: there was one.
    assert before + 1 == client().deployment().document["metadata"]["generation"]


def test_silent_server_leaves_a_write_unknown_and_a_read_a_gap(client, cluster, proxy, tmp_path):
    """A network that swallows packets ends both at the deadline."""
    uid = cluster.deploy()["metadata"]["uid"]
    between, kubeconfig = behind_proxy(cluster, proxy, tmp_path)
    acting = client(kubeconfig=str(kubeconfig), total_seconds=1.0)
    acting.deployment()
    between.swallow = True
    with pytest.raises(OutcomeUnknownError):
        acting.scale(replicas=5, uid=uid, current=3)
    started = time.monotonic()
    result = acting.deployment()
    assert isinstance(result, Gap)
    assert "timeout" == result.kind
    assert time.monotonic() - started < 2.5
    assert 3 == cluster.replicas()


def test_lease_has_one_holder(client):
    """A second taker is refused until the lease is given back."""
    acting = client()
    version = acting.acquire_lease("rb-scale", holder="one", seconds=30)
    with pytest.raises(ActionRejectedError, match="held by one"):
        acting.acquire_lease("rb-scale", holder="two", seconds=30)
    acting.release_lease("rb-scale", resource_version=version)
    assert acting.acquire_lease("rb-scale", holder="two", seconds=30)


def test_expired_lease_is_taken_by_one(client):
    """When a holder is gone, exactly one of many takes its place."""
    acting = client()
    acting.acquire_lease("rb-scale", holder="gone", seconds=1)
    time.sleep(1.2)

    def attempt(n: int) -> bool:
        try:
            acting.acquire_lease("rb-scale", holder=f"taker-{n}", seconds=30)
        except ActionRejectedError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert 1 == sum(pool.map(attempt, range(16)))


def test_lease_that_changed_hands_is_not_released(client):
    """Giving back a lease that somebody else has by now is refused."""
    acting = client()
    version = acting.acquire_lease("rb-scale", holder="slow", seconds=1)
    time.sleep(1.2)
    acting.acquire_lease("rb-scale", holder="next", seconds=30)
    with pytest.raises(ActionRejectedError):
        acting.release_lease("rb-scale", resource_version=version)


def test_events_are_of_the_window(client, cluster):
    """What the controllers say about the deployment is read with its time."""
    cluster.deploy()
    recent = client(window=Window.last(5, None))
    rows = eventually(lambda: recent.events().again(), lambda one: len(one.table) > 0).table.records()
    assert "ScalingReplicaSet" in {row["reason"] for row in rows}


def test_secret_is_read_for_a_reference(client, cluster):
    """A value of a Secret can be resolved by its name."""
    body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"key": "Y2FuYXJ5"}}
    cluster.api.write("POST", f"/api/v1/namespaces/{cluster.namespace}/secrets", body)
    assert "canary" == client().secret_value(cluster.namespace, "s", "key")


def test_replay_needs_no_cluster(client, cluster, make, kept):
    """What was kept answers again without an endpoint."""
    cluster.deploy()
    first = client().deployment()
    replayed = make(KubernetesClient, None, tape=ReplayTape(kept.results)).deployment()
    assert first.digest == replayed.digest


def test_server_says_its_version(client):
    """The version of the API server is evidence."""
    assert client().server().document["version"].startswith("v1.")
