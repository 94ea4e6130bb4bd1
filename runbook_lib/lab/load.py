"""Open-loop load generator: requests leave when the clock says so, whether or not earlier ones were answered.

A closed loop sends less as the service slows down and so hides the very incident it should show. Here every request
has a scheduled time; latency counts from that time, and what could not be sent is counted, not forgotten.

``python -m runbook_lib.lab.load --url U --rate 20 --port P``; ``PUT /rate`` on the control port changes the rate.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

LOG = logging.getLogger("load")
BUCKETS_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 2.5, 5.0, 10.0)
TIMEOUT_SECONDS = 5.0
MAX_IN_FLIGHT = 400
MAX_RATE = 500.0
# A request that leaves this much after its time says that the generator itself was too slow.
LATE_SECONDS = 0.05
# Accounts and products that exist in the lab's data; few products, as best-sellers get most orders.
_ACCOUNTS, _ORDERS, _PRODUCTS, _CUSTOMERS = 1_900, 190_000, 20, 49_000

Request = tuple[str, str, bytes]


def _status(_random: random.Random) -> Request:
    return "GET", "/api/v1/status", b""


def _list_products(chance: random.Random) -> Request:
    return "GET", f"/api/v1/products?page={chance.randrange(10)}", b""


def _get_order(chance: random.Random) -> Request:
    return "GET", f"/api/v1/orders/{1 + chance.randrange(_ORDERS)}", b""


def _list_orders(chance: random.Random) -> Request:
    return "GET", f"/api/v1/orders?account={chance.randrange(_ACCOUNTS)}", b""


def _quote(chance: random.Random) -> Request:
    return "GET", f"/api/v1/quote?amount_cents={100 + chance.randrange(100_000)}", b""


def _create_order(chance: random.Random) -> Request:
    order = {
        "customer_id": 1 + chance.randrange(_CUSTOMERS),
        "product_id": 1 + chance.randrange(_PRODUCTS),
        "quantity": 1 + chance.randrange(3),
    }
    return "POST", "/api/v1/orders", json.dumps(order).encode()


# Shares of the traffic. Each dependency is behind more than 5 % of the requests, so that a p95 shows each of them.
MIX: tuple[tuple[Callable[[random.Random], Request], float], ...] = (
    (_list_products, 0.44),
    (_get_order, 0.18),
    (_quote, 0.15),
    (_list_orders, 0.12),
    (_create_order, 0.09),
    (_status, 0.02),
)


@dataclass
class Seen:
    """What the generator saw; its size does not grow with time."""

    answers: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    buckets: Counter[float] = field(default_factory=Counter)
    latency_seconds: float = 0.0
    scheduled: int = 0
    late: int = 0
    skipped: int = 0
    in_flight: int = 0


class Load:
    """Sends the mix at a rate.

    Args:
        url: base URL of the service.
        rate: requests per second.
        seed: makes the choice of requests repeatable.
    """

    def __init__(self, url: str, rate: float, seed: int | None = None) -> None:
        parts = urlsplit(url)
        self._address = parts.hostname or "127.0.0.1", parts.port or 80
        self._host = f"{self._address[0]}:{self._address[1]}"
        self._random = random.Random(seed)
        self._rate = rate
        self._changed = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self.seen = Seen()

    @property
    def rate(self) -> float:
        """Requests per second."""
        return self._rate

    @rate.setter
    def rate(self, value: float) -> None:
        self._rate = value
        self._changed.set()

    async def run(self) -> None:
        """Send until cancelled. Gaps are exponential around the mean, as independent users make them."""
        due = time.monotonic()
        while True:
            if self._rate <= 0:
                self._changed.clear()
                await self._changed.wait()
                due = time.monotonic()
                continue
            due += self._gap()
            await asyncio.sleep(max(due - time.monotonic(), 0))
            self._send(due)

    def _gap(self) -> float:
        # Capped: one gap of many seconds would look like an outage of the traffic.
        return min(self._random.expovariate(1.0), 4.0) / self._rate

    def _send(self, due: float) -> None:
        seen = self.seen
        seen.scheduled += 1
        if time.monotonic() - due > LATE_SECONDS:
            seen.late += 1
        if seen.in_flight >= MAX_IN_FLIGHT:
            seen.skipped += 1
            return
        make = self._random.choices([entry[0] for entry in MIX], [entry[1] for entry in MIX])[0]
        task = asyncio.get_running_loop().create_task(self._one(make(self._random), due))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _one(self, request: Request, due: float) -> None:
        seen = self.seen
        seen.in_flight += 1
        try:
            status = await asyncio.wait_for(self._exchange(request), TIMEOUT_SECONDS)
        except TimeoutError:
            seen.errors["timeout"] += 1
        except (OSError, asyncio.IncompleteReadError, ValueError):
            seen.errors["connection"] += 1
        else:
            seen.answers[status] += 1
        finally:
            seen.in_flight -= 1
            latency = time.monotonic() - due
            seen.latency_seconds += latency
            seen.buckets[next((bound for bound in BUCKETS_SECONDS if latency <= bound), float("inf"))] += 1

    async def _exchange(self, request: Request) -> str:
        """One request on a connection of its own; returns the status."""
        method, path, body = request
        reader, writer = await asyncio.open_connection(*self._address)
        try:
            head = f"{method} {path} HTTP/1.1\r\nhost: {self._host}\r\nuser-agent: load\r\nconnection: close\r\n"
            if body:
                head += f"content-type: application/json\r\ncontent-length: {len(body)}\r\n"
            writer.write(head.encode() + b"\r\n" + body)
            first = await reader.readline()
            while await reader.read(65536):
                pass
            return str(int(first.split(b" ", 2)[1])) if first else _closed()
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


def _closed() -> str:
    raise ConnectionResetError("closed without an answer")


def render(load: Load) -> str:
    """The text of ``/metrics``."""
    seen = load.seen
    lines = ["# TYPE load_request_duration_seconds histogram"]
    total = 0
    for bound in (*BUCKETS_SECONDS, float("inf")):
        total += seen.buckets[bound]
        lines.append(
            f'load_request_duration_seconds_bucket{{le="{"+Inf" if bound == float("inf") else bound}"}} {total}'
        )
    lines += [
        f"load_request_duration_seconds_sum {seen.latency_seconds}",
        f"load_request_duration_seconds_count {total}",
    ]
    lines += ["# TYPE load_requests_total counter"]
    lines += [f'load_requests_total{{code="{code}"}} {count}' for code, count in sorted(seen.answers.items())]
    lines += ["# TYPE load_errors_total counter"]
    lines += [f'load_errors_total{{kind="{kind}"}} {seen.errors[kind]}' for kind in ("timeout", "connection")]
    for name, value in (("scheduled", seen.scheduled), ("late", seen.late), ("skipped", seen.skipped)):
        lines += [f"# TYPE load_{name}_total counter", f"load_{name}_total {value}"]
    lines += ["# TYPE load_rate gauge", f"load_rate {load.rate}"]
    lines += ["# TYPE load_in_flight gauge", f"load_in_flight {seen.in_flight}", ""]
    return "\n".join(lines)


def _route(load: Load, method: str, path: str, body: bytes) -> tuple[int, str, str]:
    """Status, content type and body of one control request."""
    if (method, path) == ("GET", "/metrics"):
        return 200, "text/plain; version=0.0.4; charset=utf-8", render(load)
    if path == "/rate" and method in {"GET", "PUT"}:
        if method == "PUT":
            rate = _rate_of(body)
            if rate is None:
                problem = f'give {{"rate": N}} with N from 0 to {MAX_RATE:g} requests per second'
                return 400, "application/json", json.dumps({"error": problem})
            load.rate = rate
        return 200, "application/json", json.dumps({"rate": load.rate})
    if (method, path) == ("GET", "/health"):
        return 200, "application/json", '{"status": "healthy"}'
    return 404, "application/json", '{"error": "known: GET /metrics, GET or PUT /rate, GET /health"}'


def _rate_of(body: bytes) -> float | None:
    try:
        given: Any = json.loads(body)
        rate = given["rate"]
    except (ValueError, KeyError, TypeError):
        return None
    valid = isinstance(rate, int | float) and not isinstance(rate, bool) and 0 <= rate <= MAX_RATE
    return float(rate) if valid else None


async def _control(load: Load, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One control connection, one request."""
    try:
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), TIMEOUT_SECONDS)
        line, *headers = head.decode("latin-1").split("\r\n")
        lengths = [header.split(":", 1)[1] for header in headers if header.lower().startswith("content-length:")]
        body = await asyncio.wait_for(reader.readexactly(int(lengths[0]) if lengths else 0), TIMEOUT_SECONDS)
        method, path, _ = line.split(" ", 2)
        status, kind, text = _route(load, method, path, body)
        data = text.encode()
        start = f"HTTP/1.1 {status} {'OK' if status == 200 else 'Error'}\r\ncontent-type: {kind}\r\n"
        writer.write(f"{start}content-length: {len(data)}\r\nconnection: close\r\n\r\n".encode() + data)
        await writer.drain()
    except (OSError, ValueError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        pass  # a peer that does not finish its request is no news
    finally:
        writer.close()


async def _main(url: str, rate: float, port: int, seed: int | None) -> None:
    load = Load(url, rate, seed)
    server = await asyncio.start_server(lambda r, w: _control(load, r, w), "127.0.0.1", port)
    sending = asyncio.get_running_loop().create_task(load.run())
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, sending.cancel)
    async with server:
        with contextlib.suppress(asyncio.CancelledError):
            await sending


def main(argv: list[str] | None = None) -> None:
    """Send until SIGTERM."""
    parser = argparse.ArgumentParser(prog="load", description="Open-loop load on the api service.")
    parser.add_argument("--url", required=True, help="base URL of the service")
    parser.add_argument("--rate", type=float, default=20.0, help="requests per second")
    parser.add_argument("--port", type=int, required=True, help="control port")
    parser.add_argument("--seed", type=int, default=None, help="makes the choice of requests repeatable")
    arguments = parser.parse_args(argv)
    if not 0 <= arguments.rate <= MAX_RATE:
        parser.error(f"--rate must be from 0 to {MAX_RATE:g}")
    asyncio.run(_main(arguments.url, arguments.rate, arguments.port, arguments.seed))


if __name__ == "__main__":
    main()
