"""Targets from the Kubernetes API: on the lab's control plane, and the rules for a single pod."""

from __future__ import annotations

import contextlib
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from runbook_lib.lab.metrics.config import KubernetesTargets
from runbook_lib.lab.metrics.discovery import ApiServer, PodWatcher, pod_target, read_kubeconfig
from runbook_lib.lab.metrics.errors import ConfigError
from runbook_lib.lab.metrics.scrape import Target
from runbook_lib.lab.process import Process, free_port

ROOT = Path(__file__).parents[3]


def pod(**changes: Any) -> dict[str, Any]:
    """A pod that is scraped, with some parts changed."""
    notes = {"prometheus.io/scrape": "true", "lab.runbook/address": "127.0.0.1:9", **changes.pop("annotations", {})}
    labels = changes.pop("labels", {"app.kubernetes.io/name": "api"})
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "api-1", "namespace": "production", "labels": labels, "annotations": notes},
        "spec": {"containers": [{"name": "api", "image": "acme/api:v1"}]},
        "status": {"phase": "Running", "podIP": "10.244.0.7"},
        **changes,
    }


def test_pod_gives_the_labels_of_its_service() -> None:
    """Service, job, namespace, pod and address become labels."""
    target = pod_target(pod())
    assert target is not None
    assert "http://127.0.0.1:9/metrics" == target.url
    wanted = {"job": "api", "service": "api", "namespace": "production", "pod": "api-1", "instance": "127.0.0.1:9"}
    assert wanted == dict(target.labels)


def test_pod_may_name_its_page() -> None:
    """The path is the annotation's."""
    target = pod_target(pod(annotations={"prometheus.io/path": "/internal/metrics"}))
    assert target is not None
    assert "http://127.0.0.1:9/internal/metrics" == target.url


@pytest.mark.parametrize(
    "changes",
    [
        {"annotations": {"prometheus.io/scrape": "false"}},
        {"annotations": {"lab.runbook/address": ""}},
        {"status": {"phase": "Failed"}},
        {"status": {"phase": "Succeeded"}},
    ],
    ids=["not wanted", "no address yet", "failed", "succeeded"],
)
def test_pod_is_no_target(changes: dict[str, Any]) -> None:
    """Only annotated pods that have an address and have not ended are scraped."""
    assert pod_target(pod(**changes)) is None


class Cluster:
    """The lab's control plane as a process."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.kubeconfig = folder / "cluster" / "admin.kubeconfig"
        self.start()

    def start(self) -> None:
        self.process = Process.start(
            "controlplane",
            [sys.executable, "-m", "runbook_lib.lab.controlplane", "--port", str(self.port), "--dir",
             str(self.folder / "cluster")],
            log_path=self.folder / "log",
            cwd=ROOT,
            die_with_parent=True,
        )  # fmt: skip
        self.process.wait_until(self._ready, 30)

    def _ready(self) -> bool:
        with contextlib.suppress(OSError, ConfigError):
            return self.request("GET", "/api/v1/namespaces")[0] == 200
        return False

    @property
    def server(self) -> ApiServer:
        return read_kubeconfig(self.kubeconfig)

    def request(self, method: str, path: str, body: Any = None, kind: str = "application/json") -> tuple[int, Any]:
        server = self.server
        with contextlib.closing(server.connect(10)) as connection:
            text = None if body is None else json.dumps(body)
            connection.request(method, server.prefix + path, text, {"Content-Type": kind, **server.headers})
            response = connection.getresponse()
            return response.status, json.loads(response.read())


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path)
    cluster.request("POST", "/api/v1/namespaces", {"metadata": {"name": "production"}})
    yield cluster
    cluster.process.stop()


@pytest.fixture
def reports(cluster: Cluster) -> Iterator[list[list[Target]]]:
    """Every report of a watcher on the cluster."""
    seen: list[list[Target]] = []
    watcher = PodWatcher(KubernetesTargets(cluster.kubeconfig, "production"), seen.append)
    watcher.start()
    yield seen
    watcher.stop()


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "did not happen within 20 s"
        threading.Event().wait(0.02)


def urls(reports: list[list[Target]]) -> list[str] | None:
    return [target.url for target in reports[-1]] if reports else None


PODS = "/api/v1/namespaces/production/pods"


def test_pods_come_change_and_go(cluster: Cluster, reports: list[list[Target]]) -> None:
    """The targets follow the pods without being asked for."""
    wait_for(lambda: urls(reports) == [])
    assert 201 == cluster.request("POST", PODS, pod(annotations={"lab.runbook/address": ""}))[0]
    patch = {"metadata": {"annotations": {"lab.runbook/address": "127.0.0.1:1234"}}}
    cluster.request("PATCH", f"{PODS}/api-1", patch, "application/merge-patch+json")
    wait_for(lambda: urls(reports) == ["http://127.0.0.1:1234/metrics"])
    cluster.request("DELETE", f"{PODS}/api-1", {"gracePeriodSeconds": 0})
    wait_for(lambda: urls(reports) == [])


def test_api_server_that_is_down_does_not_take_targets_away(cluster: Cluster, reports: list[list[Target]]) -> None:
    """Pods that were known are still scraped, and a restarted server is followed again."""
    cluster.request("POST", PODS, pod())
    wait_for(lambda: urls(reports) == ["http://127.0.0.1:9/metrics"])
    cluster.process.stop()
    threading.Event().wait(1.5)
    assert ["http://127.0.0.1:9/metrics"] == urls(reports)
    cluster.start()
    cluster.request("POST", "/api/v1/namespaces", {"metadata": {"name": "production"}})
    other = pod(annotations={"lab.runbook/address": "127.0.0.1:8"})
    cluster.request("POST", PODS, other)
    wait_for(lambda: "http://127.0.0.1:8/metrics" in (urls(reports) or []))


LOGIN_BY_COMMAND = {
    "current-context": "c",
    "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
    "clusters": [{"name": "k", "cluster": {"server": "http://127.0.0.1:1"}}],
    "users": [{"name": "u", "user": {"exec": {"command": "login"}}}],
}


@pytest.mark.parametrize(
    ("text", "word"),
    [("{", "kubeconfig"), ("{}", "current-context"), (json.dumps(LOGIN_BY_COMMAND), "command")],
    ids=["no YAML", "empty", "log in by a command"],
)
def test_unusable_kubeconfig_is_named(tmp_path: Path, text: str, word: str) -> None:
    """The error says which file and why."""
    path = tmp_path / "kubeconfig"
    path.write_text(text)
    with pytest.raises(ConfigError, match=word) as caught:
        read_kubeconfig(path)
    assert str(path) in str(caught.value)
