"""The node agent runs pods as a kubelet does, on the emulator and on a real control plane.

RUNBOOK_TEST_CLUSTER holds the path of an admin kubeconfig of a real cluster without nodes; without it those tests
are skipped.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from runbook_lib.lab.node.api import MERGE, ApiError, KubeApi
from runbook_lib.lab.postgres import Postgres
from runbook_lib.lab.process import Process, accepts_connections, free_port, start_time_ticks
from runbook_lib.lab.valkey import Valkey

Object = dict[str, Any]
# Answers every path with its pod's name and says goodbye on SIGTERM.
SERVER = """
import http.server, os, signal, sys, threading
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == '/burn':
            while True: pass
        status = 500 if self.path == '/health' and os.path.exists('unhealthy') else 200
        if self.path == '/fail': open('unhealthy', 'w').close()
        body = os.environ['POD'].encode()
        self.send_response(status); self.send_header('content-length', str(len(body))); self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_): pass
if os.path.exists('unhealthy'): os.remove('unhealthy')
server = http.server.ThreadingHTTPServer(('127.0.0.1', int(os.environ['PORT'])), Handler)
server.daemon_threads = True
def end(*_):
    print('goodbye', flush=True); threading.Thread(target=server.shutdown).start()
signal.signal(signal.SIGTERM, end)
print('hello', flush=True); print('ready', flush=True)
server.serve_forever()
"""


CONTROL_PLANES: dict[Path, Process] = {}  # the emulators that this module started


class Cluster:
    """A control plane with one node agent."""

    def __init__(self, kubeconfig: Path, directory: Path) -> None:
        self.api, self.kubeconfig, self.directory = KubeApi(kubeconfig), kubeconfig, directory
        self.node = f"node-{os.getpid()}-{free_port()}"
        self.namespace = self.node
        self.port, self.balancer_port = free_port(), free_port()
        self.agent = self.start_agent()

    def start_agent(self) -> Process:
        argv = [sys.executable, "-m", "runbook_lib.lab.node", "--kubeconfig", str(self.kubeconfig)]
        argv += ["--name", self.node, "--port", str(self.port), "--balancer-port", str(self.balancer_port)]
        argv += ["--dir", str(self.directory / "node"), "--service", f"{self.namespace}/api"]
        agent = Process.start("node", argv, log_path=self.directory / "node.log")
        agent.wait_until(lambda: accepts_connections(self.port) and accepts_connections(self.balancer_port), 20)
        return agent

    def path(self, kind: str, name: str = "") -> str:
        group = {"deployments": "apis/apps", "endpointslices": "apis/discovery.k8s.io"}.get(kind, "api")
        return f"/{group}/v1/namespaces/{self.namespace}/{kind}" + (f"/{name}" if name else "")

    def create(self, kind: str, body: Object) -> Object:
        return self.api.request("POST", self.path(kind), body)

    def get(self, kind: str, name: str) -> Object:
        return self.api.request("GET", self.path(kind, name))

    def pods(self) -> list[Object]:
        return list(self.api.request("GET", self.path("pods"))["items"])

    def container(self, pod: str) -> Object:
        statuses = self.get("pods", pod).get("status", {}).get("containerStatuses") or [{}]
        return dict(statuses[0])

    def get_url(self, path: str) -> httpx.Response:
        return httpx.get(f"http://127.0.0.1:{self.balancer_port}{path}", timeout=5)

    def node_url(self, path: str) -> httpx.Response:
        return httpx.get(f"http://127.0.0.1:{self.port}{path}", timeout=10)

    def address(self, pod: str) -> str:
        return str(self.get("pods", pod)["metadata"]["annotations"]["lab.runbook/address"])

    def run(self, name: str, script: str = SERVER, **options: Any) -> None:
        self.create("pods", self.pod(name, script, **options))

    def pod(self, name: str, script: str = SERVER, *, labels: dict[str, str] | None = None, **options: Any) -> Object:
        spec: Object = {
            "nodeName": self.node,
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": options.pop("grace", 3),
            "restartPolicy": options.pop("restart_policy", "Always"),
            "initContainers": options.pop("init_containers", []),
        }
        container = {
            "name": "main",
            "image": "python:3",
            "command": [sys.executable, "-c", script],
            "ports": [{"name": "http", "containerPort": 8080}],
            "env": [
                {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                *options.pop("env", []),
            ],
            **options,
        }
        return {"metadata": {"name": name, "labels": labels or {}}, "spec": {**spec, "containers": [container]}}

    def close(self) -> None:
        self.agent.stop(15)
        for method, path in (
            ("DELETE", f"/api/v1/namespaces/{self.namespace}"),
            ("DELETE", f"/api/v1/nodes/{self.node}"),
        ):
            with contextlib.suppress(ApiError):
                self.api.request(method, path, {"gracePeriodSeconds": 0})
        self.api.close()


def until(check: Callable[[], object], seconds: float = 20.0, why: Callable[[], object] | None = None) -> Any:
    """The first true value of ``check``; fails when the time is up."""
    deadline = time.monotonic() + seconds
    while True:
        value = check()
        if value:
            return value
        if time.monotonic() > deadline:
            pytest.fail(f"not within {seconds:g} s" + (f": {why()}" if why else ""))
        time.sleep(0.05)


@pytest.fixture(scope="module", params=["emulator", "real"])
def kubeconfig(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The kubeconfig of a control plane."""
    if request.param == "real":
        path = os.environ.get("RUNBOOK_TEST_CLUSTER", "")
        if not path:
            pytest.skip("RUNBOOK_TEST_CLUSTER names no kubeconfig of a real control plane")
        yield Path(path)
        return
    directory = tmp_path_factory.mktemp("controlplane")
    port = free_port()
    argv = [sys.executable, "-m", "runbook_lib.lab.controlplane", "--port", str(port), "--dir", str(directory)]
    process = Process.start("controlplane", argv, log_path=directory / "log")
    process.wait_until(lambda: (directory / "admin.kubeconfig").exists() and accepts_connections(port), 20)
    CONTROL_PLANES[directory / "admin.kubeconfig"] = process
    yield directory / "admin.kubeconfig"
    process.stop()


@pytest.fixture(scope="module")
def cluster(kubeconfig: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One node on the control plane, for all tests of this module."""
    cluster = Cluster(kubeconfig, tmp_path_factory.mktemp("cluster"))
    try:
        cluster.api.request("POST", "/api/v1/namespaces", {"metadata": {"name": cluster.namespace}})
        until(lambda: node_is_ready(cluster), why=cluster.agent.log_tail)
        yield cluster
    finally:
        cluster.close()


@pytest.fixture(autouse=True)
def clean(cluster: Cluster) -> Iterator[None]:
    """No pod outlives its test."""
    yield
    for kind in ("deployments", "pods"):
        for item in cluster.api.request("GET", cluster.path(kind))["items"]:
            with contextlib.suppress(ApiError):
                cluster.api.request("DELETE", cluster.path(kind, item["metadata"]["name"]), {"gracePeriodSeconds": 1})
    until(lambda: not cluster.pods(), 30, why=cluster.agent.log_tail)


def node_is_ready(cluster: Cluster) -> bool:
    try:
        node = cluster.api.request("GET", f"/api/v1/nodes/{cluster.node}")
    except ApiError:
        return False
    ready = any(c["type"] == "Ready" and c["status"] == "True" for c in node["status"].get("conditions", []))
    return ready and not (node["spec"].get("taints"))


PROBE = {"httpGet": {"path": "/health", "port": "http"}, "periodSeconds": 1, "timeoutSeconds": 1, "failureThreshold": 2}


def test_pod_becomes_ready_and_answers(cluster: Cluster) -> None:
    """A pod runs as a process that answers at its annotated address."""
    cluster.run("plain", readinessProbe=PROBE)
    until(lambda: cluster.container("plain").get("ready"), why=cluster.agent.log_tail)
    pod = cluster.get("pods", "plain")
    conditions = {c["type"]: c["status"] for c in pod["status"]["conditions"]}

    assert "Running" == pod["status"]["phase"]
    assert not pod["status"]["podIP"].startswith("127.")
    assert {"Ready": "True", "ContainersReady": "True", "Initialized": "True"}.items() <= conditions.items()
    assert "plain" == httpx.get(f"http://{cluster.address('plain')}/").text


def test_deleted_pod_says_goodbye(cluster: Cluster) -> None:
    """Deleting ends the process by SIGTERM, after the preStop hook, and only then the object."""
    cluster.run("leaving", readinessProbe=PROBE, lifecycle={"preStop": {"exec": {"command": ["touch", "stopped"]}}})
    until(lambda: cluster.container("leaving").get("ready"))
    address = cluster.address("leaving")
    cluster.api.request("DELETE", cluster.path("pods", "leaving"))
    until(lambda: "leaving" not in [pod["metadata"]["name"] for pod in cluster.pods()])

    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://{address}/")


def test_grace_period_is_the_longest_wait(cluster: Cluster) -> None:
    """A process that ignores SIGTERM is killed when its grace period is over."""
    script = "import signal, time; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
    cluster.run("deaf", script, grace=1)
    until(lambda: "deaf" in logs(cluster, "deaf"))
    started = time.monotonic()
    cluster.api.request("DELETE", cluster.path("pods", "deaf"))
    until(lambda: not cluster.pods())

    assert 0.9 < time.monotonic() - started < 6


def test_crashing_container_backs_off(cluster: Cluster) -> None:
    """A container that keeps ending is restarted once at once, then waits in CrashLoopBackOff."""
    cluster.run("crashing", "import sys; print('broken', flush=True); sys.exit(3)")
    status = until(
        lambda: (
            (s := cluster.container("crashing")).get("state", {}).get("waiting", {}).get("reason") == "CrashLoopBackOff"
            and s
        )
    )

    assert 1 == status["restartCount"]
    assert (3, "Error") == (status["lastState"]["terminated"]["exitCode"], status["lastState"]["terminated"]["reason"])
    assert "Running" == cluster.get("pods", "crashing")["status"]["phase"]


@pytest.mark.parametrize(
    ("image", "reason"),
    [("acme/api:v99", "ErrImagePull"), ("nginx:1", "ErrImagePull"), ("UPPER case", "InvalidImageName")],
)
def test_unknown_image_is_not_run(cluster: Cluster, image: str, reason: str) -> None:
    """An image that cannot be pulled leaves the container waiting with the kubelet's reason."""
    body = cluster.pod("unpulled")
    del body["spec"]["containers"][0]["command"]
    body["spec"]["containers"][0]["image"] = image
    cluster.create("pods", body)
    until(lambda: cluster.container("unpulled").get("state", {}).get("waiting", {}).get("reason") == reason)

    assert "Pending" == cluster.get("pods", "unpulled")["status"]["phase"]


def test_missing_secret_waits_for_it(cluster: Cluster) -> None:
    """A container whose Secret is missing waits, and starts when it is there."""
    env = [{"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "late", "key": "token"}}}]
    cluster.run("waiting", env=env)
    reason = until(lambda: cluster.container("waiting").get("state", {}).get("waiting", {}).get("reason"))
    cluster.create("secrets", {"metadata": {"name": "late"}, "stringData": {"token": "x"}})
    until(lambda: "running" in cluster.container("waiting")["state"], 30)
    cluster.api.request("DELETE", cluster.path("secrets", "late"))

    assert reason in {"CreateContainerConfigError", "ContainerCreating"}


def test_failing_liveness_restarts(cluster: Cluster) -> None:
    """A container that fails its liveness probe is restarted and told so in an event."""
    cluster.run("sick", livenessProbe=PROBE, readinessProbe=PROBE)
    until(lambda: cluster.container("sick").get("ready"))
    httpx.get(f"http://{cluster.address('sick')}/fail")
    until(lambda: cluster.container("sick").get("restartCount") == 1, why=cluster.agent.log_tail)
    until(lambda: cluster.container("sick").get("ready"))
    events = cluster.api.request("GET", cluster.path("events"))["items"]

    assert {"Unhealthy", "Killing"} <= {e["reason"] for e in events if e["involvedObject"]["name"] == "sick"}


def test_memory_limit_kills(cluster: Cluster) -> None:
    """A container above its memory limit is OOMKilled with exit code 137."""
    script = "import time; kept = bytearray(b'x' * 80_000_000); time.sleep(60)"
    cluster.run("greedy", script, resources={"limits": {"memory": "32Mi"}})
    status = until(lambda: (s := cluster.container("greedy")).get("lastState", {}).get("terminated") and s)

    assert (137, "OOMKilled") == (
        status["lastState"]["terminated"]["exitCode"],
        status["lastState"]["terminated"]["reason"],
    )


@pytest.mark.parametrize(("code", "phase"), [(0, "Succeeded"), (4, "Failed")])
def test_run_once_pod_ends(cluster: Cluster, code: int, phase: str) -> None:
    """A pod that is not restarted ends in the phase of its exit code."""
    cluster.run("once", f"import sys; sys.exit({code})", restart_policy="Never")

    until(lambda: cluster.get("pods", "once").get("status", {}).get("phase") == phase)


def test_init_container_comes_first(cluster: Cluster) -> None:
    """The container starts after its init container ended well."""
    slow = [sys.executable, "-c", "import time; time.sleep(0.5)"]
    cluster.run("ordered", init_containers=[{"name": "first", "image": "python:3", "command": slow}])
    until(lambda: cluster.container("ordered").get("ready"))
    status = cluster.get("pods", "ordered")["status"]

    first = status["initContainerStatuses"][0]["state"]["terminated"]
    assert "Completed" == first["reason"]
    assert first["finishedAt"] <= status["containerStatuses"][0]["state"]["running"]["startedAt"]


def test_missing_program_is_a_start_error(cluster: Cluster) -> None:
    """A command that does not exist is a StartError."""
    body = cluster.pod("nothing", restart_policy="Never")
    body["spec"]["containers"][0]["command"] = ["/no/such/program"]
    cluster.create("pods", body)
    state = until(lambda: cluster.container("nothing").get("state", {}).get("terminated"))

    assert (128, "StartError") == (state["exitCode"], state["reason"])


def test_logs_are_served(cluster: Cluster) -> None:
    """The API server passes a container's log on, also its last lines only."""
    cluster.run("talking")
    until(lambda: "ready" in logs(cluster, "talking"))

    assert "hello\nready\n" == logs(cluster, "talking")
    assert "ready\n" == logs(cluster, "talking", tailLines="1")
    assert logs(cluster, "talking", timestamps="true").startswith("20")


def test_log_of_the_run_before_is_kept(cluster: Cluster) -> None:
    """After a restart the log of the crashed process can still be read."""
    cluster.run("crashed", "import sys, time; print('last words', flush=True); sys.exit(1)")
    until(lambda: cluster.container("crashed").get("restartCount") == 1)

    assert "last words\n" == logs(cluster, "crashed", previous="true")


def logs(cluster: Cluster, pod: str, **query: str) -> str:
    return node_log(cluster, pod, query) if cluster.api.server.startswith("http:") else api_log(cluster, pod, query)


def node_log(cluster: Cluster, pod: str, query: dict[str, str]) -> str:
    path = f"/containerLogs/{cluster.namespace}/{pod}/main"
    answer = httpx.get(f"http://127.0.0.1:{cluster.port}{path}", params=query, timeout=10)
    return answer.text if answer.status_code == 200 else ""


def api_log(cluster: Cluster, pod: str, query: dict[str, str]) -> str:
    answer = cluster.api._client.get(f"{cluster.path('pods', pod)}/log", params=query, headers={"accept": "*/*"})
    return answer.text if answer.status_code == 200 else ""


def test_cpu_limit_throttles_and_is_measured(cluster: Cluster) -> None:
    """A busy container gets its limit, its throttled periods rise, and its usage is served."""
    cluster.run("busy", readinessProbe=PROBE, resources={"limits": {"cpu": "300m"}})
    until(lambda: cluster.container("busy").get("ready"))
    with contextlib.suppress(httpx.ReadTimeout):
        httpx.get(f"http://{cluster.address('busy')}/burn", timeout=0.2)
    time.sleep(2)
    before, started = metric(cluster, "container_cpu_usage_seconds_total", "busy"), time.monotonic()
    throttled = metric(cluster, "container_cpu_cfs_throttled_periods_total", "busy")
    time.sleep(3)
    used = metric(cluster, "container_cpu_usage_seconds_total", "busy") - before
    cores = used / (time.monotonic() - started)
    until(lambda: usage(cluster, "busy"), 15)

    # Unthrottled it would take a whole core; a machine that is busy with other things blurs where a period ends.
    assert 0.1 < cores < 0.5
    assert metric(cluster, "container_cpu_cfs_throttled_periods_total", "busy") > throttled
    assert 0.3 == metric(cluster, "kube_pod_container_resource_limits", "busy", 'resource="cpu"')
    assert 0 < usage(cluster, "busy") < 0.6


def metric(cluster: Cluster, name: str, pod: str, label: str = "") -> float:
    for line in cluster.node_url("/metrics").text.splitlines():
        if line.startswith(name + "{") and f'pod="{pod}"' in line and label in line:
            return float(line.rsplit(" ", 1)[1])
    return float("nan")


def usage(cluster: Cluster, pod: str) -> float:
    answer = cluster.node_url(f"/apis/metrics.k8s.io/v1beta1/namespaces/{cluster.namespace}/pods")
    items = {item["metadata"]["name"]: item for item in answer.json()["items"]}
    return int(items[pod]["containers"][0]["usage"]["cpu"].removesuffix("n")) / 1e9 if pod in items else 0.0


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
