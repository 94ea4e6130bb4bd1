"""A node agent of its own for a module of tests, on the emulator and on a real control plane.

RUNBOOK_TEST_CLUSTER holds the path of an admin kubeconfig of a real cluster without nodes; without it those tests
are skipped.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from runbook_lib.lab.node.api import ApiError, KubeApi
from runbook_lib.lab.process import Process, accepts_connections, free_port

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
