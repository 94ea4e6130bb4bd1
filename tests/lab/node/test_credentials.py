"""What a kubeconfig may hold to say who we are."""

from __future__ import annotations

import base64
import json
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from runbook_lib.errors import LabError
from runbook_lib.lab.controlplane import certificate
from runbook_lib.lab.node.api import KubeApi
from runbook_lib.lab.node.server import self_signed


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        """Answer any question."""
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"gitVersion": "v1"}')

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is the base class's
        """Requests are not logged."""


@pytest.fixture
def clean() -> None:
    """No cluster is needed here."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[int, str, Path]]:
    """A server that wants one client certificate: its port, its own certificate, and the file with the client's."""
    client = self_signed(tmp_path, "client")
    if client is None:
        pytest.skip("no openssl")
    pem, key = certificate.make("server")
    for name, text in (("tls.crt", pem), ("tls.key", key)):
        (tmp_path / name).write_text(text)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "tls.crt", tmp_path / "tls.key")
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(client)
    listening = HTTPServer(("127.0.0.1", 0), _Handler)
    listening.socket = context.wrap_socket(listening.socket, server_side=True)
    threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    yield listening.server_address[1], pem, client
    listening.shutdown()
    listening.server_close()


def written(folder: Path, port: int, user: dict[str, Any], pem: str) -> Path:
    """A kubeconfig of a user of the server."""
    trusted = base64.b64encode(pem.encode()).decode()
    cluster = {"server": f"https://127.0.0.1:{port}", "certificate-authority-data": trusted}
    content = {
        "current-context": "c",
        "clusters": [{"name": "c", "cluster": cluster}],
        "users": [{"name": "u", "user": user}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
    }
    path = folder / "kubeconfig"
    path.write_text(json.dumps(content))
    return path


def test_certificate_within_the_kubeconfig_is_used(server: tuple[int, str, Path], tmp_path: Path) -> None:
    """A client certificate as kind writes it, inside the file, opens the connection."""
    port, pem, client = server
    both = base64.b64encode(client.read_bytes()).decode()
    user = {"client-certificate-data": both, "client-key-data": both}
    api = KubeApi(written(tmp_path, port, user, pem))
    assert {"gitVersion": "v1"} == api.request("GET", "/version")
    api.close()


@pytest.mark.parametrize("kind", ["exec", "auth-provider"])
def test_program_for_credentials_is_refused(tmp_path: Path, kind: str) -> None:
    """The lab starts no program that a kubeconfig names."""
    with pytest.raises(LabError, match="it runs a program for its credentials"):
        KubeApi(written(tmp_path, 1, {kind: {"command": "touch"}}, certificate.make("server")[0]))
