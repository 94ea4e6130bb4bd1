"""A CPU quota for the sessions of one database role: the size of the lab's database server.

Real servers have an end; without one, the lab's PostgreSQL would take every core of the machine before a heavy query
slowed anybody down, and the machine with it. Sessions of the role share ``cores`` of CPU time in each period, enforced
by stopping and continuing their processes, as a resource group of a managed database does. Sessions of other roles
(monitoring, administration) are never stopped, so an overloaded database can still be looked at.

A session that always wants to run is charged for its wait for a core, too: else the same statement would fill the
quota on an idle machine and leave it half empty on a busy one, where it cannot get the cores to do so.

``python -m runbook_lib.lab.quota --pid POSTMASTER --role app --cores 0.5``
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterable
from pathlib import Path

from runbook_lib.lab.process import start_time_ticks

PERIOD_SECONDS = 0.7
_SHORTEST_LOOK_SECONDS = 0.005
#: Share of the time that a session must run or want to run to be charged for its waits.
_GREEDY_RATIO = 0.8
_NANOSECONDS = 1e9
Times = tuple[float, float]  # seconds run, seconds waited for a core


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

    def sessions(self) -> dict[int, Times]:
        """Pid of each session -> seconds that it ran and that it waited for a core, since its start."""
        children = Path(f"/proc/{self._postmaster}/task/{self._postmaster}/children").read_text(encoding="ascii")
        found = {}
        for text in children.split():
            with contextlib.suppress(OSError):
                if self._title in Path(f"/proc/{text}/cmdline").read_bytes():
                    ran, waited, _ = Path(f"/proc/{text}/schedstat").read_text(encoding="ascii").split()
                    found[int(text)] = int(ran) / _NANOSECONDS, int(waited) / _NANOSECONDS
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
        began = time.monotonic()
        end, before = began + PERIOD_SECONDS, self.sessions()
        while (now := time.monotonic()) < end and not ended.is_set():
            current = self.sessions()
            used = sum(charge(before.get(pid, (0.0, 0.0)), times, now - began) for pid, times in current.items())
            left = self._cores * PERIOD_SECONDS - used
            if left <= 0:
                self.stop(current)
                ended.wait(end - now)
                break
            # At most all sessions are charged at once: nothing can be used up before this.
            ended.wait(min(end - now, max(left / max(len(current), 1), _SHORTEST_LOOK_SECONDS)))
        self.resume()

    def stop(self, pids: Iterable[int]) -> None:
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


def charge(before: Times, now: Times, elapsed_seconds: float) -> float:
    """What a session used of the quota since ``before``, seconds."""
    ran, waited = now[0] - before[0], now[1] - before[1]
    greedy = ran + waited >= _GREEDY_RATIO * elapsed_seconds
    return ran + waited if greedy else ran


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
