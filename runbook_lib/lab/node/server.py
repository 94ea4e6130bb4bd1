"""The node's HTTP server: container logs, exec, port-forward, metrics and resource usage.

Plain HTTP and TLS answer on the same port: a real API server dials nodes by TLS, the lab's parts do not need it. What
runs a command or reaches a port is for the API server's own client certificate alone.
"""

from __future__ import annotations

import contextlib
import json
import logging
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from runbook_lib.lab.node import exec as streaming
from runbook_lib.lab.node.container import Container
from runbook_lib.lab.node.logs import LogQuery, stream

LOG = logging.getLogger("node.server")
_TLS_HANDSHAKE = 0x16
_REQUEST_TIMEOUT_SECONDS = 30.0
Object = dict[str, Any]
# namespace, pod, container, previous -> log file and whether it may still grow; None when there is no such container
FindLog = Callable[[str, str, str, bool], tuple[Path, Callable[[], bool]] | None]
# namespace, pod -> its containers that run; none when it is not here
FindRunning = Callable[[str, str], list[Container]]


class NodeServer(ThreadingHTTPServer):
    """Serves one node.

    Args:
        port: TCP port on 127.0.0.1.
        find_log: finds the log of a container.
        metrics: renders ``/metrics``.
        usage: answers a path below ``/apis/metrics.k8s.io`` with its query; None when there is no such path.
        certificate: PEM file with key and certificate; None serves plain HTTP only.
        find_running: finds the containers of a pod.
        callers: PEM file with the client certificate that may run commands and reach ports; None lets nobody.
    """

    daemon_threads = True
    allow_reuse_address = True

    def __init__(
        self,
        port: int,
        find_log: FindLog,
        metrics: Callable[[], str],
        usage: Callable[[str, dict[str, str]], Object | None],
        certificate: Path | None,
        find_running: FindRunning,
        callers: Path | None,
    ) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.find_log, self.metrics, self.usage, self.find_running = find_log, metrics, usage, find_running
        self._tls: ssl.SSLContext | None = None
        if certificate is not None:
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._tls.load_cert_chain(certificate)
            if callers is not None:
                self._tls.verify_mode = ssl.CERT_OPTIONAL
                self._tls.load_verify_locations(callers)

    def start(self) -> None:
        """Serve in a thread."""
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 1.0}, name="server", daemon=True).start()

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Runs in the connection's own thread: the first byte tells TLS from plain HTTP."""
        request.settimeout(_REQUEST_TIMEOUT_SECONDS)
        if self._tls is not None:
            first = request.recv(1, socket.MSG_PEEK)
            if first and first[0] == _TLS_HANDSHAKE:
                request = self._tls.wrap_socket(request, server_side=True)
        super().finish_request(request, client_address)
        with contextlib.suppress(OSError):
            request.shutdown(socket.SHUT_WR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A peer that goes away or does not finish is no news."""
        LOG.debug("connection of %s failed", client_address, exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    server: NodeServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Route one request."""
        url = urlsplit(self.path)
        query = {key: values[-1] for key, values in parse_qs(url.query).items()}
        parts = [unquote(part) for part in url.path.strip("/").split("/")]
        match parts:
            case ["healthz"]:
                self._send(200, "text/plain", b"ok")
            case ["metrics"]:
                self._send(200, "text/plain; version=0.0.4; charset=utf-8", self.server.metrics().encode())
            case ["containerLogs", namespace, pod, container]:
                self._logs(namespace, pod, container, query)
            case ["exec", namespace, pod, *_, container]:
                self._exec(namespace, pod, container, parse_qs(url.query))
            case ["portForward", namespace, pod, *_]:
                self._forward(namespace, pod)
            case ["apis", "metrics.k8s.io", *_]:
                answer = self.server.usage(url.path, query)
                if answer is None:
                    self._status(404, "NotFound", f"{url.path} not found")
                else:
                    self._json(200, answer)
            case _:
                self._status(404, "NotFound", f"{url.path} not found")

    def _logs(self, namespace: str, pod: str, container: str, query: dict[str, str]) -> None:
        try:
            wanted = LogQuery.parse(query)
        except ValueError as error:
            self._status(400, "BadRequest", str(error))
            return
        found = self.server.find_log(namespace, pod, container, wanted.previous)
        if found is None:
            self._status(404, "NotFound", f'container "{container}" of pod "{pod}" has no such log')
            return
        path, growing = found
        self.send_response(200)
        self.send_header("content-type", "text/plain")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for data in stream(path, wanted, growing):
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.write(b"0\r\n\r\n")

    def do_POST(self) -> None:
        """Route one request that asks for streams."""
        self.do_GET()

    def _exec(self, namespace: str, pod: str, container: str, query: dict[str, list[str]]) -> None:
        found = next((one for one in self.server.find_running(namespace, pod) if one.name == container), None)
        try:
            command = streaming.Command.parse(query)
        except ValueError as error:
            self._status(400, "BadRequest", str(error))
            return
        if found is None:
            self._status(404, "NotFound", f'container not found ("{container}")')
        elif self._upgraded(streaming.EXEC_PROTOCOL):
            streaming.run(found, command, self.rfile, self._send_raw)

    def _forward(self, namespace: str, pod: str) -> None:
        found = self.server.find_running(namespace, pod)
        if not found:
            self._status(404, "NotFound", f'pod not found ("{pod}_{namespace}")')
        elif self._upgraded(streaming.FORWARD_PROTOCOL):
            streaming.forward(found, self.rfile, self._send_raw)

    def _upgraded(self, protocol: str) -> bool:
        """Whether the connection is a session of SPDY from here on; else the caller has been told why not."""
        peer = self.connection.getpeercert() if isinstance(self.connection, ssl.SSLSocket) else None
        offered = ",".join(self.headers.get_all("X-Stream-Protocol-Version") or [])
        if not peer:
            self._status(403, "Forbidden", "only the API server, known by its client certificate, may do this")
        elif "spdy/3.1" not in self.headers.get("Upgrade", "").lower() or protocol not in offered:
            self._status(400, "BadRequest", f"the node speaks {protocol} over SPDY/3.1 only")
        else:
            self.send_response(101)
            for name, value in (
                ("Connection", "Upgrade"),
                ("Upgrade", "SPDY/3.1"),
                ("X-Stream-Protocol-Version", protocol),
            ):
                self.send_header(name, value)
            self.end_headers()
            self.connection.settimeout(None)
            self.close_connection = True
            return True
        return False

    def _send_raw(self, data: bytes) -> None:
        self.wfile.write(data)

    def _status(self, code: int, reason: str, message: str) -> None:
        kind = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
        self._json(code, {**kind, "message": message, "reason": reason, "code": code})

    def _json(self, code: int, body: Object) -> None:
        self._send(code, "application/json", json.dumps(body).encode())

    def _send(self, code: int, content_type: str, body: bytes) -> None:
        self.send_response(code)
        self.send_header("content-type", content_type)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is the base class's
        """Requests are not logged."""


def self_signed(folder: Path, name: str) -> Path | None:
    """A key with a self-signed certificate, made by openssl; None where there is no openssl."""
    program = shutil.which("openssl")
    if program is None:
        LOG.warning("no openssl on PATH: an https API server cannot read container logs from this node")
        return None
    path = folder / "node.pem"
    path.touch(mode=0o600)
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    command = [program, "req", "-x509", *curve, "-nodes", "-days", "3650", "-subj", f"/CN={name}"]
    done = subprocess.run([*command, "-keyout", path, "-out", "-"], capture_output=True, timeout=30, check=False)
    if done.returncode:
        LOG.warning("openssl: %s", done.stderr.decode(errors="replace").strip())
        return None
    with path.open("ab") as file:
        file.write(done.stdout)
    return path
