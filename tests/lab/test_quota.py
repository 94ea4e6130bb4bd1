"""The CPU quota of a database role."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator

import psycopg
import pytest

from runbook_lib.lab.postgres import Postgres
from runbook_lib.lab.quota import Quota, Times, charge

CORES = 0.2
HOG = "SELECT count(*) FROM orders a, orders b, orders c"


@contextlib.contextmanager
def enforced(postgres: Postgres) -> Iterator[Quota]:
    """A quota of the role ``app`` while the block runs."""
    assert postgres.process is not None
    quota, ended = Quota(postgres.process.pid, "app", CORES), threading.Event()
    thread = threading.Thread(target=quota.run, args=(ended,))
    thread.start()
    try:
        yield quota
    finally:
        ended.set()
        thread.join()


@pytest.fixture
def hog(postgres: Postgres) -> Iterator[None]:
    """A session of ``app`` that wants a whole core."""
    with postgres.connect("app") as connection:

        def run() -> None:
            with contextlib.suppress(psycopg.errors.QueryCanceled):
                connection.execute(HOG)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield
        finally:
            connection.cancel_safe()
            thread.join()


def test_role_gets_no_more_than_its_share(postgres: Postgres, hog: None) -> None:
    """A statement that would take a core gets the quota, and half as much to spare for the coarse clock."""
    with enforced(postgres) as quota:
        before, began = quota.sessions(), time.monotonic()
        time.sleep(3)
        after, elapsed_seconds = quota.sessions(), time.monotonic() - began
    used = sum(after[pid][0] - before[pid][0] for pid in before)
    assert CORES * 1.5 >= used / elapsed_seconds


def test_other_roles_are_not_stopped(postgres: Postgres, hog: None) -> None:
    """The sessions that are limited are those of the role, not those of monitoring."""
    with postgres.connect("rb_read", "app") as reader, enforced(postgres) as quota:
        assert reader.info.backend_pid not in quota.sessions()
        assert 1 <= len(quota.sessions())


@pytest.mark.parametrize(
    ("now", "elapsed", "expected"),
    [
        pytest.param((1.1, 2.0), 1.0, 0.1, id="an idle session pays what it ran"),
        pytest.param((1.2, 2.3), 1.0, 0.2, id="an ordinary wait is free"),
        pytest.param((1.3, 2.6), 1.0, 0.9, id="a greedy session pays for its waits"),
    ],
)
def test_charge(now: Times, elapsed: float, expected: float) -> None:
    """Waiting for a core is charged only to a session that always wants one."""
    assert expected == pytest.approx(charge((1.0, 2.0), now, elapsed))
