"""Child processes of the lab: started apart, recorded, and stopped without ever signalling a stranger.

Every component of the lab is one child in its own session with its own log file. What a later ``up`` needs to
clean up after a killed supervisor is a ``ProcessRecord``: a pid alone may belong to somebody else by then, a pid
together with the kernel's start time may not.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from runbook_lib.errors import LabError

POLL_SECONDS = 0.02
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


@dataclass(frozen=True)
class ProcessRecord:
    """What is written down about a child so that a later process can stop it safely.

    Args:
        name: the component, such as ``"postgres"``.
        pid: process id, also the id of its session and process group.
        start_time_ticks: field 22 of ``/proc/<pid>/stat``; tells the process from a later owner of the pid.
        argv0: the program, for people who read the record.
        stop_signal: the signal that asks this program for a clean end.
    """

    name: str
    pid: int
    start_time_ticks: int
    argv0: str
    stop_signal: int = signal.SIGTERM

    def to_json(self) -> dict[str, str | int]:
        """The record as plain values."""
        return asdict(self)

    @property
    def alive(self) -> bool:
        """Whether this very process, not a later owner of its pid, still runs."""
        return start_time_ticks(self.pid) == self.start_time_ticks

    def stop(self, timeout_seconds: float = 5.0) -> bool:
        """Ask the process to end, then force it; its whole group is signalled.

        Returns:
            True when it ran and is gone now, False when there was nothing to stop.
        """
        if not self.alive:
            return False
        for number in (self.stop_signal, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, number)
            if self._ended_within(timeout_seconds):
                return True
        raise LabError(f"{self.name} (pid {self.pid}) did not end within {timeout_seconds:g} s of SIGKILL")

    def _ended_within(self, timeout_seconds: float) -> bool:
        deadline = time.monotonic() + timeout_seconds
        while time.monotonic() < deadline:
            if not self.alive:
                return True
            time.sleep(POLL_SECONDS)
        return False


class Process:
    """A running child with its log file.

    Args:
        record: how to recognise it later.
        popen: the child's handle.
        log_path: file that takes its stdout and stderr.
    """

    def __init__(self, record: ProcessRecord, popen: subprocess.Popen[bytes], log_path: Path) -> None:
        self.record, self.log_path = record, log_path
        self._popen = popen

    @classmethod
    def start(
        cls,
        name: str,
        argv: Sequence[str],
        *,
        log_path: Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        user: int | None = None,
        stop_signal: int = signal.SIGTERM,
        die_with_parent: bool = False,
    ) -> Process:
        """Start ``argv`` in a session of its own.

        Args:
            name: the component.
            argv: program and arguments; never a secret, because every user of the machine can read them.
            log_path: file that stdout and stderr are appended to, created with mode 0600.
            env: the whole environment; None inherits ours.
            cwd: working directory; None inherits ours.
            user: uid and gid to switch to; None stays.
            stop_signal: the signal that asks this program for a clean end.
            die_with_parent: whether the kernel kills the child when the *thread* that started it ends.

        Raises:
            LabError: the program cannot be started.
        """
        fd = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        parent = os.getpid()
        try:
            popen = subprocess.Popen(
                list(argv),
                stdin=subprocess.DEVNULL,
                stdout=fd,
                stderr=fd,
                env=None if env is None else dict(env),
                cwd=cwd,
                start_new_session=True,
                user=user,
                group=user,
                extra_groups=None if user is None else [],
                preexec_fn=(lambda: _die_with(parent)) if die_with_parent else None,  # noqa: PLW1509
            )
        except OSError as error:
            raise LabError(f"cannot start {name}: {error}") from error
        finally:
            os.close(fd)
        ticks = start_time_ticks(popen.pid) or 0
        return cls(ProcessRecord(name, popen.pid, ticks, argv[0], stop_signal), popen, log_path)

    @property
    def pid(self) -> int:
        """Process id."""
        return self.record.pid

    @property
    def alive(self) -> bool:
        """Whether the child runs; reaps it when it has ended."""
        return self._popen.poll() is None

    @property
    def exit_code(self) -> int | None:
        """Exit code, negative signal number, or None while it runs."""
        return self._popen.poll()

    def signal(self, number: int) -> None:
        """Send a signal to the child's whole group; nothing happens when it is gone."""
        if self.alive:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, number)

    def wait(self, timeout_seconds: float) -> int | None:
        """Exit code, or None when the child still runs after the timeout."""
        try:
            return self._popen.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            return None

    def stop(self, timeout_seconds: float = 5.0) -> int | None:
        """Ask the child to end, then force it.

        Returns:
            Its exit code, or the negative number of the signal that ended it.
        """
        self.signal(self.record.stop_signal)
        if self.wait(timeout_seconds) is None:
            self.signal(signal.SIGKILL)
            self.wait(timeout_seconds)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)  # whatever the child left behind in its group
        return self.exit_code

    def wait_until(self, ready: Callable[[], bool], timeout_seconds: float) -> None:
        """Wait for ``ready()``.

        Raises:
            LabError: the child ended first or the time is up; carries the end of its log.
        """
        deadline = time.monotonic() + timeout_seconds
        while not ready():
            if not self.alive:
                raise LabError(f"{self.record.name} ended with {self.exit_code}: {self.log_tail()}")
            if time.monotonic() > deadline:
                raise LabError(f"{self.record.name} was not ready after {timeout_seconds:g} s: {self.log_tail()}")
            time.sleep(POLL_SECONDS)

    def log_tail(self, size_bytes: int = 800) -> str:
        """The end of the log, for error messages."""
        data = self.log_path.read_bytes() if self.log_path.exists() else b""
        return data[-size_bytes:].decode(errors="replace").strip() or "its log is empty"


def start_time_ticks(pid: int) -> int | None:
    """Start time of a process in clock ticks since boot; None when it is gone or only waits to be reaped."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The program's name stands in parentheses and may hold spaces, so count fields after the last one.
    state, *fields = text[text.rindex(")") + 2 :].split()
    return None if state in {"Z", "X"} else int(fields[18])


def free_port() -> int:
    """A TCP port on 127.0.0.1 that nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def accepts_connections(port: int) -> bool:
    """Whether something listens on 127.0.0.1:``port``."""
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _die_with(parent: int) -> None:
    """Runs in the child between fork and exec."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # the parent ended before prctl took effect
        os._exit(1)
