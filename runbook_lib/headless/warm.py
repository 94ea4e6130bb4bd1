"""A process that has imported everything and waits: a run of the command then begins at once.

``runbook warm`` starts it. It listens on a socket in a private folder, forks one child for each run, and ends by itself
when nothing has come for a while. A run without it, or after the library was changed, starts as it always does. What is
asked is done once: the child begins only when the command has answered it.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

from runbook_lib.headless import forking

_PACKAGE = Path(__file__).parent.parent
# A busy machine may take long to answer; a process that does not is done without.
_ANSWER_SECONDS = 20.0
_MOST_BYTES = 2**20
_GO = b"go"
Main = Callable[[], None]


def address() -> Path:
    """The socket for this library as it is now, this Python and this user; another library has another one."""
    newest = max((path.stat().st_mtime_ns for path in _PACKAGE.rglob("*.py")), default=0)
    known = [sys.executable, str(_PACKAGE), newest, os.environ.get("PYTHONPATH", "")]
    name = hashlib.sha256(json.dumps(known).encode()).hexdigest()[:16]
    base = os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()
    return Path(base) / f"runbook-warm-{os.getuid()}" / name


def _private(folder: Path) -> bool:
    """Whether nobody else can put a socket there or reach one."""
    try:
        found = folder.lstat()
    except OSError:
        return False
    return found.st_uid == os.getuid() and found.st_mode & 0o777 == 0o700 and not folder.is_symlink()


def connect() -> socket.socket | None:
    """A connection to the waiting process; None when there is none."""
    place = address()
    if not forking.AVAILABLE or not _private(place.parent) or not place.exists():
        return None
    found = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    found.settimeout(_ANSWER_SECONDS)
    try:
        found.connect(str(place))
    except OSError:
        found.close()
        return None
    return found


def run(arguments: Sequence[str]) -> int | None:
    """Let the waiting process do a command.

    Args:
        arguments: the whole command line.

    Returns:
        Its exit code; None when nothing was begun, and the command is still to be done.
    """
    connection = connect()
    if connection is None:
        return None
    with connection:
        asked = {"arguments": list(arguments), "cwd": str(Path.cwd()), "environment": dict(os.environ)}
        try:
            socket.send_fds(connection, [json.dumps(asked).encode()], [0, 1, 2])
            pid = int(connection.recv(32))
            connection.send(_GO)
        except (OSError, ValueError):
            return None
        connection.settimeout(None)
        return _wait(connection, pid)


def _wait(connection: socket.socket, pid: int) -> int:
    """Hand signals on to the child until it tells its exit code."""

    def hand_on(number: int, _frame: FrameType | None) -> None:
        with suppress(ProcessLookupError):
            os.kill(pid, number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, hand_on)
    told = connection.recv(32)
    if not told:
        sys.stderr.write("runbook: the run's process is gone; see: runbook records list\n")
        return 1
    return int(told)


def stop() -> bool:
    """End the waiting process; whether there was one. Runs that have begun go on to their end."""
    connection = connect()
    if connection is None:
        return False
    with connection:
        connection.send(json.dumps({"stop": True}).encode())
        connection.recv(32)
    return True


def serve(main: Main, *, idle_seconds: float) -> None:
    """Wait for runs until nothing has come for a while.

    Args:
        main: the command's entry point; called in the child, with its arguments in ``sys.argv``.
        idle_seconds: how long to wait for the next run, seconds.
    """
    forking.prepare(["httpx", "psycopg", "redis", "kubernetes.client"])
    place = address()
    place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not _private(place.parent):
        raise PermissionError(f"{place.parent} is not private; remove it")
    place.unlink(missing_ok=True)
    children: list[forking.Forked] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listening:
        listening.bind(str(place))
        listening.listen(8)
        listening.settimeout(1.0)
        heard = time.monotonic()
        try:
            # Children still have to be waited for: a run watches the process that it was forked from.
            while time.monotonic() - heard < idle_seconds or children:
                children = [child for child in children if child.poll() is None]
                with suppress(TimeoutError):
                    connection, _ = listening.accept()
                    heard = time.monotonic()
                    with connection:
                        if not _take(connection, main, children):
                            return
        finally:
            place.unlink(missing_ok=True)


def _take(connection: socket.socket, main: Main, children: list[forking.Forked]) -> bool:
    """Begin what a connection asks for; False when it asks to end."""
    connection.settimeout(_ANSWER_SECONDS)
    descriptors: list[int] = []
    try:
        content, descriptors, _, _ = socket.recv_fds(connection, _MOST_BYTES, 3)
        asked: dict[str, Any] = json.loads(content)
        if asked.get("stop"):
            connection.send(b"stopping")
            return False
        if len(descriptors) == 3:
            children.append(_begin(connection, asked, descriptors, main))
    except (OSError, ValueError):
        # Who asked has gone again; without its answer nothing begins.
        return True
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
    return True


def _begin(connection: socket.socket, asked: dict[str, Any], descriptors: list[int], main: Main) -> forking.Forked:
    def work() -> int:
        for number, descriptor in enumerate(descriptors):
            os.dup2(descriptor, number)
        connection.send(str(os.getpid()).encode())
        if connection.recv(32) != _GO:
            return 1
        sys.argv = list(asked["arguments"])
        code = _code(main)
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError):
                stream.flush()
        connection.send(str(code).encode())
        return code

    return forking.fork(
        work,
        environment=asked["environment"],
        cwd=Path(asked["cwd"]),
        log=Path(os.devnull),
        keep=(connection.fileno(), *descriptors),
    )


def _code(main: Main) -> int:
    try:
        main()
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    return 0
