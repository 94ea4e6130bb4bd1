"""The node agent runs pods as a kubelet does: starts, ends, limits, logs and figures."""

from __future__ import annotations

import contextlib
import sys
import time

import httpx
import pytest

from .conftest import PROBE, Cluster, until


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
