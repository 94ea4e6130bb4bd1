"""The PostgreSQL client against a real server with real incidents."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import psycopg
import pytest

from runbook_lib.clients._tape import ReplayTape
from runbook_lib.clients.postgres import PostgresClient
from runbook_lib.lab.postgres import MAX_CONNECTIONS
from runbook_lib.model import Evidence, Gap

from .conftest import Busy, row_of, table, until, waiting


def test_activity_shows_idle_in_transaction(client, app):
    """A session that holds a transaction open and does nothing is seen with its exact start."""
    session = app("checkout")
    session.execute("SELECT 1")
    row = row_of(client().activity(), session.info.backend_pid)
    assert ("idle in transaction", "checkout", "app") == (row["state"], row["application"], row["user"])
    assert 0 <= row["transaction_seconds"] < 5
    assert 0 == row["query_seconds"]
    (started,) = session.execute("SELECT xact_start FROM pg_stat_activity WHERE pid = pg_backend_pid()").fetchone()
    assert started == datetime.fromisoformat(row["xact_start"])


def test_activity_shows_a_long_query_without_its_literals(client, app):
    """A running statement is seen with its age, and without the customer's data in it."""
    busy = Busy(app("report"), "SELECT pg_sleep(30), 'jane@example.com', 4111111111111111")
    postgres_client = client()
    until(lambda: any(row["pid"] == busy.pid and row["state"] == "active" for row in table(postgres_client.activity())))
    row = row_of(postgres_client.activity(), busy.pid)
    assert row["query_seconds"] > 0
    assert "SELECT pg_sleep(?), ?, ?" == row["query"]
    assert str(row["query_id"]).lstrip("-").isdigit()
    assert postgres_client.terminate(pid=busy.pid, backend_start=row["backend_start"], xact_start=row["xact_start"])
    busy.join()


def test_evidence_survives_its_canonical_form(client, app):
    """Every answer has a digest and reads back the same."""
    app().execute("SELECT 1")
    reader = client()
    for result in (reader.activity(), reader.saturation(), reader.settings(), reader.permissions(), reader.blocking()):
        assert isinstance(result, Evidence)
        again = Evidence.from_json(json.loads(json.dumps(result.to_json())))
        assert result.digest == again.digest


def test_blocking_names_the_root_behind_a_queue(client, app, postgres):
    """A waits for B, C for a lock behind A: one root and both victims, however long the queue is."""
    root = app("root")
    root.execute("UPDATE orders SET quantity = 1 WHERE id = 1")
    direct = Busy(app("victim", autocommit=True), "UPDATE orders SET quantity = 2 WHERE id = 1")
    until(lambda: waiting(postgres, {direct.pid}))
    schema = Busy(app("migration", autocommit=True), "ALTER TABLE orders ADD COLUMN IF NOT EXISTS note text")
    until(lambda: waiting(postgres, {direct.pid, schema.pid}))
    reader = Busy(app("reader", autocommit=True), "SELECT count(*) FROM orders")
    until(lambda: waiting(postgres, {direct.pid, schema.pid, reader.pid}))
    rows = table(client().blocking())
    assert {root.info.backend_pid} == {row["root_pid"] for row in rows}
    assert {direct.pid, schema.pid, reader.pid} == {row["victim_pid"] for row in rows}
    behind = next(row for row in rows if row["victim_pid"] == reader.pid)
    assert (False, "orders", "AccessShareLock") == (behind["direct"], behind["relation"], behind["lock_mode"])
    assert behind["waited_seconds"] >= 0
    assert {"idle in transaction"} == {row["root_state"] for row in rows}
    root.rollback()
    for one in (direct, schema, reader):
        one.join()


def test_blocking_is_quick_behind_a_long_queue(client, app, postgres):
    """Twenty waiters for one row are found within the statement's time."""
    root = app("root")
    root.execute("UPDATE orders SET quantity = 1 WHERE id = 2")
    queue = [Busy(app("victim", autocommit=True), "UPDATE orders SET quantity = 2 WHERE id = 2") for _ in range(20)]
    until(lambda: waiting(postgres, {one.pid for one in queue}))
    started = time.monotonic()
    rows = table(client().blocking())
    assert 20 == len({row["victim_pid"] for row in rows})
    assert {root.info.backend_pid} == {row["root_pid"] for row in rows}
    assert time.monotonic() - started < 2
    root.rollback()
    for one in queue:
        one.join()


def test_a_wait_between_two_looks_is_seen(client, app, postgres):
    """A lock that somebody waits for only after the first look is found by a later one."""
    root = app("root")
    root.execute("UPDATE orders SET quantity = 1 WHERE id = 3")
    victim = app("victim", autocommit=True)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(client().blocking, samples=8)
        time.sleep(0.5)
        busy = Busy(victim, "UPDATE orders SET quantity = 2 WHERE id = 3")
        assert [(root.info.backend_pid, busy.pid)] == [
            (row["root_pid"], row["victim_pid"]) for row in table(asked.result())
        ]
    root.rollback()
    busy.join()


def test_nobody_waiting_is_an_answer(client):
    """No lock wait is evidence with no row, not a gap."""
    assert [] == table(client().blocking())


def test_statements_between_two_readings(client, app, postgres):
    """A statement that ran in between is first, with its calls, its mean and its earlier mean."""
    session = app(autocommit=True)
    session.execute("SELECT pg_sleep(0.05)")
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            session.execute("SELECT pg_sleep(0.1)")

    thread = threading.Thread(target=work)
    thread.start()
    first = table(client().statements(interval_seconds=1.0))[0]
    stop.set()
    thread.join()
    assert "SELECT pg_sleep($1)" == first["query"]
    assert ("app", "app") == (first["user"], first["database"])
    assert 5 <= first["calls"] <= 11
    assert 0.1 <= first["mean_seconds"] < 0.2
    assert 0.05 <= first["earlier_mean_seconds"] < 0.2
    assert 0.5 < first["busy"] <= 1.1
    assert first["share"] > 0.8


def test_reset_between_two_readings_is_a_gap(client, postgres):
    """Counters that were reset in between tell nothing."""

    def clear() -> None:
        with postgres.connect() as connection:
            connection.execute("SELECT pg_stat_statements_reset()")

    reset = threading.Timer(0.5, clear)
    reset.start()
    result = client().statements(interval_seconds=1.5)
    reset.join()
    assert isinstance(result, Gap)
    assert "reset" in result.reason


def test_missing_extension_is_a_gap_with_its_fix(client):
    """A database without pg_stat_statements says how to get it."""
    result = client(database="postgres").statements(interval_seconds=0.5)
    assert isinstance(result, Gap)
    assert ("empty", True) == (result.kind, "CREATE EXTENSION" in result.reason)


def test_tables_that_are_scanned(client, app):
    """A table that is read in full shows its rows."""
    session = app(autocommit=True)
    stop = threading.Event()

    def work() -> None:
        while not stop.wait(0.05):
            session.execute("SELECT count(*) FROM customers WHERE name LIKE '%x%'")

    thread = threading.Thread(target=work)
    thread.start()
    rows = table(client().tables(interval_seconds=2.5))
    stop.set()
    thread.join()
    assert "public.customers" == rows[0]["relation"]
    assert rows[0]["seq_scans"] >= 5
    assert 2000 * rows[0]["seq_scans"] == rows[0]["seq_rows"]


def test_waits_are_averaged(client, app):
    """A sleeping session is seen in every look."""
    busy = Busy(app(autocommit=True), "SELECT pg_sleep(20)")
    reader = client()
    until(lambda: any(row["pid"] == busy.pid and row["state"] == "active" for row in table(reader.activity())))
    rows = table(reader.waits(samples=3))
    assert ("Timeout", "PgSleep", 1.0) == tuple(rows[0].values())
    row = row_of(reader.activity(), busy.pid)
    reader.cancel(
        pid=busy.pid,
        backend_start=row["backend_start"],
        xact_start=row["xact_start"],
        query_start=row["query_start"],
    )
    busy.join()


def test_saturation_counts_slots(client, app):
    """Used slots are held against those that ordinary roles may have."""
    for _ in range(5):
        app("pool")
    result = client().saturation()
    assert isinstance(result, Evidence)
    found = result.document
    assert (MAX_CONNECTIONS, 3, MAX_CONNECTIONS - 3) == (found["max_connections"], found["reserved"], found["usable"])
    assert found["used"] >= 6
    assert found["used"] / found["usable"] == found["ratio"]
    assert {"application": "pool", "user": "app", "state": "idle", "count": 5} in found["by_application"]


def test_full_server_is_an_answer_to_saturation_only(client, app):
    """Without a free slot saturation says so, and other questions are gaps that name the reason."""
    with contextlib.suppress(psycopg.OperationalError):
        for _ in range(MAX_CONNECTIONS + 1):
            app("pool")
    result = client().saturation()
    assert isinstance(result, Evidence)
    assert (True, None) == (result.document["refused"], result.document["used"])
    other = client().activity()
    assert isinstance(other, Gap)
    assert ("answer", True) == (other.kind, "no slot is free" in other.reason)


def test_role_without_pg_monitor_is_denied(client, postgres, monkeypatch):
    """A role that cannot see others must not look like a quiet database."""
    with postgres.connect() as connection:
        connection.execute("DROP ROLE IF EXISTS plain")
        connection.execute("CREATE ROLE plain LOGIN PASSWORD 'plain-canary-1'")
    monkeypatch.setenv("READ_PASSWORD", "plain-canary-1")
    reader = client(user="plain")
    for ask in (reader.activity, reader.blocking, reader.saturation, reader.statements, reader.waits):
        result = ask()
        assert isinstance(result, Gap)
        assert ("denied", True) == (result.kind, "GRANT pg_monitor TO plain" in result.reason)
    rights = reader.permissions()
    assert isinstance(rights, Evidence)
    assert ("plain", False) == (rights.document["role"], rights.document["pg_monitor"])


def test_wrong_password_is_denied_without_showing_it(client, monkeypatch):
    """A refused login is a gap of kind denied, without the password."""
    monkeypatch.setenv("READ_PASSWORD", "wrong-canary-password")
    result = client().activity()
    assert isinstance(result, Gap)
    assert ("denied", False) == (result.kind, "canary" in str(result.to_json()))


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"user": "nobody_such"}, "denied"),
        ({"database": "missing"}, "denied"),
        ({"host": "name.invalid"}, "unreachable"),
    ],
    ids=["role", "database", "host"],
)
def test_wrong_address_is_a_gap(client, change, kind):
    """A role, database or host that is not there is a gap of its kind."""
    result = client(**change).activity()
    assert isinstance(result, Gap)
    assert kind == result.kind, result.reason


def test_dead_server_is_unreachable(client, dead_port):
    """A refused connection is unreachable."""
    result = client(port=dead_port).activity()
    assert isinstance(result, Gap)
    assert ("unreachable", True) == (result.kind, "refused" in result.reason)


def test_stopped_server_times_out_for_all_readers_together(client, postgres):
    """Four questions to a server that hangs take no longer than one."""
    reader = client(connect_seconds=2, total_seconds=3)
    os.killpg(postgres.process.pid, signal.SIGSTOP)
    try:
        started = time.monotonic()
        with ThreadPoolExecutor(4) as pool:
            asked = [pool.submit(ask) for ask in (reader.activity, reader.blocking, reader.saturation, reader.settings)]
            results = [one.result() for one in asked]
        elapsed = time.monotonic() - started
    finally:
        os.killpg(postgres.process.pid, signal.SIGCONT)
    assert ["timeout"] * 4 == [result.kind for result in results if isinstance(result, Gap)]
    assert elapsed < 4.5


def test_server_that_falls_silent_times_out(client, postgres, proxy):
    """A network that swallows packets in the middle of a session ends at the deadline."""
    between = proxy(postgres.port)
    reader = client(port=between.port, total_seconds=1.0)
    assert isinstance(reader.settings(), Evidence)
    silence = threading.Timer(0.3, lambda: setattr(between, "swallow", True))
    silence.start()
    started = time.monotonic()
    result = reader.waits(samples=20)
    assert isinstance(result, Gap)
    assert "timeout" == result.kind
    assert time.monotonic() - started < 2


def test_session_is_harmless(client, postgres):
    """Reading sessions are read only, bounded in time, named, and gone afterwards."""
    seen: list[tuple[Any, ...]] = []
    stop = threading.Event()

    def watch() -> None:
        with postgres.connect() as connection:
            while not stop.is_set():
                seen.extend(connection.execute("SELECT pid FROM pg_stat_activity WHERE usename = 'rb_read'").fetchall())

    thread = threading.Thread(target=watch)
    thread.start()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: client().waits(samples=2), range(4)))
    stop.set()
    thread.join()
    with postgres.connect() as connection:
        left = connection.execute("SELECT count(*) FROM pg_stat_activity WHERE usename = 'rb_read'").fetchone()
    assert (0,) == left
    assert seen


def test_again_reads_the_present(client, app):
    """The same question asked again sees a session that came later."""
    before = client().activity()
    session = app("later")
    session.execute("SELECT 1")
    assert row_of(before.again(), session.info.backend_pid)["application"] == "later"


def test_replay_needs_no_server(client, make, kept, app):
    """What was kept answers again without an endpoint."""
    app().execute("SELECT 1")
    first = client().activity()
    replayed = make(PostgresClient, None, tape=ReplayTape(kept.results)).activity()
    assert first.digest == replayed.digest
