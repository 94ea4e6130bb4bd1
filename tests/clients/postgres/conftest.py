"""A client of the PostgreSQL server of these tests, and sessions of an application on it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from runbook_lib.clients.postgres import PostgresClient
from runbook_lib.lab.postgres import Postgres
from runbook_lib.model import Evidence, Gap


def settings(server: Postgres, **more: Any) -> dict[str, Any]:
    known = {"host": "127.0.0.1", "port": server.port, "database": "app", "user": "rb_read", "act_user": "rb_act"}
    return {**known, "end_users": "app, report", **more}


@pytest.fixture
def client(make, postgres, monkeypatch) -> Callable[..., PostgresClient]:
    """Builds a client of the server; keyword arguments replace settings."""
    monkeypatch.setenv("READ_PASSWORD", postgres.passwords["rb_read"])
    monkeypatch.setenv("ACT_PASSWORD", postgres.passwords["rb_act"])
    secrets = {"password": "env:READ_PASSWORD", "act_password": "env:ACT_PASSWORD"}

    def build(**more: Any) -> PostgresClient:
        options = {name: more.pop(name) for name in ("total_seconds", "connect_seconds", "tape") if name in more}
        made = make(PostgresClient, settings(postgres, **more), secrets=secrets, **options)
        assert isinstance(made, PostgresClient)
        return made

    return build


@pytest.fixture
def app(postgres) -> Iterator[Callable[..., psycopg.Connection[Any]]]:
    """Opens sessions of the application; closes them all at the end."""
    opened: list[psycopg.Connection[Any]] = []

    def connect(application: str = "api", **more: Any) -> psycopg.Connection[Any]:
        opened.append(psycopg.connect(postgres.url("app"), application_name=application, **more))
        return opened[-1]

    yield connect
    for one in opened:
        one.close()


class Busy:
    """A statement that runs in its own thread until its session is ended."""

    def __init__(self, connection: psycopg.Connection[Any], statement: str) -> None:
        self.pid = connection.info.backend_pid
        self._thread = threading.Thread(target=self._run, args=(connection, statement), daemon=True)
        self._thread.start()

    def _run(self, connection: psycopg.Connection[Any], statement: str) -> None:
        try:
            connection.execute(statement)
        except psycopg.Error as error:
            self.error = error

    def join(self) -> None:
        self._thread.join(5)
        assert not self._thread.is_alive()


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < end, "the server never got there"
        time.sleep(0.02)


def waiting(server: Postgres, pids: set[int]) -> bool:
    with server.connect() as connection:
        rows = connection.execute("SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock'").fetchall()
    return pids <= {pid for (pid,) in rows}


def table(result: Evidence | Gap) -> list[dict[str, Any]]:
    assert isinstance(result, Evidence), result
    return result.table.records()


def row_of(result: Evidence | Gap, pid: int) -> dict[str, Any]:
    return next(row for row in table(result) if row["pid"] == pid)
