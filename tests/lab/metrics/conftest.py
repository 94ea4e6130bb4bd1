"""Servers that answer the Prometheus HTTP API, all filled with the same samples."""

from __future__ import annotations

import json
import math
import os
import random
import shutil
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from runbook_lib.lab.metrics import remote_write
from runbook_lib.lab.metrics.labels import make_labels
from runbook_lib.lab.metrics.promql.floats import STALE
from runbook_lib.lab.metrics.remote_write import WrittenSeries
from runbook_lib.lab.metrics.server import MetricsServer
from runbook_lib.lab.process import free_port

BASE = 1_700_000_000  # seconds; a fixed past time makes the recorded answers stay true
STEP_MS = 15_000
BOUNDS = ("0.05", "0.1", "0.2", "0.5", "1.0", "+Inf")

# Prometheus 2 counts a sample on the left edge of a window, Prometheus 3 does not: off the samples' grid both agree.
OFF_GRID = str(BASE + 3007.123)
ON_GRID = str(BASE + 3000)
RANGE = {"start": str(BASE + 1800.5), "end": str(BASE + 3300.5), "step": "300"}


def _steps(first: int = 0, last: int = 240) -> list[int]:
    return [BASE * 1000 + index * STEP_MS for index in range(first, last + 1)]


def _counter(rng: random.Random, times: list[int], speed: float, reset: int = -1) -> list[tuple[int, float]]:
    value, out = 0.0, []
    for index, time_ms in enumerate(times):
        value = 0.0 if index == reset else value + rng.randrange(0, 40) * speed
        out.append((time_ms, value))
    return out


def samples() -> list[WrittenSeries]:
    """Histograms with a restart, an ended and a new pod; gauges with gaps, NaN and infinities; information."""
    rng = random.Random(7)
    out: list[WrittenSeries] = []

    def add(name: str, points: list[tuple[int, float]], **labels: str) -> None:
        out.append((make_labels({"__name__": name, **labels}), points))

    lives = {"a": (0, 240, -1), "b": (0, 160, -1), "c": (0, 240, 120), "d": (164, 240, -1)}
    for pod, (first, last, reset) in lives.items():
        times = _steps(first, last)
        ended = [(times[-1] + STEP_MS, STALE)] if pod == "b" else []
        for route in ("/orders", "/health"):
            base = {"service": "api", "pod": pod, "route": route}
            totals = [0.0] * len(times)
            for bound in BOUNDS:
                part = [value for _, value in _counter(rng, times, 0.25, reset)]
                totals = [a + b for a, b in zip(totals, part, strict=True)]
                points = list(zip(times, totals, strict=True)) + ended
                add("http_request_duration_seconds_bucket", points, le=bound, **base)
            add("http_request_duration_seconds_count", list(zip(times, totals, strict=True)) + ended, **base)
            add("http_request_duration_seconds_sum", _counter(rng, times, 0.013, reset) + ended, **base)
        add("db_pool_connections", [(t, float(rng.randrange(0, 11))) for t in times], pod=pod, state="used")
        add("db_pool_connections", [(t, float(rng.randrange(0, 11))) for t in times], pod=pod, state="idle")
        add("db_pool_max_connections", [(t, 10.0) for t in times], pod=pod)
        add("app_info", [(t, 1.0) for t in times], pod=pod, version="v2" if pod == "d" else "v1")
        add("container_memory_working_set_bytes", [(t, 1e8 + rng.random() * 1e7) for t in times], pod=pod)
        add("process_start_time_seconds", [(t, float(BASE + first * 15)) for t in times], pod=pod)
    times = _steps()
    add("kube_deployment_spec_replicas", [(t, 3.0 if i < 180 else 5.0) for i, t in enumerate(times)], deployment="api")
    add("gappy", [(t, float(i)) for i, t in enumerate(times) if not 100 <= i < 140])
    odd = [1.0, math.nan, 2.0, math.inf, -math.inf, -3.0, 0.0, -0.0]
    add("odd", [(t, odd[i % len(odd)]) for i, t in enumerate(times)], kind="cycle")
    add("odd", [(t, math.nan) for t in times], kind="nan")
    add("odd", [(t, math.inf) for t in times], kind="infinite")
    add("odd", [(t, 1.5) for t in times], kind="plain")
    add("jitter", [(t + rng.randrange(-4000, 4000), rng.gauss(5, 2)) for t in times], node="1")
    add("small", [(t, 1.2345e-9 * (i + 1)) for i, t in enumerate(times)])
    add("large", [(t, 3.5e21 * (i + 1)) for i, t in enumerate(times)])
    add("one", [(t, 1.0) for t in times], shared="x", side="l")
    add("two", [(t, 2.0) for t in times], shared="x", side="r")
    add("two", [(t, 3.0) for t in times], shared="x", side="s")
    return out


class Server:
    """A server under test."""

    def __init__(self, name: str, url: str, version: int) -> None:
        self.name, self.url, self.version = name, url, version

    def get(self, path: str, **parameters: str) -> tuple[int, Any]:
        """Status and JSON of a request."""
        query = urllib.parse.urlencode(parameters)
        try:
            with urllib.request.urlopen(f"{self.url}{path}?{query}", timeout=20) as response:
                return response.status, json.load(response)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    def ask(self, query: str, version: int = 3) -> dict[str, Any]:
        """The answers to one query, in a form that can be compared with a server of that version."""
        answers = {"instant": self.get("/api/v1/query", query=query, time=OFF_GRID)}
        # In the interval a counter is born, which the two versions extrapolate differently.
        if version == 3 or not any(name in query for name in ("rate(", "increase(")):
            answers["range"] = self.get("/api/v1/query_range", query=query, **RANGE)
        if version == 3:
            answers["on_grid"] = self.get("/api/v1/query", query=query, time=ON_GRID)
        return {name: _comparable(status, body) for name, (status, body) in answers.items()}


def _comparable(status: int, body: Any) -> Any:
    if status != 200:
        return {"error": status}
    data = body["data"]
    if data["resultType"] in {"scalar", "string"}:
        return data
    rows = [[row["metric"], row.get("values") or [row["value"]]] for row in data["result"]]
    return {
        "resultType": data["resultType"],
        "result": sorted(rows, key=lambda row: json.dumps(row[0], sort_keys=True)),
    }


def _write(url: str, series: list[WrittenSeries]) -> None:
    request = urllib.request.Request(
        f"{url}/api/v1/write", data=remote_write.encode(series), headers=remote_write.HEADERS, method="POST"
    )
    with urllib.request.urlopen(request, timeout=20) as response:
        assert response.status in {200, 204}


class _Quiet(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """A client that went away is what some tests are about."""


class Page:
    """A page to scrape whose text, status and delay a test can change; ``hits`` counts the requests."""

    def __init__(self) -> None:
        self.text, self.status, self.delay_seconds, self.hits, self.open = "", 200, 0.0, 0, True
        page = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                if not page.open:
                    self.close_connection = True
                    return
                page.hits += 1
                threading.Event().wait(page.delay_seconds)
                body = page.text.encode()
                self.send_response(page.status)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = _Quiet(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self._server.server_address[1]}"
        self.url = f"http://{self.address}/metrics"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Stop listening and answering: later scrapes are refused."""
        self.open = False
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def page() -> Iterator[Page]:
    page = Page()
    yield page
    page.close()


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("contract") / "metrics.json"
    path.write_text(json.dumps({"scrape_interval_seconds": 15, "retention_seconds": 3600 * 24 * 365 * 20}))
    return path


@pytest.fixture(scope="module")
def embedded(config: Path) -> Iterator[Server]:
    server = MetricsServer(config)
    server.start()
    _write(f"http://127.0.0.1:{server.port}", samples())
    yield Server("embedded", f"http://127.0.0.1:{server.port}", 3)
    server.stop()


def _binaries() -> dict[str, str]:
    named = {"prometheus on PATH": shutil.which("prometheus") or "", "RUNBOOK_TEST_PROMETHEUS": ""}
    named["RUNBOOK_TEST_PROMETHEUS"] = os.environ.get("RUNBOOK_TEST_PROMETHEUS", "")
    return named


@pytest.fixture(scope="module", params=sorted(_binaries()))
def real(request: pytest.FixtureRequest, config: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    from runbook_lib.lab.metrics import prometheus

    binary = _binaries()[request.param]
    if not binary:
        pytest.skip(f"{request.param} names no Prometheus")
    port, stopped, folder = free_port(), threading.Event(), tmp_path_factory.mktemp("prometheus")
    results: list[int] = []
    launcher = threading.Thread(
        target=lambda: results.append(prometheus.run(Path(binary), config, port, folder, stopped)), daemon=True
    )
    launcher.start()
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_ready(url, launcher)
        _write(url, samples())
        server = Server(request.param, url, 0)
        version = server.get("/api/v1/status/buildinfo")[1]["data"]["version"]
        # The Go module's own number is 0.316 for the 3 line.
        server.version = 2 if version.startswith("2.") else 3
        yield server
    finally:
        stopped.set()
        launcher.join(20)
    assert [0] == results


def _wait_ready(url: str, launcher: threading.Thread) -> None:
    for _ in range(300):
        try:
            with urllib.request.urlopen(f"{url}/-/ready", timeout=1):
                return
        except OSError:
            assert launcher.is_alive()
            threading.Event().wait(0.1)
    raise AssertionError("Prometheus was not ready after 30 s")


def _alike(left: Any, right: Any, tolerance: float) -> bool:
    """Equality, with a tolerance for numbers written as texts."""
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(_alike(left[key], right[key], tolerance) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(_alike(a, b, tolerance) for a, b in zip(left, right, strict=True))
    if left == right or not (isinstance(left, str) and isinstance(right, str)):
        return bool(left == right)
    try:
        a, b = float(left), float(right)
    except ValueError:
        return False
    return abs(a - b) <= tolerance * (abs(a) + abs(b))


@pytest.fixture(scope="session")
def alike() -> Callable[[Any, Any, float], bool]:
    """Compares two answers with a relative tolerance."""
    return _alike
