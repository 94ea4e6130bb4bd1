"""Ends a kernel whose runner died; run by its path in a process of its own, with the standard library only.

A killed runner cannot clean up, and a kernel inside native code does not notice. This process holds the other end of
a pipe to the runner: when the pipe ends without a word, the runner is dead, and everything in the kernel's session
is told to stop, then killed.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import suppress

# A terminated kernel still gets to write its last words; with the scan it is gone within two seconds.
_GRACE_SECONDS = 1.0


def session_members(session: int) -> list[int]:
    """Every process of a session; a process that only changed its group is still found."""
    found = []
    # pathlib would double the start-up time of the watcher.
    for name in os.listdir("/proc"):  # noqa: PTH208
        if name.isdigit():
            with suppress(OSError, ValueError):
                with open(f"/proc/{name}/stat", "rb") as file:  # noqa: PTH123
                    # The name in brackets may hold spaces and brackets itself.
                    fields = file.read().rpartition(b")")[2].split()
                if int(fields[3]) == session and fields[0] != b"Z":
                    found.append(int(name))
    return found


def end_session(session: int, grace_seconds: float = _GRACE_SECONDS) -> None:
    """Stop every process of a session: asked first, killed after ``grace_seconds``."""
    _signal(session_members(session), signal.SIGTERM)
    # A stopped process takes no other signal before it continues.
    _signal(session_members(session), signal.SIGCONT)
    limit = time.monotonic() + grace_seconds
    while session_members(session) and time.monotonic() < limit:
        time.sleep(0.02)
    for _ in range(50):
        left = session_members(session)
        if not left:
            return
        _signal(left, signal.SIGKILL)
        time.sleep(0.02)


def _signal(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(OSError):
            os.kill(pid, number)


def main() -> None:
    """Wait for the runner's last word, or for its death."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    if not os.read(0, 1):
        end_session(int(sys.argv[1]))
        import shutil

        # The sockets and their key; a runner that lives removes them itself.
        shutil.rmtree(sys.argv[2], ignore_errors=True)


if __name__ == "__main__":
    main()
