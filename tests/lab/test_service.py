"""The ``api`` service as a real process over real parts."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from runbook_lib.lab.postgres import Postgres
from runbook_lib.lab.process import Process, accepts_connections, free_port
from runbook_lib.lab.valkey import Valkey

Start = Callable[..., "Pod"]


class Pod:
    """One running container of the service."""

    def __init__(self, process: Process, port: int) -> None:
        self.process, self.port = process, port
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10)

    def get(self, path: str) -> httpx.Response:
        return self.client.get(path)

    def metric(self, name: str, **labels: str) -> float:
        families = text_string_to_metric_families(self.get("/metrics").text)
        return sum(
            sample.value
            for family in families
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def healthy(self) -> bool:
        try:
            return self.get("/health").json()["status"] == "healthy"
        except httpx.TransportError:
            return False

    def stop(self) -> int | None:
        self.client.close()
        return self.process.stop()


@pytest.fixture(scope="session")
def payments(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    port = free_port()
    argv = [sys.executable, "-m", "runbook_lib.lab.service.payments", "--port", str(port)]
    process = Process.start("payments", argv, log_path=tmp_path_factory.mktemp("payments") / "log")
    process.wait_until(lambda: accepts_connections(port), 20)
    yield f"http://127.0.0.1:{port}"
    process.stop()


@contextmanager
def running(
    tmp_path: Path, postgres: Postgres, valkey: Valkey, payments: str, tag: str, env: dict[str, str]
) -> Iterator[Pod]:
    port = free_port()
    environment = {
        **os.environ,
        "APP_VERSION": tag,
        "DATABASE_URL": postgres.url("app"),
        "REDIS_URL": valkey.url(),
        "DEPENDENCY_URL": payments,
        "PORT": str(port),
        **env,
    }
    argv = [sys.executable, "-m", "runbook_lib.lab.service"]
    pod = Pod(Process.start("api", argv, log_path=tmp_path / f"api-{port}.log", env=environment), port)
    try:
        yield pod
    finally:
        pod.stop()


@pytest.fixture(scope="module")
def pod(tmp_path_factory: pytest.TempPathFactory, postgres: Postgres, valkey: Valkey, payments: str) -> Iterator[Pod]:
    """A healthy container of v1."""
    with running(tmp_path_factory.mktemp("api"), postgres, valkey, payments, "v1", {}) as pod:
        pod.process.wait_until(pod.healthy, 20)
        yield pod


def test_health_names_its_checks(pod: Pod) -> None:
    """A healthy service says so in the words of the runbook."""
    response = pod.get("/health")

    assert {"status": "healthy", "checks": {"database": "ok", "cache": "ok"}} == response.json()


def test_status_tells_the_version(pod: Pod) -> None:
    """The smoke test of the runbook finds the image tag."""
    assert {"service": "api", "version": "v1", "schema_version": 1} == pod.get("/api/v1/status").json()


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/v1/orders?account=3", 200),
        ("/api/v1/orders?account=x", 400),
        ("/api/v1/orders/5", 200),
        ("/api/v1/orders/999999999", 404),
        ("/api/v1/products?page=1", 200),
        ("/api/v1/quote?amount_cents=1000", 200),
        ("/api/v1/quote?amount_cents=-1", 400),
        ("/nothing", 404),
    ],
)
def test_endpoints_answer(pod: Pod, path: str, status: int) -> None:
    """Each endpoint answers with its documented status."""
    assert status == pod.get(path).status_code


def test_orders_of_an_account_are_its_customers_latest(pod: Pod) -> None:
    """Three orders for each of the 25 customers of an account."""
    assert 75 == len(pod.get("/api/v1/orders?account=3").json()["orders"])


def test_order_takes_stock(pod: Pod, postgres: Postgres) -> None:
    """A created order is in the table and its stock is gone."""
    with postgres.connect("app") as connection:
        before = connection.execute("SELECT stock FROM products WHERE id = 9").fetchone()
        body = {"customer_id": 1, "product_id": 9, "quantity": 2}
        response = pod.client.post("/api/v1/orders", json=body)
        after = connection.execute("SELECT stock FROM products WHERE id = 9").fetchone()

    assert 201 == response.status_code
    assert before is not None
    assert after is not None
    assert 2 == before[0] - after[0]


@pytest.mark.parametrize("body", ["", "[]", '{"customer_id": 1}', '{"customer_id": 1, "product_id": 1, "quantity": 0}'])
def test_bad_orders_are_refused(pod: Pod, body: str) -> None:
    """A malformed order is a 400, not a failure."""
    assert 400 == pod.client.post("/api/v1/orders", content=body).status_code


def test_probes_are_no_requests(pod: Pod) -> None:
    """What the node and the metrics store ask of a pod is not counted with what users ask for."""
    pod.get("/health")
    assert 'route="/health"' not in pod.get("/metrics").text
    assert 'route="/metrics"' not in pod.get("/metrics").text


def test_requests_are_counted_by_route(pod: Pod) -> None:
    """Ids never become label values and every request is in a bucket."""
    labels = {"route": "/api/v1/orders/{order_id}", "method": "GET", "code": "200"}
    before = pod.metric("http_request_duration_seconds_count", **labels)
    for number in range(1, 4):
        pod.get(f"/api/v1/orders/{number}")

    assert 3 == pod.metric("http_request_duration_seconds_count", **labels) - before


@pytest.mark.parametrize(
    "name",
    [
        "db_pool_connections",
        "db_pool_max_connections",
        "db_pool_wait_seconds_bucket",
        "dependency_request_duration_seconds_count",
        "process_cpu_seconds_total",
        "process_resident_memory_bytes",
        "app_info",
    ],
)
def test_metric_has_a_value(pod: Pod, name: str) -> None:
    """Every promised metric is there after some traffic."""
    pod.get("/api/v1/products")

    assert pod.metric(name) > 0


def test_second_reading_comes_from_the_cache(pod: Pod, postgres: Postgres) -> None:
    """A cached page needs no statement."""
    pod.get("/api/v1/products?page=7")
    before = pod.metric("dependency_request_duration_seconds_count", dependency="postgres")
    pod.get("/api/v1/products?page=7")

    assert before == pod.metric("dependency_request_duration_seconds_count", dependency="postgres")


def test_lock_wait_ends_by_the_statement_timeout(pod: Pod, postgres: Postgres) -> None:
    """A write behind somebody's lock is a 503 after the statement timeout, and the lock's holder is untouched."""
    with postgres.connect("app") as holder:
        holder.execute("BEGIN")
        holder.execute("UPDATE products SET stock = stock WHERE id = 11")
        started = time.monotonic()
        response = pod.client.post("/api/v1/orders", json={"customer_id": 1, "product_id": 11, "quantity": 1})
        waited = time.monotonic() - started
        holder.execute("ROLLBACK")

    assert (503, True) == (response.status_code, 2.9 < waited < 6)


def test_slow_dependency_slows_quotes_only(pod: Pod, payments: str) -> None:
    """A delay of the dependency is the delay of the route that calls it."""
    httpx.put(f"{payments}/admin/delay", json={"seconds": 0.4}).raise_for_status()
    try:
        quote = pod.get("/api/v1/quote?amount_cents=1")
        status = pod.get("/api/v1/products")
    finally:
        httpx.put(f"{payments}/admin/delay", json={"seconds": 0.005}).raise_for_status()

    assert quote.elapsed.total_seconds() > 0.4
    assert status.elapsed.total_seconds() < 0.4


def test_requests_in_flight_are_those_of_users(pod: Pod, payments: str) -> None:
    """A request that waits for the dependency is in flight; the scrape that tells so is not."""
    httpx.put(f"{payments}/admin/delay", json={"seconds": 1.0}).raise_for_status()
    try:
        with ThreadPoolExecutor(1) as pool:
            quote = pool.submit(httpx.get, f"http://127.0.0.1:{pod.port}/api/v1/quote?amount_cents=1", timeout=10)
            seen = [pod.metric("http_requests_in_flight")]
            while not quote.done():
                seen.append(pod.metric("http_requests_in_flight"))
    finally:
        httpx.put(f"{payments}/admin/delay", json={"seconds": 0.005}).raise_for_status()

    assert (1, 0) == (max(seen), pod.metric("http_requests_in_flight"))


@pytest.mark.parametrize("body", ["no", "[1]", '{"second": 1}', '{"seconds": -1}', '{"seconds": "1"}'])
def test_bad_delay_is_refused(payments: str, body: str) -> None:
    """A wrong delay names what is allowed and changes nothing."""
    before = httpx.get(f"{payments}/admin/delay").json()

    assert 400 == httpx.put(f"{payments}/admin/delay", content=body).status_code
    assert before == httpx.get(f"{payments}/admin/delay").json()


def test_cache_that_is_down_costs_no_answer(folder: Path, tmp_path: Path, postgres: Postgres, payments: str) -> None:
    """Without its cache the service answers from the database and says that it is unhealthy."""
    cache = Valkey(folder / "valkey")
    cache.start()
    with running(tmp_path, postgres, cache, payments, "v1", {}) as pod:
        pod.process.wait_until(pod.healthy, 20)
        cache.stop()
        pod.process.wait_until(lambda: not pod.healthy(), 10)
        answer = pod.get("/api/v1/products")
        health = pod.get("/health")
        errors = pod.metric("dependency_errors_total", dependency="redis")

    assert (200, 200) == (answer.status_code, health.status_code)
    assert "CacheError" in health.json()["checks"]["cache"]
    assert errors > 0


def test_termination_serves_while_it_drains(tmp_path: Path, postgres: Postgres, valkey: Valkey, payments: str) -> None:
    """After SIGTERM readiness fails at once, requests are answered, and the exit code is 0."""
    with running(tmp_path, postgres, valkey, payments, "v1", {"DRAIN_SECONDS": "1.5"}) as pod:
        pod.process.wait_until(pod.healthy, 20)
        os.kill(pod.process.pid, signal.SIGTERM)
        pod.process.wait_until(lambda: pod.get("/health").status_code == 503, 2)
        answer = pod.get("/api/v1/products")
        code = pod.process.wait(10)

    assert (200, 0) == (answer.status_code, code)


@pytest.mark.parametrize(
    ("tag", "message"),
    [("v2-crash", "panic: cannot load the pricing table"), ("v9", "is no release")],
)
def test_broken_release_ends_with_a_reason(
    tmp_path: Path, postgres: Postgres, valkey: Valkey, payments: str, tag: str, message: str
) -> None:
    """A release that cannot run ends with an exit code and says why."""
    with running(tmp_path, postgres, valkey, payments, tag, {}) as pod:
        code = pod.process.wait(20)

    assert code in {1, 2}
    assert message in pod.process.log_tail()


def test_error_rate_of_a_release_is_real(tmp_path: Path, postgres: Postgres, valkey: Valkey, payments: str) -> None:
    """ERROR_RATE=1 fails every API request with 500 and leaves health alone."""
    with running(tmp_path, postgres, valkey, payments, "v1", {"ERROR_RATE": "1"}) as pod:
        pod.process.wait_until(pod.healthy, 20)

        assert 500 == pod.get("/api/v1/products").status_code
        assert 200 == pod.get("/api/v1/status").status_code


def test_log_is_json_lines(pod: Pod) -> None:
    """Every line of the log is one JSON object with a time and a level."""
    lines = pod.process.log_path.read_text().splitlines()

    assert all({"ts", "level", "message"} <= json.loads(line).keys() for line in lines)
    assert lines
