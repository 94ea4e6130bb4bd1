"""Running a command in a container and reaching its ports, over the streams of an upgraded connection.

The kubelet's side of ``kubectl exec`` and ``kubectl port-forward``: headers, streams and statuses as
``k8s.io/kubelet/pkg/cri/streaming`` has them.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import queue
import signal
import socket
import struct
import subprocess
import termios
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from runbook_lib.lab.node.container import Container
from runbook_lib.lab.node.spdy import Readable, Session, Stream

EXEC_PROTOCOL, FORWARD_PROTOCOL = "v4.channel.k8s.io", "portforward.k8s.io"
#: How long the peer may take to open the streams that it asked for; the kubelet's own time.
STREAMS_SECONDS = 30.0
#: How long the peer may take to read the status and hang up.
_HANG_UP_SECONDS = 5.0
_READ_BYTES = 32 * 1024


@dataclass(frozen=True)
class Command:
    """What is asked to run.

    Args:
        argv: program and arguments.
        streams: which of ``stdin``, ``stdout`` and ``stderr`` the peer wants.
        tty: whether it runs on a terminal of its own.
    """

    argv: list[str]
    streams: frozenset[str]
    tty: bool

    @classmethod
    def parse(cls, query: dict[str, list[str]]) -> Command:
        """From the query of the kubelet's API.

        Raises:
            ValueError: no command, or no stream to talk over.
        """
        wanted = {"stdin": "input", "stdout": "output", "stderr": "error"}
        streams = frozenset(name for name, key in wanted.items() if query.get(key, [""])[-1] in {"1", "true"})
        tty = query.get("tty", [""])[-1] in {"1", "true"}
        if not query.get("command") or not streams:
            raise ValueError("you must specify a command, and at least 1 of stdin, stdout, stderr")
        return cls(query["command"], streams - ({"stderr"} if tty else set()), tty)

    @property
    def expected(self) -> int:
        """How many streams the peer opens: those, one for the status, and one for the size of a terminal."""
        return len(self.streams) + 1 + self.tty


def run(container: Container, command: Command, source: Readable, send: Callable[[bytes], object]) -> None:
    """Serve one exec until the command or the peer ends; the peer is told how it ended.

    Args:
        container: where it runs: with its environment, in its folder.
        command: what runs.
        source: what the peer sends.
        send: sends bytes to the peer.
    """
    opened: queue.SimpleQueue[Stream] = queue.SimpleQueue()
    session = threading.Thread(target=Session(source, send, opened.put).run, daemon=True)
    session.start()
    streams: dict[str, Stream] = {}
    with contextlib.suppress(queue.Empty, OSError):
        while len(streams) < command.expected:
            stream = opened.get(timeout=STREAMS_SECONDS)
            streams[stream.headers.get("streamtype", "")] = stream
        begin = _terminal if command.tty else _plain
        status = begin(container, command, streams, session)
        streams["error"].write(json.dumps(status).encode())
        for stream in streams.values():
            stream.close()
        session.join(_HANG_UP_SECONDS)


def _plain(
    container: Container, command: Command, streams: dict[str, Stream], session: threading.Thread
) -> dict[str, Any]:
    pipe = subprocess.PIPE
    try:
        process = subprocess.Popen(
            command.argv,
            stdin=pipe if "stdin" in command.streams else subprocess.DEVNULL,
            stdout=pipe if "stdout" in command.streams else subprocess.DEVNULL,
            stderr=pipe if "stderr" in command.streams else subprocess.DEVNULL,
            env=container.env,
            cwd=container.folder,
            start_new_session=True,
        )
    except OSError as error:
        return _not_started(command, error)
    with process:
        if process.stdin is not None:
            _start(_feed, streams["stdin"], process.stdin)
        outputs = [(process.stdout, "stdout"), (process.stderr, "stderr")]
        copying = [_start(_drain, pipe.fileno(), streams[name]) for pipe, name in outputs if pipe is not None]
        code = _ended(process, session)
        for thread in copying:
            thread.join()
    return _status(code)


def _terminal(
    container: Container, command: Command, streams: dict[str, Stream], session: threading.Thread
) -> dict[str, Any]:
    ours, theirs = pty.openpty()
    try:
        process = subprocess.Popen(
            command.argv,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={"TERM": "xterm", **container.env},
            cwd=container.folder,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - a terminal needs an owner
        )
    except OSError as error:
        os.close(ours)
        return _not_started(command, error)
    finally:
        os.close(theirs)
    with os.fdopen(ours, "wb", buffering=0) as terminal:
        if "stdin" in streams:
            _start(_feed, streams["stdin"], terminal, ends=False)
        _start(_resize, streams["resize"], terminal.fileno())
        copying = _start(_drain, terminal.fileno(), streams["stdout"])
        code = _ended(process, session)
        copying.join()
    return _status(code)


def _ended(process: subprocess.Popen[bytes], session: threading.Thread) -> int:
    """Exit code; a peer that goes away takes the command with it."""

    def leave() -> None:
        session.join()
        with contextlib.suppress(ProcessLookupError):
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGHUP)

    _start(leave)
    return process.wait()


def _start(work: Callable[..., None], *arguments: Any, **named: Any) -> threading.Thread:
    thread = threading.Thread(target=work, args=arguments, kwargs=named, daemon=True)
    thread.start()
    return thread


def _feed(stream: Stream, target: Any, *, ends: bool = True) -> None:
    """The peer's input to the command; its end is the command's end of input."""
    with contextlib.suppress(OSError, ValueError):
        while data := stream.read():
            target.write(data)
            target.flush()
        if ends:
            target.close()


def _drain(source: int, stream: Stream) -> None:
    """What the command writes to the peer; a terminal that is gone ends with an error of its own."""
    with contextlib.suppress(OSError):
        while data := os.read(source, _READ_BYTES):
            stream.write(data)


def _resize(stream: Stream, terminal: int) -> None:
    """The peer's window, one JSON object a message."""
    with contextlib.suppress(OSError, ValueError, KeyError):
        while data := stream.read():
            size = json.loads(data)
            fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", size["Height"], size["Width"], 0, 0))


def _status(code: int) -> dict[str, Any]:
    """How a command ended, as version 4 of the protocol tells it."""
    if code == 0:
        return {"metadata": {}, "status": "Success"}
    number = 128 - code if code < 0 else code
    return {
        "metadata": {},
        "status": "Failure",
        "reason": "NonZeroExitCode",
        "message": f"command terminated with non-zero exit code: exit status {number}",
        "details": {"causes": [{"reason": "ExitCode", "message": str(number)}]},
    }


def _not_started(command: Command, error: OSError) -> dict[str, Any]:
    told = f'exec: "{command.argv[0]}": {error.strerror}'
    return {"metadata": {}, "status": "Failure", "reason": "InternalError", "code": 500, "message": told}


def forward(containers: list[Container], source: Readable, send: Callable[[bytes], object]) -> None:
    """Serve port-forward until the peer goes: each pair of streams is one connection to a port of the pod.

    Args:
        containers: those of the pod.
        source: what the peer sends.
        send: sends bytes to the peer.
    """
    waiting: dict[str, Stream] = {}

    def opened(stream: Stream) -> None:
        other = waiting.pop(number := stream.headers.get("requestid", ""), None)
        if other is None:
            waiting[number] = stream
            return
        pair = {one.headers.get("streamtype", ""): one for one in (stream, other)}
        if pair.keys() == {"data", "error"}:
            _start(_connect, containers, pair["data"], pair["error"])

    Session(source, send, opened).run()


def _connect(containers: list[Container], data: Stream, error: Stream) -> None:
    port = int(data.headers.get("port", "0"))
    found = next((one for one in containers if port in one.ports), None)
    with contextlib.suppress(OSError):
        try:
            if found is None:
                raise ConnectionRefusedError(f"no container of the pod has port {port}")
            connection = socket.create_connection(("127.0.0.1", found.real_port(port)), STREAMS_SECONDS)
        except OSError as refused:
            error.write(f"error forwarding port {port} to pod: {refused}".encode())
        else:
            with connection:
                connection.settimeout(None)
                _start(_send_on, data, connection)
                _drain(connection.fileno(), data)
        data.close()
        error.close()


def _send_on(data: Stream, connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while arrived := data.read():
            connection.sendall(arrived)
        connection.shutdown(socket.SHUT_WR)
