"""The open-loop probe against a real server with named outages."""

from __future__ import annotations

import itertools
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from runbook_lib.clients._tape import LiveTape, ReplayTape
from runbook_lib.clients.open_loop import OpenLoop
from runbook_lib.clients.probe import HttpProbe
from runbook_lib.model import Evidence


class Service(BaseHTTPRequestHandler):
    """Answers with its version; ``server.mode`` chooses what else happens."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.server.seen.append(self.path)  # type: ignore[attr-defined]
        mode = self.server.mode  # type: ignore[attr-defined]
        if mode == "hang":
            time.sleep(1)
        body = b'{"version": "v2"}'
        self.send_response(503 if mode == "503" else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        # The peer is not told: its next request on this connection finds it closed.
        self.close_connection = self.close_connection or mode == "close"

    def log_message(self, *args: Any) -> None:
        """Nothing."""


@pytest.fixture
def service() -> Any:
    """A server, as ``(url, server)``."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Service)
    server.mode, server.seen, server.daemon_threads = "good", [], True  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}", server
    server.shutdown()
    server.server_close()


def seen(url: str, seconds: float = 0.6, **settings: Any) -> list[dict[str, Any]]:
    """What a probe saw of ``url`` in that time."""
    probe = OpenLoop(f"{url}/api/v1/status", {}, per_second=50, **settings)
    probe.start()
    time.sleep(seconds)
    return probe.stop().records()


def test_good_service_loses_nothing(service: Any) -> None:
    """Every request is answered with its version, on both lanes, at moments that were set before."""
    rows = seen(service[0])
    assert len(rows) >= 25
    assert {("new", "v2", ""), ("kept", "v2", "")} == {(row["lane"], row["version"], row["error"]) for row in rows}
    gaps = {round(after["at"] - before["at"], 4) for before, after in itertools.pairwise(rows)}
    assert {0.02} == gaps


def test_dead_service_is_seen_at_the_full_rate(dead_port: int) -> None:
    """A refused connection is a lost request, and the next ones are sent all the same."""
    rows = seen(f"http://127.0.0.1:{dead_port}")
    assert len(rows) >= 25
    assert all(row["error"] and row["status_code"] is None for row in rows)


def test_slow_answers_do_not_slow_the_probe(service: Any) -> None:
    """While every answer hangs, requests go on at their moments and count as lost after the time limit."""
    service[1].mode = "hang"
    rows = seen(service[0], timeout_seconds=0.3)
    assert len(rows) >= 25
    assert {"no answer in time"} == {row["error"] for row in rows}


def test_error_answers_are_lost_requests(service: Any) -> None:
    """An answer of 500 and above is no answer to a user."""
    service[1].mode = "503"
    assert {"answered 503"} == {row["error"] for row in seen(service[0], 0.2)}


def test_closed_kept_connection_is_no_loss(service: Any) -> None:
    """A kept connection that the server has closed is opened again, as every client does, and said."""
    service[1].mode = "close"
    rows = seen(service[0])
    assert {""} == {row["error"] for row in rows}
    assert {"kept"} == {row["lane"] for row in rows if row["reopened"]}


def test_replay_sends_nothing(service: Any, make: Any) -> None:
    """Through the tape the rows are evidence; replayed, they come from the record and no request is sent."""
    kept: list[Any] = []
    stop = make(HttpProbe, {"url": service[0]}, tape=LiveTape(kept.append)).open_loop(50.0)
    time.sleep(0.2)
    first = stop()
    assert isinstance(first, Evidence), first
    assert {"/api/v1/status"} == set(service[1].seen)
    service[1].seen.clear()
    again = make(HttpProbe, {"url": service[0]}, tape=ReplayTape(kept)).open_loop(50.0)()
    assert (first.data, []) == (again.data, service[1].seen)
