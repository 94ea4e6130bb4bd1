"""Helper programs: argv lists only, their own process group, a deadline, a bounded output, and no life without us."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import IO

from runbook_lib.clients._retry import Deadline
from runbook_lib.errors import ActionRejectedError

#: How long a program may take to end after SIGTERM, seconds: helm marks its release in that time.
GRACE_SECONDS = 10.0
#: What is kept of each output, bytes; the rest is read and dropped, so that the program never blocks on it.
OUTPUT_BYTES = 16 * 1024 * 1024
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


@dataclass(frozen=True, slots=True)
class Finished:
    """How a program ended.

    Args:
        code: exit code; the negative number of the signal that ended it.
        output: what it wrote to stdout.
        errors: what it wrote to stderr.
        timed_out: whether it was told to end because its time was up.
    """

    code: int
    output: str
    errors: str
    timed_out: bool = False


def run(
    argv: Sequence[str],
    *,
    deadline_seconds: float,
    text: str = "",
    environment: Mapping[str, str] | None = None,
    executable: str | None = None,
    grace_seconds: float = GRACE_SECONDS,
) -> Finished:
    """Run a program to its end.

    At the deadline its whole group gets SIGTERM, and SIGKILL only after the grace: a program that is killed in the
    middle of a change leaves it half done. When this process dies, the program gets SIGTERM from the kernel.

    Args:
        argv: program and arguments; never a secret, because every user of the machine can read them.
        deadline_seconds: how long it may run, seconds.
        text: what it reads on stdin.
        environment: its whole environment; None gives it ours.
        executable: the file to run, when it is not ``argv[0]``.
        grace_seconds: time between SIGTERM and SIGKILL, seconds.

    Raises:
        ActionRejectedError: it cannot be started.
    """
    parent = os.getpid()
    try:
        child = subprocess.Popen(
            list(argv),
            executable=executable,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=None if environment is None else dict(environment),
            start_new_session=True,
            preexec_fn=lambda: _die_with(parent),  # noqa: PLW1509 - calls two C functions, takes no lock
        )
    except OSError as error:
        raise ActionRejectedError(f"{argv[0]} cannot be started: {error.strerror}") from error
    with child:
        outputs = [_Output(stream) for stream in (child.stdout, child.stderr) if stream is not None]
        writer = threading.Thread(target=_write, args=(child.stdin, text.encode()), daemon=True)
        writer.start()
        timed_out = True
        try:
            timed_out = not _ended(child.pid, deadline_seconds)
        finally:
            _end(child, grace_seconds)
        for one in outputs:
            one.join()
        writer.join()
    output, errors = (one.text for one in outputs)
    return Finished(child.returncode, output, errors, timed_out)


class _Output:
    """Reads a pipe to its end and keeps the beginning."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._kept = bytearray()
        self._thread = threading.Thread(target=self._read, args=(stream,), daemon=True)
        self._thread.start()

    def _read(self, stream: IO[bytes]) -> None:
        while chunk := stream.read1(65536):  # type: ignore[attr-defined]
            self._kept += chunk[: OUTPUT_BYTES - len(self._kept)]

    def join(self) -> None:
        self._thread.join()

    @property
    def text(self) -> str:
        return self._kept.decode(errors="replace")


def _write(stream: IO[bytes] | None, content: bytes) -> None:
    if stream is not None:
        with contextlib.suppress(BrokenPipeError), stream:
            stream.write(content)


def _ended(pid: int, seconds: float) -> bool:
    """Wait until a child has ended, without reaping it: until then nobody else can get its process group."""
    deadline = Deadline(seconds)
    pause = 0.002
    while os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None:
        if deadline.expired:
            return False
        time.sleep(min(pause, deadline.remaining))
        pause = min(pause * 1.5, 0.05)
    return True


def _end(child: subprocess.Popen[bytes], grace_seconds: float) -> None:
    """End the child, then whatever it left behind in its group."""
    if not _ended(child.pid, 0):
        os.killpg(child.pid, signal.SIGTERM)
        _ended(child.pid, grace_seconds)
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def _die_with(parent: int) -> None:
    """Runs in the child between fork and exec."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # the parent ended before prctl took effect
        os._exit(1)
