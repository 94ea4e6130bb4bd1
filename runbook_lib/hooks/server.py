"""The receiver: small, bounded, on loopback by default. It checks, writes the queue and answers; nothing else."""

from __future__ import annotations

import contextlib
import hmac
import ipaddress
import json
import socket
import sqlite3
import sys
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

from runbook_lib.catalog import Catalog
from runbook_lib.errors import RecordError, SecretError, UsageError
from runbook_lib.hooks import alerts
from runbook_lib.hooks.queue import Queue
from runbook_lib.hooks.settings import Settings
from runbook_lib.secrets import SecretRef

#: Largest body, bytes; Alertmanager's largest notification is far below it.
MOST_BYTES = 1_000_000
#: Requests that are served at the same time; more are told to come again.
MOST_AT_ONCE = 32
#: Jobs that may wait; then senders are told to come again.
MOST_WAITING = 1_000
#: Time that a sender has for its whole request, seconds.
REQUEST_SECONDS = 10.0
#: How long a refused sender may still send into the void, seconds.
LINGER_SECONDS = 1.0


class Receiver(ThreadingHTTPServer):
    """Serves ``/alertmanager``, ``/grafana``, ``/pagerduty`` and ``/healthz``.

    Args:
        address: host and port; port 0 takes a free one.
        settings: what starts what.
        catalog: what there is.
        queue: where it is remembered.
        wake: called after something new was queued.

    Raises:
        UsageError: the address is not on loopback and no token is set, or the port is taken.
    """

    daemon_threads = True
    allow_reuse_address = True
    #: An alert storm connects at once; with the default of five the kernel would turn senders away.
    request_queue_size = 128

    def __init__(
        self, address: tuple[str, int], settings: Settings, catalog: Catalog, queue: Queue, wake: Callable[[], None]
    ) -> None:
        if not settings.token and not _is_loopback(address[0]):
            raise UsageError(f"{address[0]} can be reached by others: set token in hook.toml first")
        self.settings, self.catalog, self.queue, self.wake = settings, catalog, queue, wake
        self.places = threading.BoundedSemaphore(MOST_AT_ONCE)
        try:
            super().__init__(address, _Handler)
        except OSError as error:
            raise UsageError(f"{address[0]}:{address[1]}: {error.strerror}") from error

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A sender that hangs up is no event."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            sys.stderr.write(f"hook: {type(error).__name__} while serving a request\n")

    def receive(self, source: str, body: bytes) -> tuple[int, dict[str, Any]]:
        """Remember a delivery.

        Returns:
            Status and answer.
        """
        try:
            notification = alerts.parse(source, body)
        except UsageError as error:
            return 400, {"error": str(error)}
        if notification is None:
            return 200, {"ignored": "it says nothing about the beginning or the end of an incident"}
        route = self.settings.route(notification, self.catalog)
        if isinstance(route, str):
            # A 2xx: the sender would only repeat what can never be routed.
            return 200, {"ignored": route}
        if self.queue.waiting() >= MOST_WAITING:
            return 503, {"error": "too many runs are waiting"}
        incident, new = self.queue.take(notification, route)
        if new:
            self.wake()
        return 202, {"incident": incident, "queued": list(new)}


class _Handler(BaseHTTPRequestHandler):
    server: Receiver
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "runbook", ""
    timeout = REQUEST_SECONDS
    _PATHS: ClassVar[Mapping[str, str]] = {f"/{source}": source for source in alerts.PARSERS}

    def do_GET(self) -> None:
        """Whether the queue can be read."""
        if self.path != "/healthz":
            self._answer(404, {"error": "there is /healthz only"})
            return
        try:
            self._answer(200, {"status": "healthy", "waiting": self.server.queue.waiting()})
        except (sqlite3.Error, RecordError) as error:
            self._answer(500, {"error": f"the queue cannot be read: {type(error).__name__}"})

    def do_POST(self) -> None:
        """One delivery."""
        if not self.server.places.acquire(blocking=False):
            self._answer(503, {"error": "busy"}, close=True)
            return
        try:
            self._deliver()
        finally:
            self.server.places.release()

    def _deliver(self) -> None:
        source = self._PATHS.get(self.path)
        if source is None:
            self._answer(404, {"error": f"there is {', '.join(self._PATHS)}"}, close=True)
            return
        length = self.headers.get("Content-Length", "")
        if "Transfer-Encoding" in self.headers or not length.isascii() or not length.isdigit():
            self._answer(411, {"error": "Content-Length is needed"}, close=True)
            return
        if len(length) > 9 or int(length) > MOST_BYTES:
            self._answer(413, {"error": f"a body has at most {MOST_BYTES} bytes"}, close=True)
            return
        body = self.rfile.read(int(length))
        if len(body) != int(length):
            self.close_connection = True
            return
        refused = self._refused(source, body)
        if refused:
            self._answer(*refused, close=True)
            return
        try:
            self._answer(*self.server.receive(source, body))
        except sqlite3.Error as error:
            # Not remembered, so not accepted: the sender comes again.
            self._answer(500, {"error": f"the queue cannot be written: {type(error).__name__}"})

    def _refused(self, source: str, body: bytes) -> tuple[int, dict[str, Any]] | None:
        settings = self.server.settings
        try:
            if source == "pagerduty":
                secrets = [SecretRef.parse(one).resolve().reveal() for one in settings.pagerduty]
                if not secrets:
                    return 403, {"error": "no secret of PagerDuty is set in hook.toml"}
                header = self.headers.get("X-PagerDuty-Signature", "")
                return None if alerts.signed(secrets, body, header) else (401, {"error": "the signature does not fit"})
            if not settings.token:
                return None
            token = SecretRef.parse(settings.token).resolve().reveal()
        except SecretError:
            return 503, {"error": "a secret of the hook cannot be read"}
        given = self.headers.get("Authorization", "").removeprefix("Bearer ")
        return None if hmac.compare_digest(given.encode(), token.encode()) else (401, {"error": "no valid token"})

    def _answer(self, status: int, value: Mapping[str, Any], *, close: bool = False) -> None:
        content = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        if close:
            self.close_connection = True
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(content)
        if close:
            self._linger()

    def _linger(self) -> None:
        """Take what is still under way: closing on unread bytes would reset the connection before the answer."""
        left = MOST_BYTES
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            self.connection.settimeout(LINGER_SECONDS)
            while left > 0 and (chunk := self.connection.recv(min(left, 65536))):
                left -= len(chunk)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """One line for each request, without anything that the sender wrote."""
        path = self.path if getattr(self, "path", "") in {*self._PATHS, "/healthz"} else "another path"
        sys.stderr.write(f"hook: {self.command or ''} {path} {getattr(code, 'value', code)}\n")

    def log_error(self, format: str, *args: Any) -> None:  # noqa: A002 - the name of the base class
        """Nothing: an answer has its line, and a kept connection that falls silent is no error."""


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
