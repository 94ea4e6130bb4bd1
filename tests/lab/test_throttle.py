"""The CPU quota holds real processes to their share."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from runbook_lib.lab.throttle import Throttle, cpu_seconds, group_cpu_seconds

BUSY = [sys.executable, "-c", "while True: pass"]


@pytest.fixture
def throttle() -> Iterator[Throttle]:
    throttle = Throttle()
    yield throttle
    throttle.close()


@pytest.fixture
def busy() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(BUSY, start_new_session=True)
    yield process
    process.kill()
    process.wait()


def use(pid: int, seconds: float) -> float:
    """CPU seconds per second of a process."""
    before, started = cpu_seconds(pid), time.monotonic()
    time.sleep(seconds)
    after = cpu_seconds(pid)
    assert before is not None
    assert after is not None
    return (after - before) / (time.monotonic() - started)


def test_busy_process_gets_its_limit(throttle: Throttle, busy: subprocess.Popen[bytes]) -> None:
    """A process that wants a whole core gets 300m within 15 %: never more, and less only where a free one gets less."""
    free = subprocess.Popen(BUSY, start_new_session=True)
    try:
        throttle.add(busy.pid, 0.3)
        time.sleep(0.3)
        before = cpu_seconds(free.pid)
        used = use(busy.pid, 3.0)
        after = cpu_seconds(free.pid)
    finally:
        free.kill()
        free.wait()
    assert before is not None
    assert after is not None
    possible = (after - before) / 3.0

    assert 0.85 * min(0.3, 0.7 * possible) < used < 0.3 * 1.15


def test_throttled_periods_are_counted(throttle: Throttle, busy: subprocess.Popen[bytes]) -> None:
    """Nearly every period of a busy process is a throttled one."""
    quota = throttle.add(busy.pid, 0.02)
    time.sleep(2.0)

    assert quota.periods >= 8
    assert quota.throttled_periods > 0.7 * quota.periods
    assert quota.throttled_seconds > 0.5


def test_idle_process_is_never_throttled(throttle: Throttle) -> None:
    """Sleeping costs no quota and has no periods."""
    process = subprocess.Popen(["sleep", "30"], start_new_session=True)
    try:
        time.sleep(0.2)
        quota = throttle.add(process.pid, 0.1)
        time.sleep(0.6)
    finally:
        process.kill()
        process.wait()

    assert (0, 0) == (quota.periods, quota.throttled_periods)


def test_removed_process_runs_free(throttle: Throttle, busy: subprocess.Popen[bytes]) -> None:
    """Without its quota the process runs, also when it was stopped at that moment."""
    throttle.add(busy.pid, 0.01)
    time.sleep(0.5)
    throttle.remove(busy.pid)

    assert use(busy.pid, 1.5) > 0.02


def test_gone_process_disturbs_nobody(throttle: Throttle, busy: subprocess.Popen[bytes]) -> None:
    """The quota of a dead process is harmless to the others."""
    dead = subprocess.Popen(["true"], start_new_session=True)
    dead.wait()
    throttle.add(dead.pid, 0.1)
    throttle.add(busy.pid, 0.2)

    assert 0.02 < use(busy.pid, 1.5) < 0.25


@pytest.mark.parametrize("limit", [0.0, -0.1])
def test_limit_must_be_positive(throttle: Throttle, limit: float) -> None:
    """A limit that lets nothing run is refused."""
    with pytest.raises(ValueError, match="positive"):
        throttle.add(1, limit)


def test_descendants_count() -> None:
    """A group's CPU time holds that of its children."""
    script = "import subprocess,sys,time; p = subprocess.Popen([sys.executable, '-c', 'while True: pass']); p.wait()"
    process = subprocess.Popen([sys.executable, "-c", script], start_new_session=True)
    try:
        time.sleep(1.0)
        alone, together = cpu_seconds(process.pid), group_cpu_seconds(process.pid)
    finally:
        subprocess.run(["kill", "-9", "--", f"-{process.pid}"], check=False)
        process.wait()

    assert alone is not None
    assert together is not None
    assert together > alone + 0.01
