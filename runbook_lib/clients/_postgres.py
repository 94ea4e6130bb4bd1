"""Sessions to PostgreSQL that cannot hang, hold a lock, or outlive their reader; and its errors in our words."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from runbook_lib.clients._retry import Deadline, with_retries
from runbook_lib.errors import (
    SourceAnswerError,
    SourceDeniedError,
    SourceEmptyError,
    SourceError,
    SourceTimeoutError,
    SourceUnreachableError,
)
from runbook_lib.secrets import Secret

if TYPE_CHECKING:
    import psycopg

SOURCE = "postgres"
#: What a reading session may cost: 3 s a statement, 200 ms for a lock, nothing left behind when we vanish.
_SETTINGS: Mapping[str, str] = {
    "statement_timeout": "3s",
    "lock_timeout": "200ms",
    "idle_in_transaction_session_timeout": "5s",
    "default_transaction_read_only": "on",
}
# libpq hands out no SQLSTATE for a refused connection, so its words must do; they are English unless the
# server's lc_messages says otherwise, and then the error is still an error, only of the general kind.
_DENIED = ("password authentication failed", "no pg_hba.conf entry", "is not permitted", "no password supplied")
_ABSENT = ('role "', 'database "')
_STARTING = ("starting up", "shutting down", "not yet accepting connections", "in recovery mode", "consistent recovery")
_FULL = ("too many clients already", "remaining connection slots", "too many connections for")


class NoSlotError(SourceAnswerError):
    """The server is up and refuses the connection because no slot is free (SQLSTATE 53300)."""


class NoAnswerError(SourceTimeoutError):
    """The server is silent: everybody who waits for it will wait in vain."""


@dataclass(frozen=True)
class Login:
    """How one role reaches one database.

    Args:
        host: name or address.
        port: TCP port.
        database: name of the database.
        user: the role.
        password: its password; None for none.
        sslmode: libpq's sslmode.
        application: name that other people see in pg_stat_activity.
        connect_seconds: time to connect, seconds.
        total_seconds: time for everything a session does, seconds.
        statement_seconds: time for one statement, seconds.
        retry: whether a refused connection may be tried again.
        settings: settings of the session that differ from those of a reading one.
    """

    host: str
    port: int
    database: str
    user: str
    password: Secret | None
    sslmode: str
    application: str
    connect_seconds: float
    total_seconds: float
    statement_seconds: float = 3.0
    retry: bool = True
    settings: Mapping[str, str] = field(default_factory=dict)


@contextlib.contextmanager
def session(login: Login) -> Iterator[psycopg.Connection[dict[str, Any]]]:
    """An autocommit session whose rows are mappings; every error that leaves it is a SourceError.

    Raises:
        SourceError: no session, or a statement failed.
    """
    import psycopg

    deadline = Deadline(login.total_seconds)
    connection = with_retries(lambda: _connect(login), deadline) if login.retry else _connect(login)
    watchdog = _Watchdog(connection, deadline.remaining)
    try:
        with watchdog, contextlib.closing(connection):
            yield connection
    except psycopg.Error as error:
        if watchdog.fired:
            raise NoAnswerError(f"no answer within {login.total_seconds:g} s", source=SOURCE) from error
        raise statement_error(error) from error


def _connect(login: Login) -> psycopg.Connection[dict[str, Any]]:
    import psycopg
    from psycopg.rows import dict_row

    settings = {**_SETTINGS, "statement_timeout": f"{login.statement_seconds * 1000:.0f}ms", **login.settings}
    try:
        connection = psycopg.connect(
            host=login.host,
            port=login.port,
            dbname=login.database,
            user=login.user,
            password=login.password.reveal() if login.password else None,
            sslmode=login.sslmode,
            application_name=login.application,
            connect_timeout=max(2, round(login.connect_seconds)),
            # The kernel gives up on unacknowledged bytes, the watchdog on a server that is silent.
            tcp_user_timeout=round(login.total_seconds * 1000),
            options=" ".join(f"-c {name}={value}" for name, value in settings.items()),
            autocommit=True,
            row_factory=dict_row,
        )
    except psycopg.Error as error:
        raise connect_error(error, login) from error
    with contextlib.suppress(psycopg.errors.InvalidParameterValue, psycopg.errors.UndefinedObject):
        # Ends our statement on the server when we die in the middle of it; since PostgreSQL 14, not on every platform.
        connection.execute("SET client_connection_check_interval = '1s'")
    return connection


class _Watchdog:
    """Breaks a session's socket when its time is up.

    psycopg waits for an answer without limit, and the server's statement_timeout does not help against a server
    that is stopped or a network that swallows packets.
    """

    def __init__(self, connection: psycopg.Connection[Any], seconds: float) -> None:
        self.fired = False
        self._socket = os.dup(connection.pgconn.socket)
        self._lock = threading.Lock()
        self._timer = threading.Timer(seconds, self._break)
        self._timer.daemon = True

    def _break(self) -> None:
        with self._lock:
            if self._socket < 0:
                return
            self.fired = True
            with contextlib.suppress(OSError):
                duplicate = socket.socket(fileno=self._socket)
                try:
                    duplicate.shutdown(socket.SHUT_RDWR)
                finally:
                    duplicate.detach()

    def __enter__(self) -> None:
        self._timer.start()

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        with self._lock:
            os.close(self._socket)
            self._socket = -1


def connect_error(error: psycopg.Error, login: Login) -> SourceError:
    """Why there is no session."""
    import psycopg

    words = " ".join(str(error).split())
    if isinstance(error, psycopg.errors.ConnectionTimeout):
        return NoAnswerError(f"no connection within {login.connect_seconds:g} s", source=SOURCE)
    if any(one in words for one in _FULL):
        return NoSlotError(f"refuses new connections, no slot is free: {_tail(words)}", source=SOURCE)
    if any(one in words for one in _DENIED) or (any(one in words for one in _ABSENT) and "does not exist" in words):
        return SourceDeniedError(f"refuses {login.user}: {_tail(words)}", source=SOURCE)
    if any(one in words for one in _STARTING):
        return SourceUnreachableError(f"is not ready: {_tail(words)}", source=SOURCE)
    return SourceUnreachableError(f"cannot be reached: {_tail(words)}", source=SOURCE)


def statement_error(error: psycopg.Error) -> SourceError:
    """Why a statement gave no answer; by SQLSTATE, https://www.postgresql.org/docs/current/errcodes-appendix.html."""
    words = " ".join(str(error).split())
    match error.sqlstate:
        case "42501":
            return SourceDeniedError(f"the role may not read this: {words}", source=SOURCE)
        case "57014" | "55P03" | "25P03":
            return SourceTimeoutError(f"the statement took too long: {words}", source=SOURCE)
        case "42P01" | "42883" if "pg_stat_statements" in words:
            fix = "add it to shared_preload_libraries, then CREATE EXTENSION pg_stat_statements"
            return SourceEmptyError(f"pg_stat_statements is not installed in this database; {fix}", source=SOURCE)
        case "55000" if "pg_stat_statements" in words:
            return SourceEmptyError("pg_stat_statements is not in shared_preload_libraries", source=SOURCE)
        case None | "57P01" | "57P02" | "57P03" | "08006" | "08003":
            return SourceUnreachableError(f"the session ended: {words}", source=SOURCE)
    return SourceAnswerError(f"the statement failed ({error.sqlstate}): {words}", source=SOURCE)


def _tail(words: str) -> str:
    """The server's own words, without the address that libpq puts before them."""
    return words.rpartition("FATAL: ")[2].strip() if "FATAL: " in words else words.removeprefix("connection failed: ")
