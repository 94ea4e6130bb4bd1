"""The load generator is open-loop, counts what it could not do, and takes a new rate while it runs."""

from __future__ import annotations

import re
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from runbook_lib.lab.process import Process, accepts_connections, free_port


class Target(ThreadingHTTPServer):
    """Counts requests by path and answers after a delay."""

    daemon_threads = True
    request_queue_size = 512

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.seen: Counter[str] = Counter()
        self.delay_seconds = 0.0


class Answer(BaseHTTPRequestHandler):
    server: Target

    def do_GET(self) -> None:
        self.server.seen[f"{self.command} {self.path.split('?')[0].rstrip('0123456789')}"] += 1
        time.sleep(self.server.delay_seconds)
        self.send_response(200)
        self.end_headers()

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


@pytest.fixture
def target() -> Iterator[Target]:
    server = Target()
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@contextmanager
def load(tmp_path: Path, url: str, rate: float) -> Iterator[str]:
    port = free_port()
    argv = [sys.executable, "-m", "runbook_lib.lab.load", "--url", url, "--rate", str(rate), "--port", str(port)]
    process = Process.start("load", argv, log_path=tmp_path / "load.log")
    try:
        process.wait_until(lambda: accepts_connections(port), 20)
        yield f"http://127.0.0.1:{port}"
        assert process.alive, process.log_tail()
    finally:
        process.stop()


def number(control: str, name: str) -> float:
    text = httpx.get(f"{control}/metrics").text
    return sum(float(found) for found in re.findall(rf"^{name}(?:\{{[^}}]*\}})? (\S+)$", text, re.MULTILINE))


def url_of(target: Target) -> str:
    return f"http://127.0.0.1:{target.server_address[1]}"


def test_rate_is_kept_while_answers_are_slow(tmp_path: Path, target: Target) -> None:
    """Requests leave on time although none is answered within a second: an open loop."""
    target.delay_seconds = 1.0
    with load(tmp_path, url_of(target), 50) as control:
        before = number(control, "load_scheduled_total")
        time.sleep(2.0)
        sent = number(control, "load_scheduled_total") - before

    assert 60 < sent < 140


def test_mix_reaches_every_endpoint(tmp_path: Path, target: Target) -> None:
    """Each kind of request is sent."""
    with load(tmp_path, url_of(target), 200):
        deadline = time.monotonic() + 20
        while len(target.seen) < 6 and time.monotonic() < deadline:
            time.sleep(0.1)

    assert {
        "GET /api/v1/products",
        "GET /api/v1/orders/",
        "GET /api/v1/quote",
        "GET /api/v1/orders",
        "POST /api/v1/orders",
        "GET /api/v1/status",
    } == set(target.seen)


def test_rate_changes_while_it_runs(tmp_path: Path, target: Target) -> None:
    """PUT /rate takes effect at once; rate 0 stops the traffic."""
    with load(tmp_path, url_of(target), 0) as control:
        time.sleep(0.3)
        stopped = number(control, "load_scheduled_total")
        answer = httpx.put(f"{control}/rate", json={"rate": 100})
        time.sleep(1.0)
        running = number(control, "load_scheduled_total")

    assert (0, {"rate": 100}) == (stopped, answer.json())
    assert running > 20


@pytest.mark.parametrize("body", ["", "7", '{"rate": -1}', '{"rate": 1e9}', '{"rate": "1"}', '{"rate": NaN}'])
def test_bad_rate_is_refused(tmp_path: Path, target: Target, body: str) -> None:
    """A wrong rate is a 400 that says what is allowed, and changes nothing."""
    with load(tmp_path, url_of(target), 3) as control:
        answer = httpx.put(f"{control}/rate", content=body)

        assert 400 == answer.status_code
        assert "from 0 to 500" in answer.json()["error"]
        assert {"rate": 3} == httpx.get(f"{control}/rate").json()


def test_service_that_is_down_is_counted(tmp_path: Path) -> None:
    """Refused connections are errors, not silence."""
    with load(tmp_path, f"http://127.0.0.1:{free_port()}", 50) as control:
        time.sleep(1.0)

        assert number(control, "load_errors_total") > 10
        assert 0 == number(control, "load_requests_total")


def test_in_flight_is_bounded(tmp_path: Path, target: Target) -> None:
    """What exceeds the bound is counted as skipped, so a dead service cannot eat the memory."""
    target.delay_seconds = 30.0
    with load(tmp_path, url_of(target), 400) as control:
        deadline = time.monotonic() + 10
        while number(control, "load_skipped_total") == 0 and time.monotonic() < deadline:
            time.sleep(0.2)

        assert number(control, "load_skipped_total") > 0
        assert number(control, "load_in_flight") <= 400
