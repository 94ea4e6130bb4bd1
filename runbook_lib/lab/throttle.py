"""CPU limits without containers: a quota per period, enforced by stopping and continuing process groups.

It follows the kernel's CFS bandwidth control: in every period of 100 ms a group may use ``limit x 100 ms`` of CPU
time; when that is gone the group stands still until the next period, and what it used too much is taken from the
next ones. Periods and throttled periods are counted as a cgroup's ``cpu.stat`` does.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

PERIOD_SECONDS = 0.1
# Below this a look costs more than it corrects; the overshoot is paid back by the next period.
_SHORTEST_LOOK_SECONDS = 0.002
_CPUCLOCK_SCHED = 2
_GOLDEN_RATIO = 0.618034  # its multiples spread evenly, however many there are
_NANOSECONDS = 1_000_000_000


@dataclass
class Quota:
    """The quota of one process group, and what it counted.

    Args:
        pid: leader of the process group.
        limit_cores: CPU seconds per second; 0.3 is Kubernetes' ``300m``.
    """

    pid: int
    limit_cores: float
    periods: int = 0
    throttled_periods: int = 0
    throttled_seconds: float = 0.0
    _phase_seconds: float = 0.0
    _period_end: float = 0.0
    _used_at_start: float = 0.0
    _allowance_seconds: float = 0.0
    _stopped_at: float = field(default=0.0, repr=False)

    @property
    def stopped(self) -> bool:
        """Whether the group stands still right now."""
        return self._stopped_at > 0.0


class Throttle:
    """Enforces quotas from one thread.

    The thread sleeps until the earliest moment at which a group could have used up its allowance on one core, so an
    idle group costs a handful of clock reads in a period.
    """

    def __init__(self) -> None:
        self._quotas: dict[int, Quota] = {}
        self._changed = threading.Condition()
        self._closed = False
        self._added = 0
        self._thread = threading.Thread(target=self._run, name="throttle", daemon=True)
        self._thread.start()

    def add(self, pid: int, limit_cores: float) -> Quota:
        """Begin to limit a process group.

        Raises:
            ValueError: the limit is not positive.
        """
        if limit_cores <= 0:
            raise ValueError(f"a CPU limit must be positive, not {limit_cores}")
        quota = Quota(pid, limit_cores)
        with self._changed:
            # Periods that began together would let all throttled groups loose at once on the same few cores.
            self._added += 1
            quota._phase_seconds = self._added * _GOLDEN_RATIO % 1.0 * PERIOD_SECONDS
            _begin_period(quota, time.monotonic(), cpu_seconds(pid) or 0.0)
            self._quotas[pid] = quota
            self._changed.notify()
        return quota

    def remove(self, pid: int) -> None:
        """Stop limiting a group and let it run."""
        with self._changed:
            quota = self._quotas.pop(pid, None)
            if quota is not None and quota.stopped:
                _resume(quota, time.monotonic())

    def close(self) -> None:
        """End the thread and let every group run."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(timeout=2)
        for pid in list(self._quotas):
            self.remove(pid)

    def _run(self) -> None:
        with self._changed:
            while not self._closed:
                now = time.monotonic()
                due = [_look(quota, now) for quota in self._quotas.values()]
                self._changed.wait(max(min(due) - time.monotonic(), 0.0005) if due else None)


def cpu_seconds(pid: int) -> float | None:
    """CPU time that all threads of a process have used; None when the process is gone.

    Reads the process's CPU clock, as ``clock_getcpuclockid(3)`` names it: one system call of nanosecond resolution,
    where ``/proc/<pid>/stat`` counts in steps of 10 ms.
    """
    try:
        return time.clock_gettime_ns((~pid << 3) | _CPUCLOCK_SCHED) / _NANOSECONDS
    except OSError:
        return None


def group_cpu_seconds(pid: int) -> float | None:
    """CPU time of a process and its living descendants; None when the process is gone."""
    total = cpu_seconds(pid)
    if total is None:
        return None
    for child in _children(pid):
        total += group_cpu_seconds(child) or 0.0
    return total


def _children(pid: int) -> list[int]:
    with contextlib.suppress(OSError):
        return [int(text) for text in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()]
    return []


def _look(quota: Quota, now: float) -> float:
    """Bring one quota up to date; returns when to look again, on the monotonic clock."""
    used = cpu_seconds(quota.pid)
    if used is None:
        return now + PERIOD_SECONDS
    if now >= quota._period_end:
        _end_period(quota, now, used)
    left = quota._allowance_seconds - (used - quota._used_at_start)
    if left <= 0:
        if not quota.stopped:
            _signal(quota.pid, signal.SIGSTOP)
            quota._stopped_at = now
        return quota._period_end
    return min(quota._period_end, now + max(left, _SHORTEST_LOOK_SECONDS))


def _begin_period(quota: Quota, now: float, used: float, debt_seconds: float = 0.0) -> None:
    started = (now - quota._phase_seconds) // PERIOD_SECONDS * PERIOD_SECONDS + quota._phase_seconds
    quota._period_end = started + PERIOD_SECONDS
    quota._used_at_start = used
    quota._allowance_seconds = quota.limit_cores * PERIOD_SECONDS - debt_seconds


def _end_period(quota: Quota, now: float, used: float) -> None:
    spent = used - quota._used_at_start
    if spent > 0:  # an idle group has no periods, as in the kernel
        quota.periods += 1
    debt = max(spent - quota._allowance_seconds, 0.0)
    if quota.stopped:
        quota.throttled_periods += 1
        if spent <= 0:
            quota.periods += 1
    _begin_period(quota, now, used, debt)
    if quota.stopped:
        if quota._allowance_seconds > 0:
            _resume(quota, now)
        else:
            quota.throttled_seconds += now - quota._stopped_at
            quota._stopped_at = now


def _resume(quota: Quota, now: float) -> None:
    _signal(quota.pid, signal.SIGCONT)
    quota.throttled_seconds += now - quota._stopped_at
    quota._stopped_at = 0.0


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, number)
