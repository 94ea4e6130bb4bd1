"""Accept connections on one port that speaks TLS and, for clients that bring their own trust, plain HTTP."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

from uvicorn import Config, Server

from runbook_lib.lab.controlplane import certificate

FIRST_BYTE_SECONDS = 10.0
TLS_HANDSHAKE = 0x16


class Listener:
    """One loopback socket whose connections are told apart by their first byte.

    Args:
        server: the HTTP server, started without sockets of its own.
        context: TLS settings.
        port: 0 takes a free one.

    Raises:
        OSError: the port is taken.
    """

    def __init__(self, server: Server, config: Config, context: ssl.SSLContext, port: int) -> None:
        self._server, self._config, self._context = server, config, context
        self._socket = socket.create_server(("127.0.0.1", port), backlog=256)
        self._socket.setblocking(False)
        self._task: asyncio.Task[None] | None = None
        self._pending: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        """The port that is listened on."""
        number: int = self._socket.getsockname()[1]
        return number

    def start(self) -> None:
        """Begin to accept."""
        self._task = asyncio.get_running_loop().create_task(self._accept())

    def close(self) -> None:
        """Stop accepting; open connections are the server's."""
        if self._task:
            self._task.cancel()
        for task in self._pending:
            task.cancel()
        self._socket.close()

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            connection, _ = await loop.sock_accept(self._socket)
            connection.setblocking(False)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            task = loop.create_task(self._hand_over(connection))
            self._pending.add(task)
            task.add_done_callback(self._pending.discard)

    async def _hand_over(self, connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(FIRST_BYTE_SECONDS):
                first = await _peek(loop, connection)
                if not first:
                    connection.close()
                    return
                context = self._context if first[0] == TLS_HANDSHAKE else None
                await loop.connect_accepted_socket(self._protocol, connection, ssl=context)
        except (OSError, ssl.SSLError, TimeoutError):
            connection.close()  # a client that broke off its handshake

    def _protocol(self) -> asyncio.Protocol:
        make: Any = self._config.http_protocol_class
        made: asyncio.Protocol = make(config=self._config, server_state=self._server.server_state, app_state={})
        return made


async def _peek(loop: asyncio.AbstractEventLoop, connection: socket.socket) -> bytes:
    """The first byte, left in the socket's buffer."""
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_reader(connection, _finish, ready)
    try:
        await ready
    finally:
        loop.remove_reader(connection)
    return connection.recv(1, socket.MSG_PEEK)


def _finish(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def context_in(directory: Path, write: Callable[[Path, str], None]) -> tuple[ssl.SSLContext, str]:
    """TLS settings and the certificate as PEM, from ``tls.crt`` and ``tls.key`` in a folder, made when missing."""
    certificate_file, key_file = directory / "tls.crt", directory / "tls.key"
    if not (certificate_file.exists() and key_file.exists()):
        pem, key = certificate.make("runbook lab")
        write(certificate_file, pem)
        write(key_file, key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate_file, key_file)
    return context, certificate_file.read_text()
