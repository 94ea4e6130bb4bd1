"""The cache client of the ``api`` service: the RESP2 wire, three commands, a few kept connections.

A full client library costs 15 MB in every pod; the service needs GET, SET with an expiry, and PING.
"""

from __future__ import annotations

import queue
import socket
from types import TracebackType
from urllib.parse import unquote, urlsplit


class CacheError(Exception):
    """The cache did not answer, or answered with an error."""


class Cache:
    """A thread-safe client with explicit timeouts and no retries.

    Args:
        url: ``redis://user:password@host:port/0``.
        timeout_seconds: for connecting and for each answer.
    """

    def __init__(self, url: str, timeout_seconds: float) -> None:
        parts = urlsplit(url)
        self._address = (parts.hostname or "127.0.0.1", parts.port or 6379)
        self._login = [unquote(part) for part in (parts.username, parts.password) if part]
        self._timeout_seconds = timeout_seconds
        self._idle: queue.LifoQueue[_Connection] = queue.LifoQueue(maxsize=8)

    def get(self, key: str) -> bytes | None:
        """The value of ``key``, or None when there is none."""
        answer = self._call("GET", key)
        return answer if isinstance(answer, bytes) else None

    def set(self, key: str, value: bytes, ttl_seconds: int) -> None:
        """Store ``value`` for ``ttl_seconds``."""
        self._call("SET", key, value, "EX", str(ttl_seconds))

    def ping(self) -> None:
        """Ask for a sign of life."""
        self._call("PING")

    def _call(self, *command: str | bytes) -> bytes | int | None:
        try:
            connection = self._take()
        except OSError as error:
            raise CacheError(f"cannot connect: {error}") from error
        try:
            answer = connection.call(*command)
        except OSError as error:
            # An answer may still be on its way: this connection must never serve another request.
            connection.close()
            raise CacheError(f"no answer: {error}") from error
        try:
            self._idle.put_nowait(connection)
        except queue.Full:
            connection.close()
        if isinstance(answer, CacheError):
            raise answer
        return answer

    def _take(self) -> _Connection:
        try:
            return self._idle.get_nowait()
        except queue.Empty:
            pass
        connection = _Connection(self._address, self._timeout_seconds)
        if self._login:
            answer = connection.call("AUTH", *self._login)
            if isinstance(answer, CacheError):
                connection.close()
                raise answer
        return connection

    def close(self) -> None:
        """Close the kept connections."""
        while not self._idle.empty():
            self._idle.get_nowait().close()

    def __enter__(self) -> Cache:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Connection:
    def __init__(self, address: tuple[str, int], timeout_seconds: float) -> None:
        self._socket = socket.create_connection(address, timeout=timeout_seconds)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._file = self._socket.makefile("rb")

    def call(self, *command: str | bytes) -> bytes | int | CacheError | None:
        parts = [part.encode() if isinstance(part, str) else part for part in command]
        request = b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)
        self._socket.sendall(request)
        line = self._file.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionResetError("connection closed")
        kind, rest = line[:1], line[1:-2]
        if kind == b"+":
            return rest
        if kind == b"-":
            return CacheError(rest.decode(errors="replace"))
        if kind == b":":
            return int(rest)
        size = int(rest)
        return None if size < 0 else self._file.read(size + 2)[:-2]

    def close(self) -> None:
        self._file.close()
        self._socket.close()
