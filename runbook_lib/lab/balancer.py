"""The Service's load balancer: one fixed port, one ready endpoint after the other, request by request.

An HTTP/1.1 reverse proxy that keeps connections to clients and opens one to the pod for every request, so that a
kept connection can never be the reason for a failure. A request is sent once: what fails is answered as a failure.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

LOG = logging.getLogger("node.balancer")
Endpoint = tuple[str, int]
_HEAD_LIMIT_BYTES = 64 * 1024
_CHUNK_BYTES = 64 * 1024
CONNECT_TIMEOUT_SECONDS = 2.0
RESPONSE_TIMEOUT_SECONDS = 30.0
IDLE_TIMEOUT_SECONDS = 75.0
_NO_BODY_STATUSES = {204, 304}


@dataclass
class Counts:
    """What the balancer saw since it started."""

    requests: Counter[int] = field(default_factory=Counter)
    duration_seconds: float = 0.0


class BadMessageError(Exception):
    """A peer does not speak HTTP/1.1 as this proxy needs it."""


class Balancer:
    """Listens on 127.0.0.1 and forwards to whatever endpoints it was given last.

    Args:
        port: the fixed port; 0 picks a free one.
    """

    def __init__(self, port: int = 0) -> None:
        self.counts = Counts()
        self._endpoints: tuple[Endpoint, ...] = ()
        self._turn = 0
        self._loop = asyncio.new_event_loop()
        self._server = self._loop.run_until_complete(
            asyncio.start_server(self._serve, "127.0.0.1", port, limit=_HEAD_LIMIT_BYTES)
        )
        self.port: int = self._server.sockets[0].getsockname()[1]
        self._thread = threading.Thread(target=self._loop.run_forever, name="balancer", daemon=True)
        self._thread.start()

    def set_endpoints(self, endpoints: Iterable[Endpoint]) -> None:
        """Replace the ready endpoints; requests under way end where they began."""
        self._endpoints = tuple(sorted(endpoints))

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """The ready endpoints."""
        return self._endpoints

    def close(self) -> None:
        """Stop listening and drop every connection."""
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(5)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    async def _close(self) -> None:
        self._server.close()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _next(self) -> Endpoint | None:
        endpoints = self._endpoints
        if not endpoints:
            return None
        self._turn += 1
        return endpoints[self._turn % len(endpoints)]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One client connection."""
        try:
            while await self._one(reader, writer):
                pass
        except (OSError, asyncio.IncompleteReadError, TimeoutError):
            pass  # the client went away
        except (BadMessageError, asyncio.LimitOverrunError, ValueError) as error:
            with contextlib.suppress(OSError):
                await self._refuse(writer, 400, f"bad request: {error}")
        finally:
            writer.close()
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request; returns whether the client's connection can take another."""
        raw = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), IDLE_TIMEOUT_SECONDS)
        started = time.monotonic()
        line, headers = _parse(raw)
        method, _, version = line.partition(b" ")[0], *line.rsplit(b" ", 1)
        keep = version == b"HTTP/1.1" and _value(headers, b"connection").lower() != b"close"
        if _value(headers, b"expect").lower() == b"100-continue":
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        status = 502
        try:
            status, keep = await self._forward(line, headers, method, keep, reader, writer)
        finally:
            self.counts.requests[status] += 1
            self.counts.duration_seconds += time.monotonic() - started
        return keep

    async def _forward(
        self,
        line: bytes,
        headers: list[tuple[bytes, bytes]],
        method: bytes,
        keep: bool,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> tuple[int, bool]:
        endpoint = self._next()
        if endpoint is None:
            return await self._refuse(writer, 503, "no ready endpoint"), False
        try:
            opened = asyncio.open_connection(*endpoint, limit=_HEAD_LIMIT_BYTES)
            pod_reader, pod_writer = await asyncio.wait_for(opened, CONNECT_TIMEOUT_SECONDS)
        except (OSError, TimeoutError) as error:
            return await self._refuse(writer, 502, f"cannot connect to the endpoint: {error or 'timeout'}"), False
        try:
            pod_writer.write(_head(line, headers, close=True))
            await _copy_body(reader, pod_writer, headers, until_end=False)
            head = await asyncio.wait_for(pod_reader.readuntil(b"\r\n\r\n"), RESPONSE_TIMEOUT_SECONDS)
        except TimeoutError:
            return await self._refuse(writer, 504, "the endpoint did not answer in time"), False
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            return await self._refuse(writer, 502, f"the endpoint gave no answer: {type(error).__name__}"), False
        else:
            return await self._answer(head, method, keep, pod_reader, writer)
        finally:
            pod_writer.close()

    async def _answer(
        self, raw: bytes, method: bytes, keep: bool, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> tuple[int, bool]:
        line, headers = _parse(raw)
        status = int(line.split(b" ", 2)[1])
        bodiless = method == b"HEAD" or status in _NO_BODY_STATUSES
        framed = bodiless or bool(_value(headers, b"content-length") or _value(headers, b"transfer-encoding"))
        keep = keep and framed
        writer.write(_head(line, headers, close=not keep))
        try:
            if not bodiless:
                await _copy_body(reader, writer, headers, until_end=not framed)
        except (asyncio.IncompleteReadError, TimeoutError):
            return 502, False  # cut short: closing is the only way left to say so
        await writer.drain()
        return status, keep

    async def _refuse(self, writer: asyncio.StreamWriter, status: int, text: str) -> int:
        body = f"{text}\n".encode()
        reason = {400: "Bad Request", 502: "Bad Gateway", 503: "Service Unavailable", 504: "Gateway Timeout"}[status]
        head = f"HTTP/1.1 {status} {reason}\r\ncontent-type: text/plain\r\ncontent-length: {len(body)}\r\n"
        writer.write(head.encode() + b"connection: close\r\n\r\n" + body)
        await writer.drain()
        return status


def _parse(raw: bytes) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    line, *rest = raw[:-4].split(b"\r\n")
    headers = []
    for entry in rest:
        name, colon, value = entry.partition(b":")
        if not colon or not name or name != name.strip():
            raise BadMessageError("malformed header")
        headers.append((name, value.strip()))
    if line.count(b" ") < 2:
        raise BadMessageError("malformed first line")
    return line, headers


def _value(headers: list[tuple[bytes, bytes]], name: bytes) -> bytes:
    return next((value for key, value in headers if key.lower() == name), b"")


def _head(line: bytes, headers: list[tuple[bytes, bytes]], *, close: bool) -> bytes:
    """A head for the next hop: its own connection header, everything else as it was."""
    hop = {b"connection", b"keep-alive", b"proxy-connection", b"expect"}
    kept = [b"%s: %s\r\n" % (key, value) for key, value in headers if key.lower() not in hop]
    return line + b"\r\n" + b"".join(kept) + (b"connection: close\r\n" if close else b"") + b"\r\n"


async def _copy_body(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    headers: list[tuple[bytes, bytes]],
    *,
    until_end: bool,
) -> None:
    """Copy one body, framed by chunks or length, or by the end of the connection."""
    if b"chunked" in _value(headers, b"transfer-encoding").lower():
        await _copy_chunks(reader, writer)
    elif until_end:
        while data := await asyncio.wait_for(reader.read(_CHUNK_BYTES), RESPONSE_TIMEOUT_SECONDS):
            writer.write(data)
            await writer.drain()
    else:
        left = int(_value(headers, b"content-length") or 0)
        while left:
            data = await asyncio.wait_for(reader.read(min(left, _CHUNK_BYTES)), RESPONSE_TIMEOUT_SECONDS)
            if not data:
                raise asyncio.IncompleteReadError(b"", left)
            left -= len(data)
            writer.write(data)
            await writer.drain()


async def _copy_chunks(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        line = await asyncio.wait_for(reader.readuntil(b"\r\n"), RESPONSE_TIMEOUT_SECONDS)
        size = int(line.split(b";")[0], 16)
        writer.write(line)
        if size == 0:
            while line != b"\r\n":  # trailers end with an empty line
                line = await asyncio.wait_for(reader.readuntil(b"\r\n"), RESPONSE_TIMEOUT_SECONDS)
                writer.write(line)
            return
        writer.write(await asyncio.wait_for(reader.readexactly(size + 2), RESPONSE_TIMEOUT_SECONDS))
        await writer.drain()
