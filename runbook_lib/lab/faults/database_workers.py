"""Workers that load or block PostgreSQL as user ``app``."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psycopg

from runbook_lib.lab.faults.group import Group
from runbook_lib.lab.faults.world import APPLICATION

Connection = psycopg.Connection[Any]
# A join without its condition: the mistake of a report that worked on last year's data.
_LONG = "SELECT count(*) FROM orders AS current, orders AS previous WHERE current.quantity + previous.quantity > %s"
_LOCK_PRODUCTS = "UPDATE products SET stock = stock WHERE id <= %s"
# Reads orders once for every product of a range: a fifth of a second of processor time for twenty products.
_READ_SALES = """SELECT p.id, (SELECT sum(quantity) FROM orders WHERE product_id = p.id)
                 FROM products AS p WHERE p.id BETWEEN %s AND %s"""
_FILL_SALES = """UPDATE products SET sold = (SELECT sum(quantity) FROM orders WHERE product_id = products.id)
                 WHERE id BETWEEN %s AND %s"""
_BEST_SELLERS = 20
_START_SECONDS = 10.0


def connect(config: Mapping[str, Any]) -> Connection:
    """A session as the service's own user."""
    password = (Path(config["secrets"]) / "postgres_app_password").read_text(encoding="utf-8")
    return psycopg.connect(
        host="127.0.0.1",
        port=config["postgres_port"],
        dbname="app",
        user="app",
        password=password,
        application_name=APPLICATION,
        connect_timeout=3,
        autocommit=True,
        # The server itself notices when this process is killed in the middle of a statement.
        options="-c client_connection_check_interval=1s",
    )


class Sessions(Group):
    """Several sessions, each run by a thread.

    Args:
        config: the fault's configuration.
        ended: set when the fault is healed.
        work: what one session does.
        count: how many there are.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        ended: threading.Event,
        work: Callable[[Sessions, Connection], None],
        count: int,
    ) -> None:
        super().__init__(count)
        self.config, self.parameters, self.ended = config, config["parameters"], ended
        self._work = work
        self._open: set[Connection] = set()
        self._began = threading.Semaphore(0)

    def start(self) -> None:
        """Open all sessions and wait until each does what it is for."""
        super().start()
        for _ in range(self.count):
            if not self._began.acquire(timeout=_START_SECONDS):
                raise TimeoutError("a session did not begin in time")

    def began(self) -> None:
        """Called by a session's work when it does what it is for."""
        self._began.release()

    def run(self, _number: int) -> None:
        """One session."""
        try:
            with connect(self.config) as connection:
                self._open.add(connection)
                try:
                    self._work(self, connection)
                finally:
                    self._open.discard(connection)
        except psycopg.Error as error:
            # Ended by somebody, or by heal: the job behind it is gone, as a real one would be.
            sys.stderr.write(f"{type(error).__name__}: {error}\n")

    def close(self) -> None:
        """Cancel what runs, then wait for the threads."""
        for connection in list(self._open):
            with contextlib.suppress(psycopg.Error):
                connection.cancel_safe(timeout=2.0)
        super().close()


def long_query(config: Mapping[str, Any], ended: threading.Event) -> Group:
    """One statement in each session that runs for hours."""

    def work(group: Sessions, connection: Connection) -> None:
        group.began()
        connection.execute(_LONG, [-1])

    return Sessions(config, ended, work, int(config["parameters"]["sessions"]))


def row_locks(config: Mapping[str, Any], ended: threading.Event) -> Group:
    """Transactions that lock the best-sellers' rows and then read, one after the other and against each other."""

    def work(group: Sessions, connection: Connection) -> None:
        group.began()
        while not group.ended.is_set():
            with connection.transaction():
                connection.execute(_LOCK_PRODUCTS, [_BEST_SELLERS])
                _read_for(group, connection, float(group.parameters["hold_seconds"]))

    return Sessions(config, ended, work, int(config["parameters"]["sessions"]))


def table_lock(config: Mapping[str, Any], ended: threading.Event) -> Group:
    """A migration that changes a table and fills the new column in the same transaction."""

    def work(group: Sessions, connection: Connection) -> None:
        with connection.transaction(force_rollback=True):
            connection.execute("ALTER TABLE products ADD COLUMN sold bigint")
            group.began()
            while not group.ended.is_set():
                connection.execute(_FILL_SALES, [1, 100])

    return Sessions(config, ended, work, 1)


def idle_transaction(config: Mapping[str, Any], ended: threading.Event) -> Group:
    """Transactions that are open while their client does something else; the first one holds the best-sellers' rows."""
    first = threading.Lock()

    def work(group: Sessions, connection: Connection) -> None:
        connection.execute("BEGIN")
        if first.acquire(blocking=False):
            connection.execute(_LOCK_PRODUCTS, [_BEST_SELLERS])
        else:
            connection.execute(_READ_SALES, [1, 1])
        group.began()
        while not group.ended.wait(0.5):
            if connection.closed:
                return

    return Sessions(config, ended, work, int(config["parameters"]["sessions"]))


def connection_flood(config: Mapping[str, Any], ended: threading.Event) -> Group:
    """Clients without a pool: each opens a session, keeps it, and tries again when the server has none left."""

    class Flood(Sessions):
        def run(self, number: int) -> None:
            tried = False
            while not self.ended.is_set():
                try:
                    with connect(self.config) as connection:
                        if not tried:
                            self.began()
                        self._hold(connection)
                        return
                except psycopg.errors.AdminShutdown:
                    return  # somebody ended this session
                except psycopg.OperationalError:
                    if not tried:
                        self.began()  # refused: there is none left, which is what this fault is about
                    tried = True
                    self.ended.wait(0.05 + number / 200)

        def _hold(self, connection: Connection) -> None:
            while not self.ended.wait(1.0):
                connection.execute("SELECT count(*) FROM products")

    return Flood(config, ended, lambda _group, _connection: None, int(config["parameters"]["sessions"]))


def _read_for(group: Sessions, connection: Connection, seconds: float) -> None:
    """Read sales, statement after statement, until the time is over."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and not group.ended.is_set():
        connection.execute(_READ_SALES, [1, _BEST_SELLERS])


WORKERS: dict[str, Callable[[Mapping[str, Any], threading.Event], Group]] = {
    "long_query": long_query,
    "row_locks": row_locks,
    "table_lock": table_lock,
    "idle_transaction": idle_transaction,
    "connection_flood": connection_flood,
}
