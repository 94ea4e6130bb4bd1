"""A real API server that refuses, stands still, dies or says no: gaps and rejections, no hang, and the lab survives."""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from runbook_lib.clients._tape import LiveTape
from runbook_lib.clients.kubernetes import KubernetesClient
from runbook_lib.errors import ActionRejectedError, LabError
from runbook_lib.lab import state as states
from runbook_lib.lab import supervisor
from runbook_lib.lab.cluster import Cluster, write_kubeconfig
from runbook_lib.lab.components import Spawner
from runbook_lib.lab.realplane import start
from runbook_lib.lab.state import stop_all
from runbook_lib.model import Endpoint, Evidence, Gap, Window
from tests.conftest import JOURNALS, Practice
from tests.lab.controlplane.servers import ApiServer, found_programs, start_real

pytestmark = [
    pytest.mark.slow,
    pytest.mark.lab,
    pytest.mark.timeout(600),
    pytest.mark.skipif(found_programs() is None, reason="bad clusters on a real API server: make test-cluster"),
]

NAMESPACE, ACCOUNT = "shop", "caller"
LABELS = {"app": "web"}
DEPLOYMENT = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "web"},
    "spec": {
        "replicas": 3,
        "selector": {"matchLabels": LABELS},
        "template": {"metadata": {"labels": LABELS}, "spec": {"containers": [{"name": "web", "image": "web:1"}]}},
    },
}
WEBHOOK = "freeze.example.com"
REASON = "the shop is closed for stocktaking"


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """A real control plane without a node, with one deployment."""
    server = start_real(tmp_path_factory.mktemp("plane"))
    try:
        server.json("POST", "/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
        server.json("POST", f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments", DEPLOYMENT)
        server.json("POST", f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts", {"metadata": {"name": ACCOUNT}})
        yield server
    finally:
        server.stop()


@pytest.fixture
def client() -> Iterator[Callable[..., KubernetesClient]]:
    """Builds clients of a kubeconfig; each question may take three seconds."""
    made: list[KubernetesClient] = []

    def build(kubeconfig: Path) -> KubernetesClient:
        endpoint = Endpoint("kubernetes", {"kubeconfig": str(kubeconfig), "namespace": NAMESPACE})
        workload = {"namespace": NAMESPACE, "deployment": "web", "container": "web"}
        made.append(
            KubernetesClient(
                endpoint=endpoint, tape=LiveTape(), window=Window.last(5), workload=workload, total_seconds=3.0
            )
        )
        return made[-1]

    yield build
    for one in made:
        one.close()


def pid_of_server(folder: Path) -> int:
    """The process of the API server of a lab or of a control plane alone."""
    return states.processes(folder)[start.SERVER].pid


def token(plane: ApiServer, *, expired_for: float) -> str:
    """A token of a service account as the API server signs them, of a past time; ES256 of RFC 7518, section 3.4."""
    now = int(time.time())
    account = plane.json("GET", f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/{ACCOUNT}")["metadata"]
    issuer = "https://kubernetes.default.svc"
    told = {"namespace": NAMESPACE, "serviceaccount": {"name": ACCOUNT, "uid": account["uid"]}}
    claims = {
        "iss": issuer,
        "aud": [issuer],
        "sub": f"system:serviceaccount:{NAMESPACE}:{ACCOUNT}",
        "iat": now - 4000,
        "nbf": now - 4000,
        "exp": int(now - expired_for),
        "kubernetes.io": told,
    }
    key = serialization.load_pem_private_key((plane.directory / "tls.key").read_bytes(), None)
    assert isinstance(key, EllipticCurvePrivateKey)
    signed = ".".join(_word(json.dumps(part).encode()) for part in ({"alg": "ES256", "typ": "JWT"}, claims))
    pair = decode_dss_signature(key.sign(signed.encode(), ECDSA(hashes.SHA256())))
    return f"{signed}.{_word(b''.join(number.to_bytes(32, 'big') for number in pair))}"


def _word(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def test_taken_port_is_named(tmp_path: Path) -> None:
    """A port that somebody listens on ends the start at once, with the API server's own words."""
    for name in ("logs", "kubernetes"):
        (tmp_path / name).mkdir()
    (tmp_path / "kubernetes" / "tokens.csv").write_text("t,admin,admin,system:masters\n")
    programs = found_programs()
    assert programs is not None
    with socket.create_server(("127.0.0.1", 0)) as taken:
        try:
            with pytest.raises(LabError, match=r"(?s)kube-apiserver ended with .*address already in use"):
                list(start.start(Spawner(tmp_path), programs, taken.getsockname()[1], "t"))
        finally:
            stop_all(tmp_path)


@pytest.mark.parametrize(
    ("expired_for", "told"), [(-600, "answered 403"), (60, "answered 401")], ids=["no right", "old"]
)
def test_token_is_refused(
    plane: ApiServer, client: Callable[..., KubernetesClient], tmp_path: Path, expired_for: float, told: str
) -> None:
    """A token that has expired is a gap with the server's 401; the same token in its time is told what it may not."""
    path = tmp_path / "kubeconfig"
    write_kubeconfig(path, ACCOUNT, token(plane, expired_for=expired_for), plane.kubeconfig)
    found = client(path).deployment()
    assert isinstance(found, Gap)
    assert "denied" == found.kind
    assert told in found.reason


def test_server_that_stands_still_is_a_gap(plane: ApiServer, client: Callable[..., KubernetesClient]) -> None:
    """Nobody waits longer than the deadline for an API server that does not answer, and it is read when it does."""
    asking, pid = client(plane.kubeconfig), pid_of_server(plane.directory.parent)
    assert isinstance(asking.deployment(), Evidence)
    os.kill(pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        found = asking.deployment()
        assert isinstance(found, Gap)
        assert "timeout" == found.kind
        assert time.monotonic() - began < 6
    finally:
        os.kill(pid, signal.SIGCONT)
    assert isinstance(asking.deployment(), Evidence)


class _Denying(BaseHTTPRequestHandler):
    """An admission webhook that denies everything; admission.k8s.io/v1."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))["request"]
        answer = {"uid": asked["uid"], "allowed": False, "status": {"code": 403, "message": REASON}}
        body = json.dumps({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": answer}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is the base class's
        """Requests are not logged."""


@pytest.fixture
def webhook(plane: ApiServer) -> Iterator[None]:
    """A webhook of the cluster that denies every change of a deployment's scale."""
    server = HTTPServer(("127.0.0.1", 0), _Denying)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(plane.directory / "tls.crt", plane.directory / "tls.key")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    trusted = base64.b64encode((plane.directory / "tls.crt").read_bytes()).decode()
    rule = {"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": ["deployments/scale"]}
    hook = {
        "name": WEBHOOK,
        "clientConfig": {"url": f"https://127.0.0.1:{server.server_address[1]}/", "caBundle": trusted},
        "rules": [rule],
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
    }
    place = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"
    plane.json("POST", place, {"metadata": {"name": "freeze"}, "webhooks": [hook]})
    yield
    plane.json("DELETE", f"{place}/freeze")
    server.shutdown()
    server.server_close()


def test_denying_webhook_is_told_before_and_after(
    plane: ApiServer, client: Callable[..., KubernetesClient], webhook: None
) -> None:
    """The server's dry run says what the webhook will say, a request is rejected with its words, nothing changes."""
    asking = client(plane.kubeconfig)
    found = asking.deployment()
    assert isinstance(found, Evidence)
    uid = found.document["metadata"]["uid"]
    deadline = time.monotonic() + 30
    told = ""
    # The API server follows its webhooks by a watch.
    while not told and time.monotonic() < deadline:
        try:
            asking.scale(replicas=5, uid=uid, current=3, dry_run=True)
        except ActionRejectedError as error:
            told = str(error)
    assert f'admission webhook "{WEBHOOK}" denied the request: {REASON}' in told
    with pytest.raises(ActionRejectedError, match=REASON):
        asking.scale(replicas=5, uid=uid, current=3)
    place = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/web"
    assert 3 == plane.json("GET", place)["spec"]["replicas"]


def test_server_dies_during_a_run_and_the_lab_lives(practice: Practice) -> None:
    """The run ends with gaps instead of waiting, the service serves on, and ``up`` brings the same cluster back."""
    with Cluster(practice.folder / "kubeconfig") as cluster:
        uid = cluster.deployment()["metadata"]["uid"]
    threading.Thread(target=_kill_once_begun, args=(practice,), daemon=True).start()
    told = practice.run("high_latency", "-p", "window_minutes=5")
    assert 5 == told["exit_code"]
    assert any(gap["source"] == "kubernetes" for gap in told["gaps"])
    status = supervisor.status(practice.folder)
    assert ("degraded", "stopped") == (status["state"], status["components"]["kubernetes"]["state"])
    assert practice.p95() is not None
    assert "running" == supervisor.up(practice.folder, control_plane="real")["state"]
    with Cluster(practice.folder / "kubeconfig") as cluster:
        assert uid == cluster.deployment()["metadata"]["uid"]
    assert practice.wait(below=0.2, seconds=120)
    assert 0 == practice.run("validate", "-p", "window_minutes=2")["exit_code"]


def _kill_once_begun(practice: Practice) -> None:
    """Kill the API server when the run has read something."""
    old = set((practice.folder / "outputs").glob(JOURNALS))
    while not any('"evidence"' in path.read_text() for path in set((practice.folder / "outputs").glob(JOURNALS)) - old):
        time.sleep(0.1)
    os.kill(pid_of_server(practice.folder), signal.SIGKILL)
