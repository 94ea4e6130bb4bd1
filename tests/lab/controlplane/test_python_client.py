"""The official Python client, which checks every answer against its models, works against the emulator."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .servers import ApiServer, start_emulator

kubernetes = pytest.importorskip("kubernetes")

LABELS = {"app": "api"}
DEPLOYMENT: dict[str, Any] = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "api", "labels": LABELS},
    "spec": {
        "replicas": 2,
        "selector": {"matchLabels": LABELS},
        "template": {"metadata": {"labels": LABELS}, "spec": {"containers": [{"name": "api", "image": "acme/api:v1"}]}},
    },
}


@pytest.fixture
def client(cluster: ApiServer) -> Iterator[Any]:
    """An API client of the administrator."""
    with kubernetes.config.new_client_from_config(str(cluster.kubeconfig)) as one:
        yield one


def test_create_read_and_delete(client: Any, namespace: str, wait: Callable[..., Any]) -> None:
    """A Deployment goes through its life, and every answer fits the client's models."""
    apps, core = kubernetes.client.AppsV1Api(client), kubernetes.client.CoreV1Api(client)
    apps.create_namespaced_deployment(namespace, DEPLOYMENT)
    wait(lambda: apps.read_namespaced_deployment("api", namespace).status.available_replicas == 2, "two pods")
    pods = core.list_namespaced_pod(namespace, label_selector="app=api").items
    assert [True, True] == [pod.status.container_statuses[0].ready for pod in pods]
    assert 1 == len(apps.list_namespaced_replica_set(namespace).items)
    apps.delete_namespaced_deployment("api", namespace)
    wait(lambda: not core.list_namespaced_pod(namespace).items, "no pods")


def test_scale_subresource(client: Any, namespace: str) -> None:
    """A patch of the scale subresource changes the size."""
    apps = kubernetes.client.AppsV1Api(client)
    apps.create_namespaced_deployment(namespace, DEPLOYMENT)
    scale = apps.patch_namespaced_deployment_scale("api", namespace, {"spec": {"replicas": 4}})
    assert (4, 4) == (scale.spec.replicas, apps.read_namespaced_deployment("api", namespace).spec.replicas)


def test_watch_sees_changes_in_order(client: Any, namespace: str) -> None:
    """A watch from a list's version sees every later change once."""
    core = kubernetes.client.CoreV1Api(client)
    version = core.list_namespaced_config_map(namespace).metadata.resource_version
    core.create_namespaced_config_map(namespace, {"metadata": {"name": "a"}})
    core.patch_namespaced_config_map("a", namespace, {"data": {"k": "v"}})
    core.delete_namespaced_config_map("a", namespace)
    stream = kubernetes.watch.Watch().stream(
        core.list_namespaced_config_map,
        namespace,
        # A real control plane puts a ConfigMap of its own into each namespace.
        field_selector="metadata.name=a",
        resource_version=version,
        timeout_seconds=1,
    )
    assert ["ADDED", "MODIFIED", "DELETED"] == [event["type"] for event in stream]


def test_watch_of_a_forgotten_version(tmp_path: Path) -> None:
    """A watch from a version that is too old ends with 410, and so does a list of exactly that version."""
    server = start_emulator(tmp_path, "--no-controllers", "--history-events=5")
    try:
        for number in range(10):
            server.json("POST", "/api/v1/namespaces", {"metadata": {"name": f"n{number}"}})
        with kubernetes.config.new_client_from_config(str(server.kubeconfig)) as one:
            core = kubernetes.client.CoreV1Api(one)
            with pytest.raises(kubernetes.client.ApiException) as error:
                list(kubernetes.watch.Watch().stream(core.list_namespace, resource_version="2", timeout_seconds=1))
        assert 410 == error.value.status
    finally:
        server.stop()


def test_dry_run_stores_nothing(client: Any, namespace: str) -> None:
    """A dry run answers what would be and leaves nothing."""
    apps = kubernetes.client.AppsV1Api(client)
    made = apps.create_namespaced_deployment(namespace, DEPLOYMENT, dry_run="All")
    assert ("api", []) == (made.metadata.name, apps.list_namespaced_deployment(namespace).items)


def test_access_review(client: Any, cluster: ApiServer, namespace: str) -> None:
    """A self subject access review tells the administrator yes and a user without roles no."""
    spec = {
        "spec": {
            "resourceAttributes": {"namespace": namespace, "verb": "patch", "group": "apps", "resource": "deployments"}
        }
    }
    answers = []
    for user in ("admin", "nobody"):
        config = cluster.kubeconfig if user == "admin" else cluster.kubeconfig_of(user)
        with kubernetes.config.new_client_from_config(str(config)) as one:
            answers.append(
                kubernetes.client.AuthorizationV1Api(one).create_self_subject_access_review(spec).status.allowed
            )
    assert [True, False] == answers


def test_a_lease_has_one_winner(client: Any, namespace: str) -> None:
    """Of many holders that replace the same version of a Lease, one wins and the others get 409."""
    leases = kubernetes.client.CoordinationV1Api(client)
    leases.create_namespaced_lease(namespace, {"metadata": {"name": "lock"}, "spec": {"holderIdentity": "nobody"}})
    version = leases.read_namespaced_lease("lock", namespace).metadata.resource_version
    codes: list[int] = []

    def take(holder: str) -> None:
        body = {"metadata": {"name": "lock", "resourceVersion": version}, "spec": {"holderIdentity": holder}}
        try:
            leases.replace_namespaced_lease("lock", namespace, body)
            codes.append(200)
        except kubernetes.client.ApiException as error:
            codes.append(error.status)

    threads = [threading.Thread(target=take, args=(f"holder-{number}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [200] + [409] * 7 == sorted(codes)


def test_a_missing_object(client: Any, namespace: str) -> None:
    """A missing object is a 404 with the server's sentence."""
    with pytest.raises(kubernetes.client.ApiException) as error:
        kubernetes.client.CoreV1Api(client).read_namespaced_pod("gone", namespace)
    assert (404, True) == (error.value.status, 'pods \\"gone\\" not found' in error.value.body)


def test_logs_with_tail(client: Any, cluster: ApiServer, namespace: str, wait: Callable[..., Any]) -> None:
    """A pod's log is read from its node."""
    if cluster.kind == "real":
        pytest.skip("the real API server reads logs over TLS only, which the test's node does not serve")
    core = kubernetes.client.CoreV1Api(client)
    core.create_namespaced_pod(
        namespace, {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a", "image": "x"}]}}
    )
    wait(lambda: core.read_namespaced_pod("p", namespace).status.phase == "Running", "a running pod")
    assert "line 5" == core.read_namespaced_pod_log("p", namespace, tail_lines=1).strip()


def test_events_and_every_list_fit_the_models(client: Any, namespace: str, wait: Callable[..., Any]) -> None:
    """Lists of all kinds that a diagnosis reads are accepted by the client."""
    apps, core = kubernetes.client.AppsV1Api(client), kubernetes.client.CoreV1Api(client)
    apps.create_namespaced_deployment(namespace, DEPLOYMENT)
    core.create_namespaced_service(
        namespace, {"metadata": {"name": "api"}, "spec": {"selector": LABELS, "ports": [{"port": 80}]}}
    )
    discovery = kubernetes.client.DiscoveryV1Api(client)

    def ready() -> bool:
        slices = discovery.list_namespaced_endpoint_slice(namespace).items
        return [True, True] == [row.conditions.ready for one in slices for row in one.endpoints or []]

    wait(ready, "two ready endpoints")
    reasons = {event.reason for event in core.list_namespaced_event(namespace).items}
    assert {"ScalingReplicaSet", "SuccessfulCreate", "Scheduled"} <= reasons
    assert ["node-1"] == [node.metadata.name for node in core.list_node().items]
    assert [] == kubernetes.client.AutoscalingV2Api(client).list_namespaced_horizontal_pod_autoscaler(namespace).items
    assert [] == kubernetes.client.BatchV1Api(client).list_namespaced_job(namespace).items
    assert [] == kubernetes.client.PolicyV1Api(client).list_namespaced_pod_disruption_budget(namespace).items


def test_the_dynamic_client_applies(client: Any, namespace: str) -> None:
    """The dynamic client discovers the API and applies server-side."""
    dynamic = kubernetes.dynamic.DynamicClient(client)
    resource = dynamic.resources.get(api_version="apps/v1", kind="Deployment")
    made = resource.server_side_apply(body=DEPLOYMENT, name="api", namespace=namespace, field_manager="runbook")
    assert ["Apply", "runbook"] == [made.metadata.managedFields[0].operation, made.metadata.managedFields[0].manager]


def test_plain_http_serves_the_same(cluster: ApiServer) -> None:
    """The emulator's port also speaks plain HTTP to clients that send their token over it."""
    if cluster.kind == "real":
        pytest.skip("the real API server speaks TLS only")
    import httpx

    answer = httpx.get(cluster.url.replace("https", "http") + "/readyz", timeout=5.0, trust_env=False)
    assert (200, "ok") == (answer.status_code, answer.text)
