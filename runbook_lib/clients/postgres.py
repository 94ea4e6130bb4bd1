"""PostgreSQL: who is connected, who waits for whom, what takes the time, and the two ways to end a session."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from runbook_lib.clients import _migrations as migrations
from runbook_lib.clients import _prepares as prepares
from runbook_lib.clients import _schema as schema
from runbook_lib.clients._postgres import Login, NoAnswerError, NoSlotError, session
from runbook_lib.clients._postgres_sql import (
    CANCEL,
    END_WAIT_MILLISECONDS,
    HIDDEN_MIGRATIONS,
    STATEMENT_COLUMNS,
    STATEMENT_KEY,
    STATEMENT_TEXTS,
    TERMINATE,
    StatementChange,
    statement_changes,
    table_changes,
)
from runbook_lib.clients._source import SourceClient
from runbook_lib.clients._sql import without_literals
from runbook_lib.clients._tape import Answer, Question
from runbook_lib.errors import (
    ActionRejectedError,
    OutcomeUnknownError,
    SourceAnswerError,
    SourceDeniedError,
    SourceError,
    SourceUnreachableError,
)
from runbook_lib.model import Evidence, Gap, Table
from runbook_lib.model.evidence import Scalar

if TYPE_CHECKING:
    import psycopg

TOP_STATEMENTS = 20
#: How long the statements of a migration may take, seconds.
SCHEMA_SECONDS = 300.0
_SAMPLE_SECONDS = 0.1

# Shorter than the shortest wait that is a finding by its length (PostgreSQL's deadlock_timeout, 1 s).
_BLOCKING_SECONDS = 0.25


class PostgresClient(SourceClient):
    """Named questions to PostgreSQL. Settings of the endpoint: ``host``, ``port``, ``database``, ``user`` and
    ``password`` (reads), ``act_user`` and ``act_password`` (ends sessions), ``migrate_user``, ``migrate_password`` and
    ``migrate_role`` (changes the schema, as the owner of its tables), ``sslmode``, ``end_users`` (roles whose sessions
    may be ended, separated by commas). At most one session is open for reading at any time."""

    source = "postgres"
    #: Shown to others in pg_stat_activity.
    application = "rb"

    def activity(self) -> Evidence | Gap:
        """Table of the client sessions; ages in seconds, ``blocked_by`` is pids separated by commas."""
        return self._ask("activity", self._fetch_table)

    def blocking(self, samples: int = 5) -> Evidence | Gap:
        """Table of pairs of a root that blocks and a victim that waits; no row when nobody waits for a lock.

        Locks are handed on within fractions of a second, so one look may fall between two waits: of ``samples`` looks
        within a second, the one in which sessions had waited longest is the answer.
        """
        return self._ask("blocking", self._fetch_blocking, parameters={"samples": samples})

    def saturation(self) -> Evidence | Gap:
        """Document ``{max_connections, reserved, usable, used, ratio, active, idle, idle_in_transaction, ...}``.

        ``refused`` is True, and the numbers are None, when the server had no slot left for us.
        """
        return self._ask("saturation", self._fetch_saturation)

    def statements(self, interval_seconds: float = 2.0) -> Evidence | Gap:
        """Table of the statements that took the most time between two readings, most first.

        ``mean_seconds`` is of the interval, ``earlier_mean_seconds`` of all calls before it; ``share`` is of the time
        of all statements; ``busy`` is how many sessions it kept busy on average.
        """
        return self._ask("statements", self._fetch_statements, parameters={"interval_seconds": interval_seconds})

    def tables(self, interval_seconds: float = 2.0) -> Evidence | Gap:
        """Table of the tables that were read between two readings, most rows scanned first."""
        return self._ask("tables", self._fetch_tables, parameters={"interval_seconds": interval_seconds})

    def waits(self, samples: int = 10) -> Evidence | Gap:
        """Table ``wait_event_type, wait_event, sessions``: active sessions on average, most first."""
        return self._ask("waits", self._fetch_waits, parameters={"samples": samples})

    def settings(self) -> Evidence | Gap:
        """Table ``name, setting, unit, source``."""
        return self._ask("settings", self._fetch_table)

    def permissions(self) -> Evidence | Gap:
        """Document of the reading role: ``{role, server_version, pg_monitor, pg_stat_statements, ...}``."""
        return self._ask("permissions", self._fetch_rights)

    def act_permissions(self) -> Evidence | Gap:
        """Document of the acting role: ``{role, pg_monitor, pg_signal_backend}``."""
        return self._ask("act_permissions", partial(self._fetch_rights, of="act_"))

    def migrate_permissions(self) -> Evidence | Gap:
        """Document of the migrating role: ``{role, owner, exists, may_become_owner, not_owned, no_create}``."""
        owner = {"owner": (self._setting("migrate_role") or self._setting("migrate_user")) if self.endpoint else ""}
        return self._ask("migrate_permissions", partial(self._fetch_rights, of="migrate_"), parameters=owner)

    def migrations(self) -> Evidence | Gap:
        """Document ``{found, tools}``: what each migration tool has applied, and whether one failed half way."""
        return self._ask("migrations", self._fetch_migrations)

    def prepares(self) -> Evidence | Gap:
        """Table ``query, status, code, problem, first_seen``: whether each statement of the service fits the schema.

        The service's roles are ``end_users``. Nothing is executed.
        """
        return self._ask("prepares", self._fetch_prepares)

    @property
    def end_users(self) -> tuple[str, ...]:
        """Roles whose sessions may be ended; none when the catalogue names none."""
        names = self._setting("end_users").split(",") if self.endpoint else []
        return tuple(name.strip() for name in names if name.strip())

    def terminate(
        self, *, pid: int, backend_start: str, xact_start: str | None, users: Sequence[str] = ()
    ) -> dict[str, Scalar]:
        """End one session, named exactly; one request.

        Args:
            pid: process id of its backend.
            backend_start: as ``activity`` gave it.
            xact_start: as ``activity`` gave it; None when it had no transaction.
            users: roles that it may belong to; default: ``end_users`` of the endpoint.

        Returns:
            ``{pid, ended}``.

        Raises:
            ActionRejectedError: it is another session by now, the role may not, or nothing was sent.
            OutcomeUnknownError: it was told to end, and it cannot be told whether it did.
        """
        values = self._guard(pid, backend_start, xact_start, users)
        if not self._end(TERMINATE, values):
            raise OutcomeUnknownError(f"session {pid} was told to end and is still there after 2 s")
        return {"pid": pid, "ended": True}

    def cancel(
        self, *, pid: int, backend_start: str, xact_start: str | None, query_start: str, users: Sequence[str] = ()
    ) -> dict[str, Scalar]:
        """Cancel the running statement of one session, named exactly; the session stays.

        It does nothing for a session that is idle in a transaction: that one must be terminated.

        Args:
            pid: process id of its backend.
            backend_start: as ``activity`` gave it.
            xact_start: as ``activity`` gave it.
            query_start: as ``activity`` gave it.
            users: roles that it may belong to; default: ``end_users`` of the endpoint.

        Returns:
            ``{pid, cancelled}``.

        Raises:
            ActionRejectedError: it runs another statement by now, the role may not, or nothing was sent.
            OutcomeUnknownError: it cannot be told whether the statement was cancelled.
        """
        values = {**self._guard(pid, backend_start, xact_start, users), "query_start": query_start}
        if not self._end(CANCEL, values):
            raise OutcomeUnknownError(f"session {pid} may not have received the request to cancel its statement")
        return {"pid": pid, "cancelled": True}

    def change_schema(self, script: str, *, before: str, after: str, dry_run: bool = False) -> None:
        """Run what a migration tool wrote, in one transaction that holds only while the tool's own table says so.

        Args:
            script: statements of the tool, with its own record of the new version.
            before: the newest migration that must be recorded now.
            after: the newest one that must be recorded when the statements have run.
            dry_run: whether all of it is taken back in the end.

        Raises:
            ActionRejectedError: nothing was changed.
            OutcomeUnknownError: the transaction was told to commit, and it cannot be told whether it did.
        """
        role = self._setting("migrate_role")
        settings = {"default_transaction_read_only": "off", "lock_timeout": "5s", **({"role": role} if role else {})}
        with self._writing():
            login = replace(self._login("migrate_"), statement_seconds=SCHEMA_SECONDS, settings=settings)
            with session(replace(login, total_seconds=SCHEMA_SECONDS + 10)) as connection:
                schema.change(connection, script, before=before, after=after, dry_run=dry_run)

    def _guard(self, pid: int, backend_start: str, xact_start: str | None, users: Sequence[str]) -> dict[str, Any]:
        allowed = list(users or self.end_users)
        if not allowed:
            raise ActionRejectedError("postgres.end_users names no role whose sessions may be ended; nothing was sent")
        return {"pid": pid, "backend_start": backend_start, "xact_start": xact_start, "users": allowed}

    def _end(self, statement: str, values: Mapping[str, Any]) -> bool:
        """Send one guarded statement as the acting role; whether PostgreSQL says that it was done."""
        import psycopg

        try:
            login = self._login("act_")
            with session(login) as connection:
                try:
                    rows = connection.execute(statement, values).fetchall()
                except psycopg.Error as error:
                    # With an SQLSTATE the server has refused; a cancelled statement may have sent its signal before.
                    if error.sqlstate is None or error.sqlstate.startswith("57"):
                        raise OutcomeUnknownError(f"no answer after the request was sent: {error}") from error
                    raise ActionRejectedError(f"PostgreSQL refused: {error}") from error
        except SourceError as error:
            raise ActionRejectedError(f"no session for the acting role; nothing was sent: {error.reason}") from error
        if not rows:
            raise ActionRejectedError(
                f"session {values['pid']} is not the one of the plan any more (ended, new transaction, or another role)"
            )
        return bool(rows[0]["done"])

    def _login(self, prefix: str = "") -> Login:
        endpoint = self._configured()
        user = self._setting(f"{prefix}user")
        if not user:
            raise SourceDeniedError(f"postgres.{prefix}user is not set in the catalogue", source=self.source)
        return Login(
            host=self._setting("host"),
            port=int(endpoint.settings.get("port", 5432)),
            database=self._setting("database", "postgres"),
            user=user,
            password=self._secret(f"{prefix}password"),
            sslmode=self._setting("sslmode", "prefer"),
            application=self.application,
            connect_seconds=self.connect_seconds,
            total_seconds=self.total_seconds,
            statement_seconds=3.0 if not prefix else END_WAIT_MILLISECONDS / 1000 + 2,
            retry=not prefix,
        )

    @contextlib.contextmanager
    def _reading(self) -> Iterator[psycopg.Connection[dict[str, Any]]]:
        """The one session that may be open for reading, of a role that sees everything.

        A reader that waited for another one to fail to connect shares its failure, so that many questions to a
        server that hangs take no longer than one.
        """
        began = time.monotonic()
        with self._lock:
            if self._failure is not None and self._failure[0] >= began:
                raise self._failure[1]
            try:
                with session(self._login()) as connection:
                    self._check_role(connection)
                    yield connection
            except (SourceUnreachableError, NoAnswerError) as error:
                self._failure = (time.monotonic(), error)
                raise

    _failure: tuple[float, SourceError] | None = None

    def _check_role(self, connection: psycopg.Connection[dict[str, Any]]) -> None:
        row = connection.execute(
            "SELECT current_user::text AS role, pg_has_role(current_user, 'pg_monitor', 'USAGE') AS sees_all"
        ).fetchone()
        if row is None or not row["sees_all"]:
            role = row["role"] if row else "?"
            raise SourceDeniedError(
                f"role {role} lacks pg_monitor, so the sessions of others are hidden from it; "
                f"fix: GRANT pg_monitor TO {role}",
                source=self.source,
            )

    def _fetch_table(self, question: Question) -> Answer:
        return Answer(self._rows(question.text))

    def _rows(self, text: str) -> Table:
        with self._reading() as connection:
            cursor = connection.execute(text)
            columns = [column.name for column in cursor.description or ()]
            return Table.of([self._cleaned(row) for row in cursor.fetchall()], columns)

    def _fetch_blocking(self, question: Question) -> Answer:
        looks: list[Table] = []
        for sample in range(int(question.parameters["samples"] or 1)):
            if sample:
                time.sleep(_BLOCKING_SECONDS)
            looks.append(self._rows(question.text))
        return Answer(max(looks, key=_waited))

    def _fetch_rights(self, question: Question, *, of: str = "") -> Answer:
        # Rights are what this question is about, so it must not need any.
        with session(self._login(of)) as connection:
            return Answer(dict(connection.execute(question.text, question.parameters or None).fetchone() or {}))

    def _fetch_migrations(self, question: Question) -> Answer:
        # A role that sees no sessions may still read these tables, and the other way round: the grant decides.
        with session(self._login()) as connection:
            tables = connection.execute(question.text).fetchall()
            # The catalogue shows only what the role may use, so a missing grant would look like no tool at all.
            hidden = connection.execute(HIDDEN_MIGRATIONS).fetchall()
            if hidden:
                names = ", ".join(str(row["name"]) for row in hidden)
                raise SourceDeniedError(f"the role may not read {names}; fix: GRANT SELECT on it", source=self.source)
            # Statements come from a fixed table, names in them are quoted.
            return Answer(migrations.read(tables, lambda text: connection.execute(text.encode()).fetchall()))

    def _fetch_prepares(self, question: Question) -> Answer:
        if not self.end_users:
            raise SourceDeniedError("postgres.end_users names no role of the service", source=self.source)
        with self._reading() as connection:
            return Answer(Table.of(prepares.rows(connection, list(self.end_users)), prepares.COLUMNS))

    def _fetch_saturation(self, question: Question) -> Answer:
        try:
            with self._reading() as connection:
                row = connection.execute(question.text).fetchone() or {}
        except NoSlotError as error:
            return Answer(
                {"max_connections": None, "used": None, "ratio": None, "refused": True, "reason": error.reason}
            )
        usable = row["max_connections"] - row["reserved"]
        return Answer({**row, "usable": usable, "ratio": row["used"] / usable, "refused": False, "reason": ""})

    def _fetch_waits(self, question: Question) -> Answer:
        samples = int(question.parameters["samples"] or 1)
        seen: dict[tuple[str, str], int] = {}
        with self._reading() as connection:
            for sample in range(samples):
                if sample:
                    time.sleep(_SAMPLE_SECONDS)
                for row in connection.execute(question.text):
                    key = (row["wait_event_type"], row["wait_event"])
                    seen[key] = seen.get(key, 0) + row["count"]
        ordered = sorted(seen.items(), key=lambda item: -item[1])
        return Answer(
            Table(
                ("wait_event_type", "wait_event", "sessions"), tuple((*key, count / samples) for key, count in ordered)
            )
        )

    def _snapshot(self, text: str, key: Sequence[str]) -> dict[tuple[Any, ...], dict[str, Any]]:
        with self._reading() as connection:
            return {tuple(row[name] for name in key): row for row in connection.execute(text)}

    def _fetch_tables(self, question: Question) -> Answer:
        before = self._snapshot(question.text, ("relation",))
        time.sleep(float(question.parameters["interval_seconds"] or 0))
        after = self._snapshot(question.text, ("relation",))
        return Answer(table_changes(before, after))

    def _fetch_statements(self, question: Question) -> Answer:
        interval = float(question.parameters["interval_seconds"] or 0)
        reset = self._statements_reset()
        before = self._snapshot(question.text, STATEMENT_KEY)
        started = time.monotonic()
        time.sleep(interval)
        after = self._snapshot(question.text, STATEMENT_KEY)
        elapsed = time.monotonic() - started
        if self._statements_reset() != reset:
            raise SourceAnswerError("pg_stat_statements was reset between the two readings", source=self.source)
        return Answer(self._statement_table(statement_changes(before, after), elapsed))

    def _statements_reset(self) -> Any:
        with self._reading() as connection:
            return connection.execute("SELECT stats_reset::text FROM pg_stat_statements_info").fetchone()

    def _statement_table(self, changed: Sequence[StatementChange], elapsed_seconds: float) -> Table:
        total = sum(one.seconds for one in changed) or 1.0
        top = sorted(changed, key=lambda one: -one.seconds)[:TOP_STATEMENTS]
        with self._reading() as connection:
            found = connection.execute(STATEMENT_TEXTS, [[one.key[2] for one in top]]).fetchall()
        names = {(row["userid"], row["dbid"], row["queryid"]): row for row in found}
        rows = (one.row(names.get(one.key[:3], {}), total, elapsed_seconds) for one in top)
        return Table.of((self._cleaned(row) for row in rows), STATEMENT_COLUMNS)

    def _cleaned(self, row: Mapping[str, Any]) -> dict[str, Scalar]:
        """The row with its statements' literals taken out."""
        return {
            name: self._redactor.text(without_literals(value)) if name.endswith("query") and value else value
            for name, value in row.items()
        }


def _waited(blocking: Table) -> float:
    """Seconds that all sessions of one look had waited for locks, together."""
    waits = (row.get("waited_seconds") for row in blocking.records())
    return sum(float(wait) for wait in waits if isinstance(wait, int | float))
