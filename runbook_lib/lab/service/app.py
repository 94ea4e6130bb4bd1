"""The ASGI application ``api``: orders, products and quotes over PostgreSQL, a cache and a dependency."""

from __future__ import annotations

import contextlib
import json
import logging
import random
import threading
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import anyio.to_thread
import psycopg
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from runbook_lib.lab.service import dependency
from runbook_lib.lab.service.cache import Cache, CacheError
from runbook_lib.lab.service.database import Database
from runbook_lib.lab.service.health import Health
from runbook_lib.lab.service.settings import Settings
from runbook_lib.lab.service.telemetry import CONTENT_TYPE, Telemetry

LOG = logging.getLogger("api")
PRODUCTS_TTL_SECONDS = 30
#: What probes and scrapers ask for is no user's request: a pod that is not ready yet says so without an error.
UNMEASURED = frozenset({"/health", "/metrics"})
Answer = tuple[int, Any]
Work = Callable[[Request, bytes], Answer]


class Api:
    """The service's state and its endpoints.

    Args:
        settings: see ``Settings``.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.telemetry = Telemetry(settings.release.tag)
        self.database = Database(settings, self.telemetry)
        self.cache = Cache(settings.cache_url, settings.cache_timeout_seconds)
        self.health = Health({"database": self.database.check, "cache": self.cache.ping})
        self._kept: list[bytearray] = []

    def app(self) -> ASGIApp:
        """The application with its routes and its measuring."""
        routes = [
            Route("/health", self.get_health),
            Route("/metrics", self.get_metrics),
            Route("/api/v1/status", self.get_status),
            Route("/api/v1/orders", self._worked(self.list_orders), methods=["GET"]),
            Route("/api/v1/orders", self._worked(self.create_order), methods=["POST"]),
            Route("/api/v1/orders/{order_id:int}", self._worked(self.get_order)),
            Route("/api/v1/products", self._worked(self.list_products)),
            Route("/api/v1/quote", self._worked(self.get_quote)),
        ]
        return Measured(Starlette(routes=routes, lifespan=self._lifespan), routes, self.telemetry)

    @contextlib.asynccontextmanager
    async def _lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        anyio.to_thread.current_default_thread_limiter().total_tokens = self.settings.threads
        await anyio.to_thread.run_sync(self.database.open)
        self.health.start()
        LOG.info("started", extra={"fields": {"version": self.settings.release.tag}})
        try:
            yield
        finally:
            self.health.stop()
            await anyio.to_thread.run_sync(self.database.close)
            self.cache.close()
            LOG.info("stopped")

    async def get_health(self, _request: Request) -> Response:
        """Answered by the event loop: a probe must not wait behind requests that wait for a dependency."""
        status, body = self.health.report()
        return JSONResponse(body, status_code=status)

    async def get_metrics(self, _request: Request) -> Response:
        """The Prometheus text format."""
        return Response(self.telemetry.render(), headers={"content-type": CONTENT_TYPE})

    async def get_status(self, _request: Request) -> Response:
        """Which release answers."""
        release = self.settings.release
        return JSONResponse({"service": "api", "version": release.tag, "schema_version": release.schema_version})

    def list_orders(self, request: Request, _body: bytes) -> Answer:
        """Latest orders of the customers of ``?account=``."""
        account = request.query_params.get("account", "")
        if not account.isdigit():
            return 400, {"error": "account must be a whole number"}
        return 200, {"orders": self.database.latest_orders(int(account))}

    def get_order(self, request: Request, _body: bytes) -> Answer:
        """One order."""
        order = self.database.order(request.path_params["order_id"])
        return (200, order) if order else (404, {"error": "no such order"})

    def create_order(self, _request: Request, body: bytes) -> Answer:
        """Write an order of ``{"customer_id", "product_id", "quantity"}``."""
        try:
            given = json.loads(body)
            values = [given["customer_id"], given["product_id"], given["quantity"]]
        except (ValueError, KeyError, TypeError):
            values = []
        if len(values) != 3 or not all(type(value) is int and 0 < value < 2**31 for value in values):
            return 400, {"error": "customer_id, product_id and quantity must be positive whole numbers"}
        lose = random.random() < self.settings.release.leaked_connection_ratio
        order = self.database.create_order(*values, lose_connection=lose)
        return (201, order) if order else (404, {"error": "no such product"})

    def list_products(self, request: Request, _body: bytes) -> Answer:
        """A page of products, from the cache when it has it; a cache that is down only costs time."""
        page = request.query_params.get("page", "0")
        if not page.isdigit():
            return 400, {"error": "page must be a whole number"}
        key = f"products:{int(page)}"
        with contextlib.suppress(CacheError), self.telemetry.call("redis"):
            cached = self.cache.get(key)
            if cached is not None:
                return 200, json.loads(cached)
        products = {"products": self.database.products(int(page))}
        with contextlib.suppress(CacheError), self.telemetry.call("redis"):
            self.cache.set(key, json.dumps(products).encode(), PRODUCTS_TTL_SECONDS)
        return 200, products

    def get_quote(self, request: Request, _body: bytes) -> Answer:
        """The fee of ``?amount_cents=``, asked from payments."""
        amount = request.query_params.get("amount_cents", "")
        if not amount.isdigit():
            return 400, {"error": "amount_cents must be a whole number"}
        try:
            with self.telemetry.call("payments"):
                url, timeout_seconds = self.settings.dependency_url, self.settings.dependency_timeout_seconds
                return 200, dependency.quote(url, int(amount), timeout_seconds)
        except dependency.DependencyError as error:
            return 502, {"error": str(error)}

    def _worked(self, work: Work) -> Callable[[Request], Any]:
        """An endpoint that runs ``work`` in a thread, with the CPU time and the faults of the release."""

        async def endpoint(request: Request) -> Response:
            deadline = time.monotonic() + self.settings.request_timeout_seconds
            body = await request.body()
            status, answer = await anyio.to_thread.run_sync(self._answer, work, request, body, deadline)
            headers = {"x-version": self.settings.release.tag}
            content = json.dumps(answer, default=str).encode()
            return Response(content, status, headers, media_type="application/json")

        return endpoint

    def _answer(self, work: Work, request: Request, body: bytes, deadline: float) -> Answer:
        if not burn(self.settings.work_ms / 1000, deadline):
            return 503, {"error": "the request waited too long"}
        if self.settings.leak_kib:
            self._kept.append(bytearray(b"x" * self.settings.leak_kib * 1024))
        try:
            self._fail_sometimes()
            return work(request, body)
        except psycopg.Error as error:
            LOG.warning("database", exc_info=True, extra={"fields": {"path": request.url.path}})
            return 503, {"error": f"database: {type(error).__name__}"}
        except Exception:
            LOG.exception("request failed", extra={"fields": {"path": request.url.path}})
            return 500, {"error": "internal error"}

    def _fail_sometimes(self) -> None:
        if random.random() < self.settings.error_ratio:
            raise RuntimeError("unexpected value in field 'total'")


class Measured:
    """ASGI wrapper that measures every request, also the wait for a thread.

    Args:
        app: the wrapped application.
        routes: its routes; their templates are the ``route`` label, so that ids never become label values.
        telemetry: where durations go.
    """

    def __init__(self, app: ASGIApp, routes: list[Route], telemetry: Telemetry) -> None:
        self._app, self._routes, self._telemetry = app, routes, telemetry

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection event of the server."""
        if scope["type"] != "http" or scope["path"] in UNMEASURED:
            await self._app(scope, receive, send)
            return
        code = 500

        async def send_and_note(message: Message) -> None:
            nonlocal code
            if message["type"] == "http.response.start":
                code = message["status"]
            await send(message)

        started = time.monotonic()
        self._telemetry.in_flight.inc()
        try:
            await self._app(scope, receive, send_and_note)
        finally:
            self._telemetry.in_flight.dec()
            labels = (self._route(scope), scope["method"], str(code))
            self._telemetry.duration.labels(*labels).observe(time.monotonic() - started)

    def _route(self, scope: Scope) -> str:
        for route in self._routes:
            if route.matches(scope)[0] is not Match.NONE:
                return route.path.replace(":int", "")
        return "unknown"


# One request computes at a time: sliced among threads, all of them would be late instead of the last one.
_COMPUTING = threading.Lock()


def burn(seconds: float, deadline: float) -> bool:
    """Use CPU time of this thread, as rendering and validating would.

    Args:
        seconds: CPU time.
        deadline: monotonic time after which the client has gone; working for it would only delay the others.

    Returns:
        False when the deadline had passed and nothing was done.
    """
    with _COMPUTING:
        if time.monotonic() > deadline:
            return False
        end = time.thread_time() + seconds
        total = 0
        while time.thread_time() < end:
            for number in range(200):
                total = (total * 31 + number) & 0xFFFFFFFF
    return True
