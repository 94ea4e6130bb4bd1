"""The wire below httpx: no read waits past the deadline of its request, however slowly bytes arrive.

httpx's own read timeout counts anew with every chunk, so a server that sends one byte a second would hold a reader
for ever.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from typing import Any

import certifi
import httpcore
import httpx

from runbook_lib.clients._retry import Deadline

DEADLINE: ContextVar[Deadline | None] = ContextVar("deadline", default=None)


def _within(timeout_seconds: float | None) -> float | None:
    deadline = DEADLINE.get()
    if deadline is None:
        return timeout_seconds
    if deadline.expired:
        raise httpcore.ReadTimeout(f"no complete answer within {deadline.seconds:g} s")
    return deadline.remaining if timeout_seconds is None else min(timeout_seconds, deadline.remaining)


class _Stream(httpcore.NetworkStream):
    def __init__(self, inner: httpcore.NetworkStream) -> None:
        self._inner = inner

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, _within(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._inner.write(buffer, _within(timeout))

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        return _Stream(self._inner.start_tls(ssl_context, server_hostname, _within(timeout)))

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


class _Backend(httpcore.NetworkBackend):
    def __init__(self) -> None:
        self._inner = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        return _Stream(self._inner.connect_tcp(host, port, _within(timeout), local_address, socket_options))


class _Body(httpx.SyncByteStream):
    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __iter__(self) -> Iterator[bytes]:
        yield from self._inner

    def close(self) -> None:
        self._inner.close()


class Transport(httpx.BaseTransport):
    """httpx over a pool whose reads end at the request's deadline.

    Args:
        tls: whether to prepare for https.
        keepalive: connections kept for the next request; 0 makes every request connect anew.
    """

    def __init__(self, *, tls: bool, keepalive: int) -> None:
        context = _trust() if tls else None
        self._pool = httpcore.ConnectionPool(
            ssl_context=context, max_keepalive_connections=keepalive, network_backend=_Backend(), retries=0
        )

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request; raises httpcore's errors."""
        answer = self._pool.handle_request(
            httpcore.Request(
                method=request.method,
                url=httpcore.URL(
                    scheme=request.url.raw_scheme,
                    host=request.url.raw_host,
                    port=request.url.port,
                    target=request.url.raw_path,
                ),
                headers=request.headers.raw,
                content=request.stream,
                extensions=request.extensions,
            )
        )
        return httpx.Response(
            answer.status, headers=answer.headers, stream=_Body(answer.stream), extensions=answer.extensions
        )

    def close(self) -> None:
        """Close every connection."""
        self._pool.close()


def _trust() -> ssl.SSLContext:
    """The machine's authorities, where a company's own one is installed, and the public ones where it has none."""
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context
