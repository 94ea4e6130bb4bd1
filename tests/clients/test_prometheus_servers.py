"""Every query of the library against real servers that scraped the same page: the lab's store and Prometheus."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import pytest

from runbook_lib import analysis
from runbook_lib.clients.prometheus import PrometheusClient
from runbook_lib.lab.metrics import __name__ as LAB_STORE  # noqa: N812
from runbook_lib.model import Evidence, Window

POD = "api-deployment-6d8f467669-2vzlp"
SERVICE = f'namespace="production",service="api",pod="{POD}"'
CONTAINER = f'namespace="production",container="api",pod="{POD}"'
DEPLOYMENT = 'namespace="production",deployment="api-deployment"'
BOUNDS = (0.05, 0.1, 0.2, 0.5)
#: Share of requests within each bound: the 0.95 quantile lies in the middle of 0.2 to 0.5.
SHARES = (0.5, 0.8, 0.9, 1.0)
#: Scrapes that a server must have made: more than fill the range of a rate.
SCRAPES = 8


def page(seconds: float) -> str:
    """Metrics of a service that has answered 20 requests/s for so long, all numbers known."""
    lines = []

    def histogram(name: str, labels: str, rate: float) -> None:
        for bound, share in zip((*BOUNDS, "+Inf"), (*SHARES, 1.0), strict=True):
            lines.append(f'{name}_bucket{{{labels},le="{bound}"}} {seconds * rate * share}')
        lines.append(f"{name}_sum{{{labels}}} {seconds * rate * 0.1}")
        lines.append(f"{name}_count{{{labels}}} {seconds * rate}")

    histogram("http_request_duration_seconds", f'{SERVICE},route="/orders",code="200"', 19)
    histogram("http_request_duration_seconds", f'{SERVICE},route="/orders",code="500"', 1)
    histogram("db_pool_wait_seconds", SERVICE, 20)
    histogram("dependency_request_duration_seconds", f'{SERVICE},dependency="postgres"', 40)
    lines += [
        f"http_requests_in_flight{{{SERVICE}}} 3",
        f'db_pool_connections{{{SERVICE},state="used"}} 9',
        f"db_pool_max_connections{{{SERVICE}}} 10",
        f"db_pool_waiting{{{SERVICE}}} 2",
        f"container_cpu_usage_seconds_total{{{CONTAINER}}} {seconds * 0.27}",
        f'kube_pod_container_resource_limits{{{CONTAINER},resource="cpu"}} 0.3',
        f'kube_pod_container_resource_limits{{{CONTAINER},resource="memory"}} 1000',
        f"container_cpu_cfs_periods_total{{{CONTAINER}}} {seconds * 10}",
        f"container_cpu_cfs_throttled_periods_total{{{CONTAINER}}} {seconds * 4}",
        f"container_memory_working_set_bytes{{{CONTAINER}}} 250",
        f"kube_pod_container_status_restarts_total{{{CONTAINER}}} 2",
        f"kube_deployment_spec_replicas{{{DEPLOYMENT}}} 5",
        f"kube_deployment_status_replicas_available{{{DEPLOYMENT}}} 4",
        'pg_stat_activity_count{state="active"} 7',
        'pg_stat_activity_max_tx_duration{state="active"} 12',
        f"redis_evicted_keys_total {seconds * 6}",
        "redis_memory_used_bytes 30",
        "redis_memory_max_bytes 40",
    ]
    return "\n".join(lines) + "\n"


# Prometheus 3 writes a bound as a number, 1 as 1.0; those of this page read the same in all versions.
_BUCKETS = {str(bound): 20 * share for bound, share in zip((*BOUNDS, "+Inf"), (*SHARES, 1.0), strict=True)}
#: Query to the newest value of its only series, or of each by the value of its one label.
EXPECTED: dict[str, Any] = {
    "latency_seconds": 0.35,
    "latency_by_route_seconds": {"/orders": 0.35},
    "latency_by_pod_seconds": {POD: 0.35},
    "latency_buckets": _BUCKETS,
    "latency_buckets_by_pod": _BUCKETS,
    "requests_per_second": 20.0,
    "requests_by_route": {"/orders": 20.0},
    "error_ratio": 0.05,
    "failed_per_second": 1.0,
    # A tenth of the requests take longer than the default bound of 0.2 s.
    "slow_per_second": 2.0,
    "in_flight": 3.0,
    "cpu_of_limit": {POD: 0.9},
    "throttled_ratio": {POD: 0.4},
    "memory_of_limit": {POD: 0.25},
    "pool_connections": {POD: 0.9},
    "pool_waiting": {POD: 2.0},
    "pool_wait_seconds": 0.35,
    "dependency_latency_seconds": {"postgres": 0.35},
    "dependency_seconds_per_second": {"postgres": 4.0},
    "dependency_errors_per_second": {"postgres": 0.0},
    "restarts": {POD: 2.0},
    "replicas": {"available": 4.0, "wanted": 5.0},
    "up": {POD: 1.0},
    "database_sessions": {"active": 7.0},
    "database_transaction_seconds": {"active": 12.0},
    "cache_evictions_per_second": 6.0,
    "cache_memory_ratio": 0.75,
}


@pytest.fixture(scope="module")
def exposition() -> Iterator[int]:
    """A page of metrics that grows with time, served to whoever scrapes it."""
    started = time.monotonic()

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = page(time.monotonic() - started).encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args: Any) -> None:
            """Keep the tests' output clean."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()
    thread.join()


def lab_argv(folder: Path, target: int, port: int) -> list[str]:
    config = {
        "scrape_interval_seconds": 1,
        "static_targets": [
            {
                "url": f"http://127.0.0.1:{target}/metrics",
                "labels": {"job": "api", "namespace": "production", "service": "api", "pod": POD},
            }
        ],
        "rules": [],
        "retention_seconds": 3600,
    }
    (folder / "config.json").write_text(json.dumps(config))
    return [sys.executable, "-m", LAB_STORE, "--port", str(port), "--config", str(folder / "config.json")]


def prometheus_argv(program: str, folder: Path, target: int, port: int) -> list[str]:
    labels = {"namespace": "production", "service": "api", "pod": POD}
    static = [{"targets": [f"127.0.0.1:{target}"], "labels": labels}]
    config = {
        "global": {"scrape_interval": "1s"},
        "scrape_configs": [{"job_name": "api", "honor_labels": True, "static_configs": static}],
    }
    (folder / "prometheus.yml").write_text(json.dumps(config))
    return [
        program,
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]


@pytest.fixture(scope="module", params=["lab", "prometheus", "RUNBOOK_TEST_PROMETHEUS"])
def server(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    exposition: int,
    free_port: Callable[[], int],
) -> Iterator[str]:
    """The URL of a server that has scraped the page for a while."""
    folder, port = tmp_path_factory.mktemp("server"), free_port()
    if request.param == "lab":
        argv = lab_argv(folder, exposition, port)
    else:
        found = shutil.which("prometheus") if request.param == "prometheus" else os.environ.get(request.param)
        if not found:
            pytest.skip(f"no {request.param}")
        argv = prometheus_argv(found, folder, exposition, port)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(argv, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}"
    try:
        end = time.monotonic() + 40
        while _scrapes(url) < SCRAPES:
            assert process.poll() is None, (folder / "log").read_text()[-500:]
            assert time.monotonic() < end, "the server never scraped"
            time.sleep(0.2)
        yield url
    finally:
        process.terminate()
        process.wait(10)


def _scrapes(url: str) -> int:
    """How often the page was read, as far as the server says."""
    try:
        asked = {"query": "count_over_time(redis_memory_used_bytes[1m])"}
        found = httpx.get(f"{url}/api/v1/query", params=asked, timeout=1).json()["data"]["result"]
    except (httpx.HTTPError, ValueError, KeyError):
        return 0
    return int(found[0]["value"][1]) if found else 0


@pytest.fixture
def client(make, server) -> PrometheusClient:
    window = Window.last(1)
    made = make(PrometheusClient, {"url": server, "range_seconds": 5}, window=window)
    assert isinstance(made, PrometheusClient)
    return made


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_every_query_has_its_number(client, name):
    """Each query gives the number that follows from the page, on every server."""
    result = client.query(name)
    assert isinstance(result, Evidence), str(result)
    wanted = EXPECTED[name]
    newest = {series.labels.get(_label(name), ""): series.last for series in result.series}
    assert newest == pytest.approx(wanted if isinstance(wanted, dict) else {"": wanted}, rel=0.03)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.85, 0.95, 1.0])
def test_quantile_of_the_buckets_is_the_one_of_the_server(client, share):
    """Read as buckets, the latency of each pod is what the server calculates, at every time."""
    ours, theirs = analysis.quantile(client.latency_buckets_by_pod(), share), client.latency_by_pod_seconds(share)
    (one,), (other,) = ours.series, theirs.series
    assert {"pod": POD} == one.labels == other.labels
    assert list(other.times) == list(one.times)
    assert list(other.values) == pytest.approx(list(one.values), rel=1e-9, nan_ok=True)
    assert "s" == ours.unit


def _label(name: str) -> str:
    known = {"requests_by_route": "route", "latency_by_route_seconds": "route", "replicas": "state"}
    if name.startswith("latency_buckets"):
        return "le"
    if name.startswith("database"):
        return "state"
    return known.get(name, "dependency" if name.startswith("dependency") else "pod")


def test_every_query_of_the_file_is_expected(client):
    """No query can be added without a number to hold it to."""
    assert {name for name, query in client.queries.items() if not query.text.startswith("GET ")} == EXPECTED.keys()


def test_server_and_alerts(client):
    """The version is told, and no rule means no alert."""
    server, alerts = client.server(), client.alerts()
    assert isinstance(server, Evidence)
    assert {"version", "revision", "application"} == server.document.keys()
    assert isinstance(alerts, Evidence)
    assert 0 == len(alerts.table)


def test_query_that_the_server_refuses_is_a_gap_with_its_words(client, monkeypatch):
    """A query that is no PromQL is refused in the server's own words."""
    broken = client.queries["in_flight"]
    monkeypatch.setattr(client, "queries", {"in_flight": type(broken)("prometheus", "in_flight", "t", "d", "sum(")})
    result = client.query("in_flight")
    assert "answer" == result.kind
    assert "bad_data" in result.reason
