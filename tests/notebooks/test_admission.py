"""What a real API server's admission says to a release: a webhook that refuses it, and a quota that denies its pods."""

from __future__ import annotations

import base64
import json
import os
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from runbook_lib.lab import cluster
from runbook_lib.lab.controlplane import certificate
from runbook_lib.lab.release import NAMESPACE
from tests.conftest import Practice

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(
        os.environ.get("RUNBOOK_TEST_CONTROL_PLANE") != "real",
        reason="admission needs a real control plane: make test-cluster",
    ),
]

DEPLOY = ("deploy", "-p", "image_tag=v2", "-p", "probe_seconds=2", "-p", "window_minutes=10")
WEBHOOKS = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"
QUOTAS = f"/api/v1/namespaces/{NAMESPACE}/resourcequotas"
WORDS = "no releases on Fridays"


class Policy(BaseHTTPRequestHandler):
    """A webhook that lets every dry run pass and refuses what would count."""

    def do_POST(self) -> None:
        """Answer one AdmissionReview."""
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["request"]
        answer = {"uid": asked["uid"], "allowed": bool(asked.get("dryRun")), "status": {"message": WORDS}}
        body = json.dumps({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": answer}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        """Keep the tests' output clean."""


@pytest.fixture
def cluster_admin(practice: Practice) -> Iterator[cluster.Cluster]:
    """The lab's API server as its administrator sees it."""
    with cluster.Cluster(practice.folder / "kubeconfig") as made:
        yield made


@pytest.fixture
def policy(cluster_admin: cluster.Cluster, tmp_path: Path) -> Iterator[None]:
    """The webhook, asked about every change of a deployment in the release's namespace."""
    public, private = certificate.make("policy")
    (tmp_path / "tls.pem").write_text(public + private, encoding="utf-8")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "tls.pem")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Policy)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    rule = {"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": ["deployments"]}
    authority = base64.b64encode(public.encode()).decode()
    webhook = {
        "name": "policy.example.com",
        "clientConfig": {"url": f"https://127.0.0.1:{server.server_address[1]}/", "caBundle": authority},
        "rules": [rule],
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": NAMESPACE}},
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        "failurePolicy": "Fail",
    }
    made = {"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration"}
    cluster_admin.request("POST", WEBHOOKS, {**made, "metadata": {"name": "policy"}, "webhooks": [webhook]})
    try:
        yield
    finally:
        cluster_admin.request("DELETE", f"{WEBHOOKS}/policy")
        server.shutdown()
        server.server_close()
        thread.join()


def applied(practice: Practice) -> dict[str, Any]:
    """Plan the release, approve it, and carry it out."""
    told, archive = practice.run(*DEPLOY), f"{practice.folder}/outputs"
    plan = told["plans"][-1]["digest"]
    granted = practice.command("approve", told["run_id"], "--plan", plan, "--archive", archive, "--json")
    assert 0 == granted.returncode, granted.stderr
    return practice.run(*DEPLOY, "--apply", "--approval", json.loads(granted.stdout)["approval"])


def test_webhook_that_refuses_is_told(practice: Practice, policy: None) -> None:
    """What passed as a dry run and is refused when it counts has failed, with the webhook's words; v1 serves on."""
    outcome = applied(practice)["outcomes"][0]
    assert ("failed", True) == (outcome["outcome"], WORDS in outcome["reason"]), outcome
    assert ("failed", "acme/api:v1") == (outcome["read_back"]["status"], outcome["read_back"]["image"])


def test_quota_that_denies_the_pods_is_told(practice: Practice, cluster_admin: cluster.Cluster) -> None:
    """A quota of something that the pods do not ask for denies them all: told at once, in the cluster's words."""
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "disks"}}
    cluster_admin.request("POST", QUOTAS, {**quota, "spec": {"hard": {"requests.ephemeral-storage": "1Gi"}}})
    try:
        bad = applied(practice)
    finally:
        cluster_admin.request("DELETE", f"{QUOTAS}/disks")
    assert ("applied", "not_held") == (bad["outcomes"][0]["outcome"], bad["verification"]["status"])
    assert "FailedCreate" in bad["verification"]["sentence"], bad["verification"]
    assert "requests.ephemeral-storage" in bad["verification"]["sentence"]
