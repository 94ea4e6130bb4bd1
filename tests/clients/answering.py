"""A local HTTP server that answers as a test says, or fails in one of the named ways."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit


@dataclass
class Request:
    """What the server was asked."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Answerer:
    """A local HTTP server whose behaviour a test chooses by name; keeps what it was asked."""

    port: int
    server: ThreadingHTTPServer
    requests: list[Request] = field(default_factory=list)
    behave: Callable[[Request, BaseHTTPRequestHandler], None] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def always(self, status: int, body: Any, **headers: str) -> None:
        """Answer everything with one status and body; a body that is not bytes is written as JSON."""
        self.behave = lambda _, handler: reply(handler, status, body, **headers)

    def by_path(self, answers: dict[str, Any]) -> None:
        """Answer each path with its JSON body, others with 404."""

        def behave(request: Request, handler: BaseHTTPRequestHandler) -> None:
            found = answers.get(request.path)
            reply(handler, 404 if found is None else 200, {"message": "not found"} if found is None else found)

        self.behave = behave

    def fail(self, name: str) -> None:
        """One of the named failures of ``FAILURES``."""
        self.behave = FAILURES[name]


def reply(handler: BaseHTTPRequestHandler, status: int, body: Any, **headers: str) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    handler.send_response(status)
    handler.send_header("Content-Type", "application/octet-stream" if isinstance(body, bytes) else "application/json")
    handler.send_header("Content-Length", str(len(content)))
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(content)


def _dribble_headers(request: Request, handler: BaseHTTPRequestHandler) -> None:
    with contextlib.suppress(OSError):
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
        for n in range(200):
            handler.wfile.write(f"X-Slow-{n}: 1\r\n".encode())
            handler.wfile.flush()
            time.sleep(0.05)


def _dribble_body(request: Request, handler: BaseHTTPRequestHandler) -> None:
    with contextlib.suppress(OSError):
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n")
        for _ in range(200):
            handler.wfile.write(b" ")
            handler.wfile.flush()
            time.sleep(0.05)


def _reset(request: Request, handler: BaseHTTPRequestHandler) -> None:
    # SO_LINGER 0 makes close() send RST instead of FIN.
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    handler.connection.close()


def _hang(request: Request, handler: BaseHTTPRequestHandler) -> None:
    handler.server.released.wait(20)  # type: ignore[attr-defined]


FAILURES: dict[str, Callable[[Request, BaseHTTPRequestHandler], None]] = {
    "503": lambda _, h: reply(h, 503, b"upstream connect error"),
    "401": lambda _, h: reply(h, 401, b"Unauthorized"),
    "403": lambda _, h: reply(h, 403, {"message": "permission denied"}),
    "500": lambda _, h: reply(h, 500, {"message": "boom"}),
    "429": lambda _, h: reply(h, 429, b"slow down", Retry_After="30"),
    "redirect": lambda _, h: reply(h, 302, b"", Location="http://127.0.0.1:1/login"),
    "hang": _hang,
    "slow headers": _dribble_headers,
    "slow body": _dribble_body,
    "reset": _reset,
    "garbage": lambda _, h: reply(h, 200, b"<html>not json</html>"),
    "not http": lambda _, h: h.wfile.write(b"\x00\x01\x02 hello\r\n\r\n"),
    "other json": lambda _, h: reply(h, 200, {"hello": "world"}),
    "bad gzip": lambda _, h: reply(h, 200, b"not gzip at all", Content_Encoding="gzip"),
    "closed": lambda _, h: h.connection.shutdown(socket.SHUT_RDWR),
}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def handle_one_request(self) -> None:
        with contextlib.suppress(ConnectionError, ValueError):
            super().handle_one_request()

    def answer(self) -> None:
        owner: Answerer = self.server.owner  # type: ignore[attr-defined]
        address = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        query = {name: values[-1] for name, values in parse_qs(address.query, keep_blank_values=True).items()}
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.command, address.path, query, headers, body)
        owner.requests.append(request)
        assert owner.behave is not None, "the test chose no behaviour"
        owner.behave(request, self)
        if owner.behave in {_hang, _dribble_body, _dribble_headers, _reset, FAILURES["closed"], FAILURES["not http"]}:
            self.close_connection = True

    def log_message(self, *args: Any) -> None:
        """Keep the tests' output clean."""


for _method in ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"):
    setattr(Handler, f"do_{_method}", Handler.answer)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is part of the tests."""
