"""Pods behind a Service: how they come, go and are replaced, with their agent and without the API."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from runbook_lib.lab.node.api import MERGE
from runbook_lib.lab.postgres import Postgres
from runbook_lib.lab.process import Process, accepts_connections, free_port, start_time_ticks
from runbook_lib.lab.valkey import Valkey

from .conftest import CONTROL_PLANES, PROBE, Cluster, Object, until


def echo(replicas: int, cluster: Cluster) -> Object:
    """A Deployment of the echo server behind the Service."""
    labels = {"app": "api"}
    pod = cluster.pod("x", readinessProbe=PROBE, labels=labels)
    del pod["metadata"]["name"], pod["spec"]["nodeName"], pod["spec"]["restartPolicy"]
    strategy = {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": pod, "strategy": strategy}
    return {"metadata": {"name": "api-deployment"}, "spec": spec}


@pytest.fixture
def service(cluster: Cluster) -> Iterator[None]:
    port = {"name": "http", "port": 80, "targetPort": "http"}
    cluster.create("services", {"metadata": {"name": "api"}, "spec": {"selector": {"app": "api"}, "ports": [port]}})
    yield
    cluster.api.request("DELETE", cluster.path("services", "api"))


def answering(cluster: Cluster, requests: int = 20) -> set[str]:
    return {answer.text for answer in (cluster.get_url("/") for _ in range(requests)) if answer.status_code == 200}


def test_scaling_adds_processes_behind_the_service(cluster: Cluster, service: None) -> None:
    """Three replicas answer in turn; scaled to five, five do; scaled down, none of the removed ones is asked."""
    cluster.create("deployments", echo(3, cluster))
    three = until(lambda: len(names := answering(cluster)) == 3 and names, why=cluster.agent.log_tail)
    scale(cluster, 5)
    five = until(lambda: len(names := answering(cluster)) == 5 and names)
    scale(cluster, 1)
    until(lambda: len(cluster.pods()) == 1)

    assert three < five
    assert 1 == len(answering(cluster))


def scale(cluster: Cluster, replicas: int) -> None:
    path = f"{cluster.path('deployments', 'api-deployment')}/scale"
    cluster.api.request("PATCH", path, {"spec": {"replicas": replicas}}, content_type=MERGE)


def test_unready_pod_gets_no_request(cluster: Cluster, service: None) -> None:
    """A pod that fails its readiness probe leaves the Service and comes back when it recovers."""
    cluster.create("deployments", echo(2, cluster))
    until(lambda: len(answering(cluster)) == 2)
    sick = cluster.pods()[0]["metadata"]["name"]
    httpx.get(f"http://{cluster.address(sick)}/fail")
    until(lambda: sick not in answering(cluster, 6))

    assert "Running" == cluster.get("pods", sick)["status"]["phase"]


def test_pods_die_with_their_agent_and_come_back(cluster: Cluster) -> None:
    """A killed agent leaves no process behind; the next one starts its pods again and counts a restart."""
    cluster.run("lasting", readinessProbe=PROBE)
    status = until(lambda: (s := cluster.container("lasting")).get("ready") and s)
    pid = int(status["containerID"].removeprefix("process://").split("-")[0])
    os.kill(cluster.agent.pid, signal.SIGKILL)
    until(lambda: start_time_ticks(pid) is None, 5)
    cluster.agent.wait(5)
    cluster.agent = cluster.start_agent()
    restarted = lambda: (s := cluster.container("lasting")).get("ready") and s["restartCount"] == 1  # noqa: E731
    until(restarted, 30, why=lambda: (cluster.agent.log_tail(), cluster.container("lasting")))

    assert "lasting" == httpx.get(f"http://{cluster.address('lasting')}/").text


def test_pods_serve_while_the_api_is_down(cluster: Cluster, service: None, kubeconfig: Path) -> None:
    """Nothing happens to the pods when the agent loses its API server, and it catches up afterwards."""
    process = CONTROL_PLANES.get(kubeconfig)
    if process is None:
        pytest.skip("a cluster that others use is not paused")
    cluster.create("deployments", echo(2, cluster))
    before = until(lambda: len(names := answering(cluster)) == 2 and names)
    process.signal(signal.SIGSTOP)
    try:
        time.sleep(2)
        during = answering(cluster)
    finally:
        process.signal(signal.SIGCONT)
    scale(cluster, 3)

    assert before == during
    until(lambda: len(answering(cluster)) == 3, 40)


def test_lease_is_renewed(cluster: Cluster) -> None:
    """The node's lease is held by the node and has a time with microseconds."""
    path = f"/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{cluster.node}"
    spec = until(lambda: cluster.api.request("GET", path)["spec"])

    assert cluster.node == spec["holderIdentity"]
    assert len("2026-01-01T00:00:00.000000Z") == len(spec["renewTime"])


@pytest.fixture(scope="module")
def dependencies(cluster: Cluster, postgres: Postgres, valkey: Valkey, tmp_path_factory: Any) -> Iterator[list[Object]]:
    """Environment of an ``api`` container over real parts."""
    port = free_port()
    argv = [sys.executable, "-m", "runbook_lib.lab.service.payments", "--port", str(port)]
    process = Process.start("payments", argv, log_path=tmp_path_factory.mktemp("payments") / "log")
    process.wait_until(lambda: accepts_connections(port), 20)
    data = {"DATABASE_URL": postgres.url("app"), "REDIS_URL": valkey.url()}
    cluster.create("secrets", {"metadata": {"name": "api"}, "stringData": data})
    secret = [{"name": key, "valueFrom": {"secretKeyRef": {"name": "api", "key": key}}} for key in data]
    yield [*secret, {"name": "DEPENDENCY_URL", "value": f"http://127.0.0.1:{port}"}]
    process.stop()


def api_deployment(tag: str, env: list[Object], cluster: Cluster) -> Object:
    body = echo(3, cluster)
    container = body["spec"]["template"]["spec"]["containers"][0]
    del container["command"]
    container |= {"name": "api", "image": f"acme/api:{tag}", "env": env}
    container["resources"] = {"limits": {"cpu": "300m", "memory": "256Mi"}}
    container["readinessProbe"] = {**PROBE, "timeoutSeconds": 3, "failureThreshold": 5}
    body["spec"]["minReadySeconds"] = 1
    body["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = 10
    return body


def available(cluster: Cluster, image: str) -> bool:
    deployment = cluster.get("deployments", "api-deployment")
    status = deployment.get("status", {})
    pods = [pod for pod in cluster.pods() if pod["spec"]["containers"][0]["image"] == image]
    whole = status.get("updatedReplicas") == status.get("availableReplicas") == status.get("replicas") == 3
    return whole and len(pods) == 3 and len(cluster.pods()) == 3


def test_rollout_loses_no_request(cluster: Cluster, service: None, dependencies: list[Object], tmp_path: Path) -> None:
    """From v1 to v2 under 50 requests a second, none fails and the new version answers."""
    cluster.create("deployments", api_deployment("v1", dependencies, cluster))
    until(lambda: available(cluster, "acme/api:v1"), 60, why=cluster.agent.log_tail)
    control = free_port()
    url = f"http://127.0.0.1:{cluster.balancer_port}"
    argv = [sys.executable, "-m", "runbook_lib.lab.load", "--url", url, "--rate", "50", "--port", str(control)]
    load = Process.start("load", argv, log_path=tmp_path / "load.log")
    try:
        load.wait_until(lambda: accepts_connections(control), 20)
        before = cluster.get_url("/api/v1/status").json()["version"]
        image = {"name": "api", "image": "acme/api:v2"}
        patch = {"spec": {"template": {"spec": {"containers": [image]}}}}
        path = cluster.path("deployments", "api-deployment")
        cluster.api.request("PATCH", path, patch, content_type="application/strategic-merge-patch+json")
        until(lambda: available(cluster, "acme/api:v2"), 60, why=cluster.agent.log_tail)
        after = cluster.get_url("/api/v1/status").json()["version"]
        text = httpx.get(f"http://127.0.0.1:{control}/metrics").text
    finally:
        load.stop()
    failed = [line for line in text.splitlines() if line.startswith('load_requests_total{code="5')]
    errors = [line for line in text.splitlines() if line.startswith("load_errors_total{") and not line.endswith(" 0")]

    assert ("v1", "v2") == (before, after)
    assert ([], []) == (failed, errors)


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
def test_status_is_valid_for_the_official_client(cluster: Cluster) -> None:
    """The strict models of the official client accept what the agent writes."""
    import kubernetes

    cluster.run("strict", readinessProbe=PROBE)
    until(lambda: cluster.container("strict").get("ready"))
    client = kubernetes.config.new_client_from_config(str(cluster.kubeconfig))
    pod = kubernetes.client.CoreV1Api(client).read_namespaced_pod("strict", cluster.namespace, _request_timeout=10)
    node = kubernetes.client.CoreV1Api(client).read_node(cluster.node, _request_timeout=10)
    client.close()

    assert "Running" == pod.status.phase
    assert (
        cluster.port
        == json.loads(json.dumps(node.to_dict(), default=str))["status"]["daemon_endpoints"]["kubelet_endpoint"]["port"]
    )
