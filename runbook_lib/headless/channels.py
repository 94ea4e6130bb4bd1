"""The conversation with a kernel over its sockets, in one thread and without waiting longer than asked."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import zmq
from jupyter_client.session import Session

# A kernel that floods its output channel must not fill this process's memory; what is lost beyond it is noted.
_MOST_WAITING_MESSAGES = 20_000
# So many messages are taken before signals and deadlines are looked at again.
_BATCH = 500
_PING_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a kernel.

    Args:
        channel: ``shell`` (answers) or ``iopub`` (output and state).
        kind: its ``msg_type``.
        parent: id of the request that it belongs to.
        content: its content.
    """

    channel: str
    kind: str
    parent: str
    content: Mapping[str, Any]


class Channels:
    """Connected sockets of one kernel.

    Args:
        connection: the kernel's connection data.
    """

    def __init__(self, connection: Mapping[str, Any]) -> None:
        self._context = zmq.Context()
        self._session = Session(key=connection["key"].encode(), signature_scheme=connection["signature_scheme"])
        address = f"{connection['transport']}://{connection['ip']}-"
        self._shell = self._socket(zmq.DEALER, f"{address}{connection['shell_port']}")
        self._control = self._socket(zmq.DEALER, f"{address}{connection['control_port']}")
        self._heartbeat = self._socket(zmq.DEALER, f"{address}{connection['hb_port']}")
        self._iopub = self._socket(zmq.SUB, f"{address}{connection['iopub_port']}")
        self._iopub.setsockopt(zmq.SUBSCRIBE, b"")
        self._poller = zmq.Poller()
        for socket in (self._shell, self._iopub, self._heartbeat, self._control):
            self._poller.register(socket, zmq.POLLIN)
        self._pinged = 0.0
        self.heard = time.monotonic()

    def _socket(self, kind: int, address: str) -> zmq.Socket[bytes]:
        socket: zmq.Socket[bytes] = self._context.socket(kind)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.RCVHWM, _MOST_WAITING_MESSAGES)
        socket.connect(address)
        return socket

    def ask(self, kind: str, content: Mapping[str, Any], metadata: Mapping[str, Any] | None = None) -> str:
        """Send a request on the shell channel and return its id."""
        return self._send(self._shell, kind, content, metadata)

    def shut_down(self) -> None:
        """Ask the kernel to end."""
        self._send(self._control, "shutdown_request", {"restart": False}, None)

    def interrupt(self) -> None:
        """Ask the kernel to interrupt itself, for kernels that take no signal."""
        self._send(self._control, "interrupt_request", {}, None)

    def _send(
        self, socket: zmq.Socket[bytes], kind: str, content: Mapping[str, Any], metadata: Mapping[str, Any] | None
    ) -> str:
        message = self._session.msg(kind, dict(content), metadata=dict(metadata or {}))
        self._session.send(socket, message)
        return str(message["header"]["msg_id"])

    def receive(self, wait_seconds: float) -> Iterator[Message]:
        """The messages that are there or arrive within ``wait_seconds``, at most a batch of them."""
        self._ping()
        ready = dict(self._poller.poll(max(int(wait_seconds * 1000), 0)))
        if self._heartbeat in ready:
            self._drain(self._heartbeat)
        if self._control in ready:
            self._drain(self._control)
        for name, socket in (("iopub", self._iopub), ("shell", self._shell)):
            if socket in ready:
                yield from self._messages(name, socket)

    def _messages(self, name: str, socket: zmq.Socket[bytes]) -> Iterator[Message]:
        for _ in range(_BATCH):
            try:
                frames = socket.recv_multipart(zmq.DONTWAIT)
            except zmq.Again:
                return
            self.heard = time.monotonic()
            try:
                _, parts = self._session.feed_identities(frames)
                found = self._session.deserialize(parts)
            except (ValueError, TypeError, KeyError):
                # Not signed with this kernel's key, or not a message at all; the first message a socket of the
                # newest protocol sends is its own welcome, without a signature.
                continue
            finally:
                # A single message can hold hundreds of megabytes; its bytes must not stay beside its text.
                frames = parts = []
            parent = (found.get("parent_header") or {}).get("msg_id", "")
            yield Message(name, found["msg_type"], parent, found["content"])

    def _ping(self) -> None:
        # The kernel answers from a thread without Python's lock: busy native code still answers, a stopped or
        # vanished process does not.
        now = time.monotonic()
        if now - self._pinged >= _PING_SECONDS:
            self._pinged = now
            try:
                self._heartbeat.send_multipart([b"", b"ping"], zmq.DONTWAIT)
            except zmq.Again:
                return

    def _drain(self, socket: zmq.Socket[bytes]) -> None:
        self.heard = time.monotonic()
        try:
            while True:
                socket.recv_multipart(zmq.DONTWAIT)
        except zmq.Again:
            return

    def close(self) -> None:
        """Close every socket."""
        self._context.destroy(linger=0)
