"""A CPU quota for the sessions of one database role: the size of the lab's database server.

Real servers have an end; without one, the lab's PostgreSQL would take every core of the machine before a heavy query
slowed anybody down, and the machine with it. Sessions of the role share ``cores`` of CPU time in each period, enforced
by stopping and continuing their processes, as a resource group of a managed database does. Sessions of other roles
(monitoring, administration) are never stopped, so an overloaded database can still be looked at.

``python -m runbook_lib.lab.quota --pid POSTMASTER --role app --cores 0.5``
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import threading
import time
from pathlib import Path

from runbook_lib.lab.process import start_time_ticks
from runbook_lib.lab.throttle import cpu_seconds

PERIOD_SECONDS = 0.5
_SHORTEST_LOOK_SECONDS = 0.005


class Quota:
    """The quota of one role's sessions.

    Args:
        postmaster: pid of the server.
        role: whose sessions are limited.
        cores: CPU seconds per second that they share.
    """

    def __init__(self, postmaster: int, role: str, cores: float) -> None:
        self._postmaster, self._cores = postmaster, cores
        self._title = f"postgres: {role} ".encode()
        self._stopped: set[int] = set()

    def sessions(self) -> dict[int, float]:
        """Pid of each session -> CPU time that it has used, seconds."""
        children = Path(f"/proc/{self._postmaster}/task/{self._postmaster}/children").read_text(encoding="ascii")
        found = {}
        for text in children.split():
            with contextlib.suppress(OSError):
                if self._title in Path(f"/proc/{text}/cmdline").read_bytes():
                    used = cpu_seconds(int(text))
                    if used is not None:
                        found[int(text)] = used
        return found

    def run(self, ended: threading.Event) -> None:
        """Enforce the quota until ``ended`` is set or the server is gone."""
        ticks = start_time_ticks(self._postmaster)
        try:
            while not ended.is_set() and ticks is not None and start_time_ticks(self._postmaster) == ticks:
                self._period(ended)
        except OSError:
            return  # the server went away between two looks
        finally:
            self.resume()

    def _period(self, ended: threading.Event) -> None:
        end = time.monotonic() + PERIOD_SECONDS
        before = self.sessions()
        allowance = self._cores * PERIOD_SECONDS
        while (now := time.monotonic()) < end and not ended.is_set():
            current = self.sessions()
            left = allowance - sum(used - before.get(pid, 0.0) for pid, used in current.items())
            if left <= 0:
                self.stop(current)
                ended.wait(end - now)
                break
            # At most all cores work on it: nothing can be used up before this.
            ended.wait(min(end - now, max(left / (os.cpu_count() or 1), _SHORTEST_LOOK_SECONDS)))
        self.resume()

    def stop(self, pids: dict[int, float]) -> None:
        """Stop sessions."""
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
                self._stopped.add(pid)

    def resume(self) -> None:
        """Continue every session that was stopped."""
        for pid in self._stopped:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        self._stopped.clear()


def main() -> None:
    """Enforce until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m runbook_lib.lab.quota", description=__doc__)
    parser.add_argument("--pid", type=int, required=True, help="pid of the postmaster")
    parser.add_argument("--role", required=True, help="role whose sessions are limited")
    parser.add_argument("--cores", type=float, required=True, help="CPU seconds per second that they share")
    arguments = parser.parse_args()
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    Quota(arguments.pid, arguments.role, arguments.cores).run(ended)


if __name__ == "__main__":
    main()
