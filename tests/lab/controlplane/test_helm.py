"""Helm works against the emulator: the SDK that the lab uses, and the commands of both major versions where present.

``RUNBOOK_TEST_HELM3`` and ``RUNBOOK_TEST_HELM4`` name the commands.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .servers import ApiServer

Helm = Callable[..., "subprocess.CompletedProcess[str]"]
DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: api, labels: {app: api}}
spec:
  replicas: {{ .Values.replicas }}
  selector: {matchLabels: {app: api}}
  template:
    metadata: {labels: {app: api}}
    spec:
      containers: [{name: api, image: "acme/api:{{ .Values.tag }}"}]
"""
SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: api}
spec: {selector: {app: api}, ports: [{port: 80}]}
"""
COMMANDS = {"helm3": "RUNBOOK_TEST_HELM3", "helm4": "RUNBOOK_TEST_HELM4"}


@pytest.fixture
def chart(tmp_path: Path) -> Path:
    """A chart with a Deployment and a Service."""
    folder = tmp_path / "api"
    (folder / "templates").mkdir(parents=True)
    (folder / "Chart.yaml").write_text("apiVersion: v2\nname: api\nversion: 0.1.0\n")
    (folder / "values.yaml").write_text("replicas: 2\ntag: v1\n")
    (folder / "templates" / "deployment.yaml").write_text(DEPLOYMENT)
    (folder / "templates" / "service.yaml").write_text(SERVICE)
    return folder


@pytest.fixture(params=sorted(COMMANDS))
def helm(request: pytest.FixtureRequest, cluster: ApiServer, namespace: str, tmp_path: Path) -> Helm:
    """Runs the helm command of one major version in the test's namespace."""
    binary = os.environ.get(COMMANDS[request.param], "")
    if not (binary and shutil.which(binary)):
        pytest.skip(f"{COMMANDS[request.param]} names no helm command")
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}

    def run(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        command = [binary, "--kubeconfig", str(cluster.kubeconfig), "--namespace", namespace, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120, check=False)
        assert not check or done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
        return done

    return run


def replicas(cluster: ApiServer, namespace: str) -> int:
    """Size that the Deployment asks for."""
    return int(cluster.json("GET", f"/apis/apps/v1/namespaces/{namespace}/deployments/api")["spec"]["replicas"])


def scale(cluster: ApiServer, namespace: str, size: int) -> None:
    """Scale as kubectl does."""
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments/api/scale?fieldManager=kubectl"
    cluster.json("PATCH", path, {"spec": {"replicas": size}}, "application/merge-patch+json")


def test_release_life(helm: Helm, chart: Path) -> None:
    """Install, upgrade and rollback wait for the pods, and the history tells of all three."""
    helm("install", "api-release", str(chart), "--wait", "--timeout", "60s")
    helm("upgrade", "api-release", str(chart), "--set", "tag=v2", "--wait", "--timeout", "60s")
    helm("rollback", "api-release", "1", "--wait", "--timeout", "60s")
    history = json.loads(helm("history", "api-release", "-o", "json").stdout)
    assert ["superseded", "superseded", "deployed"] == [row["status"] for row in history]
    helm("uninstall", "api-release", "--wait", "--timeout", "60s")


def test_a_broken_release_fails(helm: Helm, chart: Path) -> None:
    """An upgrade whose pods never get ready fails in its time and is recorded so."""
    helm("install", "api-release", str(chart), "--wait", "--timeout", "60s")
    done = helm("upgrade", "api-release", str(chart), "--set", "tag=broken", "--wait", "--timeout", "3s", check=False)
    history = json.loads(helm("history", "api-release", "-o", "json").stdout)
    assert (1, "failed") == (done.returncode, history[-1]["status"])


def test_upgrade_after_an_emergency_scale(
    helm: Helm, chart: Path, cluster: ApiServer, namespace: str, request: pytest.FixtureRequest
) -> None:
    """Helm 3 silently scales back; Helm 4 fails with a conflict on the replicas, until it is forced."""
    helm("install", "api-release", str(chart))
    scale(cluster, namespace, 5)
    done = helm("upgrade", "api-release", str(chart), "--set", "tag=v2", check=False)
    if request.node.callspec.params["helm"] == "helm3":
        assert (0, 2) == (done.returncode, replicas(cluster, namespace))
        return
    assert (1, True, 5) == (done.returncode, ".spec.replicas" in done.stderr, replicas(cluster, namespace))
    helm("upgrade", "api-release", str(chart), "--set", "tag=v2", "--force-conflicts")
    assert 2 == replicas(cluster, namespace)


def test_the_sdk(cluster: ApiServer, namespace: str, chart: Path) -> None:
    """The SDK installs, upgrades, rolls back and lists the history."""
    helm_python = pytest.importorskip("helm_python")
    with helm_python.Config(kubeconfig_path=str(cluster.kubeconfig), namespace=namespace) as config:
        loaded: Any = helm_python.Chart.load(str(chart))
        config.install(loaded, "api-release", {})
        config.upgrade(loaded, "api-release", {"tag": "v2"})
        config.rollback("api-release", version=1)
        statuses = [row["status"] for row in config.history("api-release")]
    assert ["superseded", "superseded", "deployed"] == [str(one) for one in statuses]
    image = cluster.json("GET", f"/apis/apps/v1/namespaces/{namespace}/deployments/api")["spec"]["template"]["spec"][
        "containers"
    ][0]["image"]
    assert "acme/api:v1" == image
