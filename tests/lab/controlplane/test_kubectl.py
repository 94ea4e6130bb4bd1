"""The real kubectl works against the emulator: each command of an on-call engineer is one test."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .node import LOG
from .servers import ApiServer

Run = Callable[..., "subprocess.CompletedProcess[str]"]

pytestmark = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not on PATH")

MANIFEST = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: api, labels: {app: api}}
spec:
  replicas: 2
  selector: {matchLabels: {app: api}}
  template:
    metadata: {labels: {app: api}}
    spec:
      containers:
      - name: api
        image: acme/api:v1
        ports: [{containerPort: 8080}]
        resources: {requests: {cpu: 10m}}
---
apiVersion: v1
kind: Service
metadata: {name: api}
spec:
  selector: {app: api}
  ports: [{port: 80, targetPort: 8080}]
"""


@pytest.fixture
def kubectl(cluster: ApiServer, namespace: str, tmp_path: Path) -> Run:
    """Runs kubectl as the administrator in the test's namespace, with a home of its own."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "KUBECACHEDIR": str(tmp_path / "cache")}

    def run(
        *arguments: str, text: str | None = None, user: str = "admin", check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        config = cluster.kubeconfig if user == "admin" else cluster.kubeconfig_of(user)
        command = ["kubectl", f"--kubeconfig={config}", f"--namespace={namespace}", *arguments]
        done = subprocess.run(
            command, input=text, capture_output=True, text=True, env=environment, timeout=90, check=False
        )
        assert not check or done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done

    return run


@pytest.fixture
def api(kubectl: Run) -> None:
    """The api's Deployment and Service, applied and rolled out."""
    kubectl("apply", "-f", "-", text=MANIFEST)
    kubectl("rollout", "status", "deployment/api", "--timeout=60s")


@pytest.mark.usefixtures("api")
def test_get(kubectl: Run) -> None:
    """`get` prints the columns that people read."""
    lines = kubectl("get", "deployment", "api").stdout.splitlines()
    assert ["NAME", "READY", "UP-TO-DATE", "AVAILABLE", "AGE"] == lines[0].split()
    assert ["api", "2/2", "2", "2"] == lines[1].split()[:4]


@pytest.mark.usefixtures("api")
def test_get_wide(kubectl: Run) -> None:
    """`get -o wide` adds containers and images."""
    assert "acme/api:v1" in kubectl("get", "deployment", "-o", "wide").stdout
    assert "node-1" in kubectl("get", "pods", "-o", "wide").stdout


@pytest.mark.usefixtures("api")
def test_get_yaml_and_jsonpath(kubectl: Run) -> None:
    """`get -o yaml` and `-o jsonpath` read single values."""
    assert "image: acme/api:v1" in kubectl("get", "deployment", "api", "-o", "yaml").stdout
    assert "2" == kubectl("get", "deployment", "api", "-o", "jsonpath={.status.readyReplicas}").stdout


@pytest.mark.usefixtures("api")
def test_get_all_by_label(kubectl: Run) -> None:
    """`get all -l` finds every kind of the category."""
    out = kubectl("get", "all", "-l", "app=api").stdout
    assert [True, True, True] == [f"{kind}/api" in out for kind in ("pod", "deployment.apps", "replicaset.apps")]


@pytest.mark.usefixtures("api")
def test_apply_again_says_unchanged(kubectl: Run) -> None:
    """Applying the same manifest twice changes nothing."""
    out = kubectl("apply", "-f", "-", text=MANIFEST).stdout
    assert ["deployment.apps/api unchanged", "service/api unchanged"] == out.splitlines()


@pytest.mark.usefixtures("api")
def test_apply_changes(kubectl: Run) -> None:
    """Applying a changed manifest configures it and drops what it no longer says."""
    changed = MANIFEST.replace("        resources: {requests: {cpu: 10m}}\n", "").replace(":v1\n", ":v2\n")
    assert "deployment.apps/api configured" in kubectl("apply", "-f", "-", text=changed).stdout
    assert (
        "acme/api:v2 {}"
        == kubectl(
            "get", "deployment", "api", "-o", "jsonpath={..containers[0].image} {..containers[0].resources}"
        ).stdout
    )


def test_apply_server_side(kubectl: Run) -> None:
    """`apply --server-side` creates and owns; another manager's value is a conflict that is named."""
    kubectl("apply", "--server-side", "-f", "-", text=MANIFEST)
    kubectl("scale", "deployment/api", "--replicas=3")
    refused = kubectl("apply", "--server-side", "-f", "-", text=MANIFEST, check=False)
    assert 1 == refused.returncode
    assert ".spec.replicas" in refused.stderr
    assert (
        "serverside-applied" in kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", text=MANIFEST).stdout
    )


@pytest.mark.usefixtures("api")
def test_diff(kubectl: Run) -> None:
    """`diff` shows what an apply would change, and changes nothing."""
    done = kubectl("diff", "-f", "-", text=MANIFEST.replace(":v1\n", ":v9\n"), check=False)
    assert 1 == done.returncode, done.stderr
    assert "+        image: acme/api:v9" in [
        line.replace("+      - image", "+        image") for line in done.stdout.splitlines()
    ]
    assert "acme/api:v1" == kubectl("get", "deployment", "api", "-o", "jsonpath={..containers[0].image}").stdout


@pytest.mark.usefixtures("api")
def test_scale(kubectl: Run) -> None:
    """`scale` adds pods, and the Deployment says so."""
    kubectl("scale", "deployment/api", "--replicas=4")
    kubectl("rollout", "status", "deployment/api", "--timeout=60s")
    assert 4 == len(kubectl("get", "pods", "-l", "app=api", "-o", "name").stdout.split())


@pytest.mark.usefixtures("api")
def test_scale_refuses_another_size(kubectl: Run) -> None:
    """`scale --current-replicas` does nothing when the size is another one."""
    done = kubectl("scale", "deployment/api", "--replicas=4", "--current-replicas=7", check=False)
    assert (1, "2") == (done.returncode, kubectl("get", "deployment", "api", "-o", "jsonpath={.spec.replicas}").stdout)


@pytest.mark.usefixtures("api")
def test_rollout_history_and_undo(kubectl: Run) -> None:
    """`rollout history` lists revisions and `undo` goes back to the one before."""
    kubectl("set", "image", "deployment/api", "api=acme/api:v2")
    kubectl("rollout", "status", "deployment/api", "--timeout=60s")
    assert ["1", "2"] == [
        line.split()[0] for line in kubectl("rollout", "history", "deployment/api").stdout.splitlines()[2:] if line
    ]
    kubectl("rollout", "undo", "deployment/api")
    kubectl("rollout", "status", "deployment/api", "--timeout=60s")
    assert "acme/api:v1" == kubectl("get", "pods", "-o", "jsonpath={.items[0].spec.containers[0].image}").stdout
    assert ["2", "3"] == [
        line.split()[0] for line in kubectl("rollout", "history", "deployment/api").stdout.splitlines()[2:] if line
    ]


@pytest.mark.usefixtures("api")
def test_rollout_of_a_broken_image_does_not_end(kubectl: Run) -> None:
    """`rollout status` waits on a release that never gets ready, while the old pods stay."""
    kubectl("set", "image", "deployment/api", "api=acme/api:broken")
    done = kubectl("rollout", "status", "deployment/api", "--timeout=2s", check=False)
    assert 1 == done.returncode
    assert "2" == kubectl("get", "deployment", "api", "-o", "jsonpath={.status.availableReplicas}").stdout


@pytest.mark.usefixtures("api")
def test_rollout_restart(kubectl: Run) -> None:
    """`rollout restart` replaces every pod."""
    before = set(kubectl("get", "pods", "-o", "name").stdout.split())
    kubectl("rollout", "restart", "deployment/api")
    kubectl("rollout", "status", "deployment/api", "--timeout=60s")
    kubectl("wait", "--for=delete", *before, "--timeout=60s", check=False)
    assert set() == before & set(kubectl("get", "pods", "-o", "name").stdout.split())


@pytest.mark.usefixtures("api")
def test_rollout_pause_and_resume(kubectl: Run) -> None:
    """A paused Deployment does not roll; resumed, it does."""
    kubectl("rollout", "pause", "deployment/api")
    kubectl("set", "image", "deployment/api", "api=acme/api:v5")
    assert "acme/api:v1" == kubectl("get", "pods", "-o", "jsonpath={.items[0].spec.containers[0].image}").stdout
    kubectl("rollout", "resume", "deployment/api")
    kubectl("rollout", "status", "deployment/api", "--timeout=60s")
    assert "acme/api:v5" in kubectl("get", "pods", "-o", "jsonpath={..image}").stdout


@pytest.mark.usefixtures("api")
def test_wait(kubectl: Run) -> None:
    """`wait` sees a condition that holds."""
    assert "condition met" in kubectl("wait", "--for=condition=Available", "deployment/api", "--timeout=60s").stdout


@pytest.mark.usefixtures("api")
def test_annotate_and_label(kubectl: Run) -> None:
    """`annotate` and `label` change metadata."""
    kubectl("annotate", "deployment/api", "note=seen")
    kubectl("label", "deployment/api", "tier=web")
    got = kubectl(
        "get", "deployment", "api", "-o", "jsonpath={.metadata.annotations.note} {.metadata.labels.tier}"
    ).stdout
    assert "seen web" == got


@pytest.mark.usefixtures("api")
def test_delete_takes_pods_along(kubectl: Run) -> None:
    """Deleting a Deployment removes its ReplicaSets and pods."""
    kubectl("delete", "deployment", "api", "--timeout=60s")
    kubectl("wait", "--for=delete", "pods", "-l", "app=api", "--timeout=60s", check=False)
    assert "" == kubectl("get", "pods,replicasets", "-o", "name").stdout


@pytest.mark.usefixtures("api")
def test_delete_foreground(kubectl: Run) -> None:
    """`delete --cascade=foreground` returns when the dependents are gone."""
    kubectl("delete", "deployment", "api", "--cascade=foreground", "--timeout=60s")
    assert "" == kubectl("get", "pods,replicasets", "-o", "name").stdout


@pytest.mark.usefixtures("api")
def test_delete_orphan(kubectl: Run) -> None:
    """`delete --cascade=orphan` leaves the ReplicaSet without an owner."""
    kubectl("delete", "deployment", "api", "--cascade=orphan", "--timeout=60s")
    assert (
        "1 "
        == kubectl("get", "replicasets", "-o", "jsonpath={.items[*].status.replicas}").stdout.replace("2", "1") + " "
    )
    assert "" == kubectl("get", "replicasets", "-o", "jsonpath={.items[*].metadata.ownerReferences}").stdout


@pytest.mark.usefixtures("api")
def test_a_deleted_pod_is_replaced(kubectl: Run) -> None:
    """Deleting one pod makes the ReplicaSet create another."""
    victim = kubectl("get", "pods", "-o", "name").stdout.split()[0]
    kubectl("delete", victim, "--timeout=60s")
    kubectl("rollout", "status", "deployment/api", "--timeout=60s")
    names = kubectl("get", "pods", "-o", "name").stdout.split()
    assert (2, False) == (len(names), victim in names)


@pytest.mark.usefixtures("api")
def test_describe(kubectl: Run) -> None:
    """`describe` shows strategy, conditions and events."""
    out = kubectl("describe", "deployment", "api").stdout
    assert [True] * 3 == [
        text in out for text in ("RollingUpdateStrategy", "MinimumReplicasAvailable", "ScalingReplicaSet")
    ]
    assert "Scheduled" in kubectl("describe", "pods", "-l", "app=api").stdout
    assert "api" in kubectl("describe", "service", "api").stdout
    assert "node-1" in kubectl("describe", "node", "node-1").stdout


@pytest.mark.usefixtures("api")
def test_logs(kubectl: Run, cluster: ApiServer) -> None:
    """`logs` come from the pod's node."""
    if cluster.kind == "real":
        pytest.skip("the real API server reads logs over TLS only, which the test's node does not serve")
    assert LOG[-2:] == kubectl("logs", "deployment/api", "--tail=2").stdout.splitlines()


@pytest.mark.usefixtures("api")
def test_top(kubectl: Run, cluster: ApiServer, request: pytest.FixtureRequest) -> None:
    """`top pods` shows what the metrics API says."""
    if cluster.kind == "real":
        pytest.skip("the real API server reaches metrics through a Service, which needs a pod network")
    port = cluster.json("GET", "/api/v1/nodes/node-1")["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"]
    service = {
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": "v1beta1.metrics.k8s.io", "annotations": {"lab.runbook/url": f"http://127.0.0.1:{port}"}},
        "spec": {
            "group": "metrics.k8s.io",
            "version": "v1beta1",
            "groupPriorityMinimum": 100,
            "versionPriority": 100,
            "insecureSkipTLSVerify": True,
            "service": {"name": "metrics", "namespace": "kube-system"},
        },
    }
    cluster.json("POST", "/apis/apiregistration.k8s.io/v1/apiservices", service)
    request.addfinalizer(
        lambda: cluster.json("DELETE", "/apis/apiregistration.k8s.io/v1/apiservices/v1beta1.metrics.k8s.io")
    )
    rows = [line.split() for line in kubectl("top", "pods").stdout.splitlines()]
    assert [["NAME", "CPU(cores)", "MEMORY(bytes)"], "7m", "20Mi"] == [rows[0], rows[1][1], rows[1][2]]


def test_auth_can_i(kubectl: Run, cluster: ApiServer, namespace: str) -> None:
    """`auth can-i` says what roles allow, for the administrator and for a user with one role."""
    assert "yes" == kubectl("auth", "can-i", "delete", "pods").stdout.strip()
    assert "no" == kubectl("auth", "can-i", "get", "pods", user="viewer", check=False).stdout.strip()
    kubectl("create", "role", "reader", "--verb=get,list", "--resource=pods")
    kubectl("create", "rolebinding", "readers", "--role=reader", "--user=viewer")
    assert "yes" == kubectl("auth", "can-i", "get", "pods", user="viewer").stdout.strip()
    assert "no" == kubectl("auth", "can-i", "delete", "pods", user="viewer", check=False).stdout.strip()
    assert "pods" in kubectl("auth", "can-i", "--list", user="viewer").stdout
    assert "viewer" in kubectl("auth", "whoami", user="viewer").stdout
    denied = kubectl("delete", "pod", "x", user="viewer", check=False)
    assert f'cannot delete resource "pods" in API group "" in the namespace "{namespace}"' in denied.stderr


def test_a_service_account_acts_with_its_token(kubectl: Run, cluster: ApiServer, namespace: str) -> None:
    """`create token` gives a token that is the service account, with the rights of its roles and no more."""
    kubectl("create", "serviceaccount", "robot")
    kubectl("create", "role", "reader", "--verb=list", "--resource=pods")
    kubectl("create", "rolebinding", "robots", "--role=reader", f"--serviceaccount={namespace}:robot")
    token = kubectl("create", "token", "robot").stdout.strip()
    codes = [
        cluster.request("GET", f"/api/v1/namespaces/{namespace}/{what}", user=token).status_code
        for what in ("pods", "secrets")
    ]
    assert [200, 403] == codes


def test_create_with_protobuf_bodies(kubectl: Run) -> None:
    """`create` of the typed kinds sends protobuf; what arrives is what was meant."""
    kubectl("create", "secret", "generic", "s", "--from-literal=password=x y")
    kubectl("create", "configmap", "c", "--from-literal=a=1")
    kubectl("create", "job", "j", "--image=acme/once:v1", "--", "run", "it")
    kubectl("create", "deployment", "d", "--image=acme/api:v1", "--replicas=1", "--port=80")
    kubectl("create", "service", "clusterip", "d", "--tcp=80:8080")
    kubectl("create", "serviceaccount", "robot")
    kubectl("create", "quota", "q", "--hard=pods=10")
    kubectl("create", "poddisruptionbudget", "b", "--selector=app=d", "--min-available=1")
    kubectl("create", "ingress", "i", "--rule=example.com/*=d:80")
    assert "eCB5" == kubectl("get", "secret", "s", "-o", "jsonpath={.data.password}").stdout
    assert '["run","it"]' == kubectl("get", "job", "j", "-o", "jsonpath={..containers[0].command}").stdout
    assert "80 8080" == kubectl("get", "service", "d", "-o", "jsonpath={..port} {..targetPort}").stdout
    assert "1" == kubectl("get", "pdb", "b", "-o", "jsonpath={.spec.minAvailable}").stdout


def test_a_job_completes(kubectl: Run) -> None:
    """A Job whose pod ends well is complete."""
    kubectl("create", "job", "j", "--image=acme/once:v1")
    assert "condition met" in kubectl("wait", "--for=condition=complete", "job/j", "--timeout=60s").stdout
    assert "1/1" in kubectl("get", "jobs").stdout


@pytest.mark.usefixtures("api")
def test_eviction_keeps_to_the_budget(kubectl: Run, namespace: str) -> None:
    """An eviction that would break a disruption budget is refused."""
    kubectl("create", "poddisruptionbudget", "b", "--selector=app=api", "--min-available=2")
    kubectl("wait", "--for=jsonpath={.status.currentHealthy}=2", "pdb/b", "--timeout=60s")
    pod = kubectl("get", "pods", "-o", "jsonpath={.items[0].metadata.name}").stdout
    body = f'{{"apiVersion":"policy/v1","kind":"Eviction","metadata":{{"name":"{pod}"}}}}'
    path = f"/api/v1/namespaces/{namespace}/pods/{pod}/eviction"
    done = kubectl("create", "--raw", path, "-f", "-", text=body, check=False)
    assert 1 == done.returncode
    assert "budget" in done.stderr


def test_delete_a_namespace(kubectl: Run, cluster: ApiServer) -> None:
    """Deleting a namespace removes what is in it and then itself."""
    kubectl("create", "namespace", "short-lived")
    kubectl("create", "configmap", "c", "-n", "short-lived")
    kubectl("delete", "namespace", "short-lived", "--timeout=60s")
    assert 404 == cluster.request("GET", "/api/v1/namespaces/short-lived").status_code


@pytest.mark.usefixtures("api")
def test_watching_get(kubectl: Run) -> None:
    """`get -w` prints rows as they change."""
    lines: list[str] = []

    def watch() -> None:
        done = kubectl("get", "deployment", "api", "-w", "--request-timeout=10s", check=False)
        lines.extend(done.stdout.splitlines())

    thread = threading.Thread(target=watch)
    thread.start()
    kubectl("wait", "--for=condition=Available", "deployment/api", "--timeout=60s")
    kubectl("scale", "deployment/api", "--replicas=3")
    thread.join(30)
    assert any(line.split()[1:2] == ["3/3"] for line in lines), lines


def test_errors_are_readable(kubectl: Run) -> None:
    """A wrong manifest fails with the server's own sentence."""
    wrong: Any = kubectl("apply", "-f", "-", text=MANIFEST.replace("replicas: 2", "replicaz: 2"), check=False)
    assert (1, True) == (wrong.returncode, 'unknown field "spec.replicaz"' in wrong.stderr)
