"""The lab's PostgreSQL is real: roles, incidents and a clean end."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from runbook_lib.lab import postgres as module
from runbook_lib.lab.postgres import Postgres


def test_starts_and_stops_leaving_no_process(folder: Path) -> None:
    """A stopped server leaves no process behind and its data is on disk."""
    server = Postgres(folder / "postgres")
    process = server.start()
    server.stop()

    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert str(server.data) not in listed
    assert 0 == process.exit_code


def test_starts_again_after_a_kill(folder: Path) -> None:
    """A killed server comes back with its databases."""
    server = Postgres(folder / "postgres")
    process = server.start()
    server.prepare(customers=50, orders=100)
    process.signal(9)
    process.wait(5)

    server.start()
    try:
        with server.connect("app") as connection:
            assert (100,) == connection.execute("SELECT count(*) FROM orders").fetchone()
    finally:
        server.stop()


def test_runs_as_another_user_without_user_namespaces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Root without user namespaces runs the server under uid 65534."""
    if os.geteuid() != 0:
        pytest.skip("only root has to switch")
    program = module.binaries() / "initdb"
    # Through a shell: a folder that is closed to the other user gives an exit code, not an error of this process.
    command = ["/bin/sh", "-c", '"$0" --version', program]
    reachable = subprocess.run(command, user=65534, group=65534, extra_groups=[], check=False)
    if reachable.returncode:
        pytest.skip("uid 65534 cannot reach the binaries here")
    monkeypatch.setattr(module, "_UNSHARE", ("unshare", "--no-such-option"))
    with tempfile.TemporaryDirectory() as directory:  # pytest's own folders are closed to other users
        Path(directory).chmod(0o711)
        server = Postgres(Path(directory) / "postgres")
        process = server.start()
        uid = Path(f"/proc/{process.pid}").stat().st_uid
        server.stop()

    assert 65534 == uid


def test_no_password_stands_on_a_command_line(postgres: Postgres) -> None:
    """Passwords are not in the argv of any process."""
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout

    assert not [role for role, password in postgres.passwords.items() if password in listed]


def test_no_password_stands_in_the_statement_statistics(postgres: Postgres) -> None:
    """The roles' passwords were never part of a statement."""
    with postgres.connect() as connection:
        texts = "".join(row[0] for row in connection.execute("SELECT query FROM pg_stat_statements"))

    assert not [role for role, password in postgres.passwords.items() if password in texts]


def test_wrong_password_is_refused(postgres: Postgres) -> None:
    """Connections over TCP need the role's password."""
    url = postgres.url("app").replace(postgres.passwords["app"], "wrong")

    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(url, connect_timeout=5)


def test_rb_read_sees_other_sessions_and_cannot_write(postgres: Postgres) -> None:
    """The reader sees other roles' activity and is refused a write."""
    with postgres.connect("app") as app, postgres.connect("rb_read") as reader:
        app.execute("SELECT 'seen by the reader'")
        row = reader.execute("SELECT query FROM pg_stat_activity WHERE pid = %s", [app.info.backend_pid]).fetchone()
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            reader.execute("CREATE TEMP TABLE t (a int)")

    assert ("SELECT 'seen by the reader'",) == row


@pytest.mark.parametrize(
    ("role", "expected"),
    [("rb_read", (True, False)), ("rb_act", (True, True)), ("app", (False, False))],
    ids=["reader", "actor", "app"],
)
def test_roles_hold_what_is_documented(postgres: Postgres, role: str, expected: tuple[bool, bool]) -> None:
    """Only rb_act may signal backends; the monitoring roles may read statistics."""
    with postgres.connect(role) as connection:
        row = connection.execute(
            "SELECT pg_has_role(current_user, 'pg_monitor', 'USAGE'),"
            " pg_has_role(current_user, 'pg_signal_backend', 'USAGE')"
        ).fetchone()

    assert expected == row


def test_rb_act_ends_a_backend_of_the_app(postgres: Postgres) -> None:
    """The acting role terminates a session of the application."""
    with postgres.connect("rb_act") as actor, postgres.connect("app") as victim:
        row = actor.execute("SELECT pg_terminate_backend(%s, 2000)", [victim.info.backend_pid]).fetchone()
        with pytest.raises(psycopg.OperationalError):
            victim.execute("SELECT 1")

    assert (True,) == row


def test_lock_wait_is_visible_with_its_blocker(postgres: Postgres) -> None:
    """A waiting update shows as a lock wait whose blocker is the idle transaction."""
    update = "UPDATE products SET stock = stock WHERE id = 1"
    row = None
    with (
        ThreadPoolExecutor(1) as thread,
        postgres.connect("app") as holder,
        postgres.connect("app") as waiter,
        postgres.connect("rb_read") as reader,
    ):
        holder.execute("BEGIN")
        holder.execute(update)
        waiting = thread.submit(waiter.execute, update)
        deadline = time.monotonic() + 5
        while row is None and time.monotonic() < deadline:
            row = reader.execute(
                "SELECT wait_event_type, pg_blocking_pids(pid) FROM pg_stat_activity"
                " WHERE pid = %s AND wait_event_type = 'Lock'",
                [waiter.info.backend_pid],
            ).fetchone()
        blocker = holder.info.backend_pid
        holder.execute("ROLLBACK")
        waiting.result(5)

    assert ("Lock", [blocker]) == row


def test_statement_statistics_count_calls(postgres: Postgres) -> None:
    """pg_stat_statements is loaded and readable by the reader."""
    with postgres.connect("app") as app, postgres.connect("rb_read") as reader:
        for _ in range(3):
            app.execute("SELECT count(*) FROM products WHERE stock = 17")
        row = reader.execute(
            "SELECT calls FROM pg_stat_statements WHERE query LIKE 'SELECT count(*) FROM products WHERE stock%'"
        ).fetchone()

    assert (3,) == row


def test_account_query_needs_its_index(postgres: Postgres) -> None:
    """Without orders_customer_id_idx the planner reads the whole table."""
    query = "EXPLAIN SELECT * FROM orders WHERE customer_id = 7 ORDER BY created_at DESC LIMIT 3"
    with postgres.connect("app") as app:
        before = "\n".join(row[0] for row in app.execute(query))
        with app.transaction(force_rollback=True):
            app.execute("DROP INDEX orders_customer_id_idx")
            after = "\n".join(row[0] for row in app.execute(query))

    assert ("Index Scan", "Seq Scan") == (
        "Index Scan" if "orders_customer_id_idx" in before else "?",
        "Seq Scan" if "Seq Scan" in after else "?",
    )


def test_exhausted_connections_leave_a_slot_for_the_superuser(postgres: Postgres) -> None:
    """The application runs out of connections at 40 minus the reserved ones; the superuser still gets in."""
    held: list[psycopg.Connection[object]] = []

    def hold(server: Postgres) -> psycopg.Connection[object]:
        connection = psycopg.connect(server.url("app"), connect_timeout=5)
        held.append(connection)
        return connection

    try:
        with pytest.raises(psycopg.OperationalError, match="remaining connection slots are reserved"):
            [hold(postgres) for _ in range(module.MAX_CONNECTIONS)]
        with postgres.connect() as superuser:
            row = superuser.execute("SELECT 1").fetchone()
    finally:
        for connection in held:
            connection.close()

    assert (1,) == row
