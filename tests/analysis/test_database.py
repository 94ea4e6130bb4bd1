"""Sessions, locks, statements and connections of the database."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from runbook_lib import analysis
from runbook_lib.model import Evidence, Finding, Role, Severity
from runbook_lib.model.evidence import Scalar

from .builders import document, gap, table

COLUMNS: dict[str, Scalar] = {
    "pid": None, "user": "app", "application": "api", "state": "idle", "wait_event_type": "Client",
    "wait_event": "ClientRead", "query_seconds": None, "transaction_seconds": None, "state_seconds": 1.0,
    "backend_start": "2026-03-01T10:00:00.000000Z", "xact_start": None, "query": "SELECT ?",
}  # fmt: skip


def session(pid: int, **fields: Scalar) -> dict[str, Scalar]:
    """A row of ``pg_stat_activity``."""
    return {**COLUMNS, "pid": pid, **fields}


def running(pid: int, seconds: float, **fields: Scalar) -> dict[str, Scalar]:
    """A session that works on a statement."""
    times = {"query_seconds": seconds, "transaction_seconds": seconds, "state_seconds": seconds}
    return session(pid, **{"state": "active", "wait_event_type": None, "wait_event": None, **times, **fields})


def holding(pid: int, seconds: float, **fields: Scalar) -> dict[str, Scalar]:
    """A session that holds a transaction open and does nothing."""
    times = {"transaction_seconds": seconds + 1, "state_seconds": seconds}
    return session(pid, **{"state": "idle in transaction", **times, **fields})


def waiting(pid: int, seconds: float) -> dict[str, Scalar]:
    """A session that waits for a lock."""
    return running(pid, seconds, wait_event_type="Lock", wait_event="transactionid")


def activity(*rows: Mapping[str, Scalar]) -> Evidence:
    """The sessions."""
    return table("postgres", "activity", rows or [session(1)])


def blocking(*pairs: tuple[int, int, float | None]) -> Evidence:
    """Root, victim, and how long it has waited, seconds."""
    rows = [{"root_pid": r, "victim_pid": v, "waited_seconds": s, "root_type": "client backend"} for r, v, s in pairs]
    return table("postgres", "blocking", rows)


def test_a_blocker_between_two_statements_is_not_idle() -> None:
    """A root that pauses for a round trip of its own works; what waits behind it is lock contention."""
    rows = [holding(7, 0.002), waiting(8, 2.0), waiting(9, 2.0)]
    found = claimed(analysis.database(activity(*rows), blocking((7, 8, 2.0), (7, 9, 2.0))))
    assert {"db.lock_contention"} == set(found)


def claimed(found: tuple[Finding, ...]) -> dict[str, Finding]:
    """Cause to finding, for what is claimed."""
    return {one.cause: one for one in found if one.role is Role.CAUSE}


NOBODY = blocking()


def test_one_long_statement_is_named_with_what_ends_it() -> None:
    """A statement over five seconds is a cause, and its session is named exactly."""
    found = claimed(analysis.database(activity(running(7, 42.0, application="report", xact_start="x")), NOBODY))
    assert {"db.long_query"} == set(found)
    assert (7, COLUMNS["backend_start"], "x") == tuple(
        found["db.long_query"].subject[key] for key in ("pid", "backend_start", "xact_start")
    )


@pytest.mark.parametrize(
    "row",
    [running(7, 4.0), session(7, state_seconds=9000.0), running(7, 60.0, application="rb:1a2b"), holding(7, 2.0)],
    ids=["short", "idle", "our own reading", "a brief pause in a transaction"],
)
def test_ordinary_sessions_are_ruled_out(row: Mapping[str, Scalar]) -> None:
    """Short statements, idle sessions and our own readings are no cause, and the numbers are told."""
    found = analysis.database(activity(row), NOBODY)
    assert {} == claimed(found)
    assert all(one.observed is not None for one in found)


def test_an_idle_transaction_that_blocks_is_the_root_of_the_lock() -> None:
    """The session that does nothing is the cause; the waits behind it are what it does."""
    rows = [holding(7, 3.0), waiting(8, 2.5), waiting(9, 2.0)]
    found = analysis.weigh(analysis.database(activity(*rows), blocking((7, 8, 2.5), (7, 9, 2.0))))
    assert ["db.idle_in_transaction"] == [one.cause for one in found if one.role is Role.CAUSE]
    assert "db.lock_contention" in [one.cause for one in found if one.role is Role.CONTEXT]


def test_a_working_blocker_is_lock_contention() -> None:
    """A long statement that blocks others is lock contention, not a long query as well."""
    rows = [running(7, 60.0), waiting(8, 20.0), waiting(9, 9.0)]
    found = analysis.weigh(analysis.database(activity(*rows), blocking((7, 8, 20.0), (7, 9, 9.0))))
    assert [("db.lock_contention", 7)] == [(one.cause, one.subject["pid"]) for one in found if one.role is Role.CAUSE]


@pytest.mark.parametrize(("application", "own"), [("api", True), ("report-worker", False)])
def test_a_session_is_told_from_the_services_own(application: str, own: bool) -> None:
    """The service is the application with most sessions; only its own are a release's doing."""
    rows = [session(1), session(2), session(3), holding(7, 60.0, application=application)]
    assert own is claimed(analysis.database(activity(*rows), NOBODY))["db.idle_in_transaction"].subject["own"]


def test_victims_are_not_long_queries() -> None:
    """A statement that is long because it waits for a lock accuses its blocker."""
    found = analysis.database(activity(holding(7, 30.0), waiting(8, 29.0)), blocking((7, 8, 29.0)))
    assert "db.long_query" not in claimed(found)


def test_two_troubles_are_both_named() -> None:
    """A long report and an unrelated idle transaction are two causes."""
    rows = [holding(7, 30.0), waiting(8, 29.0), running(9, 90.0, application="report")]
    found = analysis.weigh(analysis.database(activity(*rows), blocking((7, 8, 29.0))))
    assert {"db.idle_in_transaction", "db.long_query"} == {one.cause for one in found if one.role is Role.CAUSE}


def test_brief_waits_are_no_contention() -> None:
    """Two sessions that wait for milliseconds belong to every busy database."""
    found = analysis.database(activity(holding(7, 0.01), waiting(8, 0.02)), blocking((7, 8, 0.02), (7, 9, 0.01)))
    assert {} == claimed(found)


def test_many_short_waits_behind_one_lock_are_contention() -> None:
    """Three sessions behind one lock are contention although each waits for less than a second."""
    found = analysis.database(activity(running(7, 0.4)), blocking((7, 8, 0.3), (7, 9, 0.2), (7, 10, 0.1)))
    assert {"db.lock_contention"} == set(claimed(found))


def test_a_wait_of_unknown_length_counts() -> None:
    """Before PostgreSQL 14 the length of a wait is not known; it is not taken for none."""
    assert {"db.lock_contention"} == set(claimed(analysis.database(activity(running(7, 2.0)), blocking((7, 8, None)))))


def test_a_prepared_transaction_can_be_the_root() -> None:
    """A root without a session is named all the same."""
    found = claimed(analysis.database(activity(waiting(8, 9.0)), blocking((0, 8, 9.0))))
    assert 0 == found["db.lock_contention"].subject["pid"]


def statement(calls: int, seconds: float, earlier: float | None, text: str = "SELECT orders") -> dict[str, Scalar]:
    """A row of the statements between two readings."""
    return {
        "query_id": text, "query": text, "calls": calls, "total_seconds": seconds, "mean_seconds": seconds / calls,
        "earlier_mean_seconds": earlier, "busy": seconds / 2,
    }  # fmt: skip


def statements(*rows: Mapping[str, Scalar]) -> Evidence:
    """What ran between two readings."""
    return table("postgres", "statements", rows)


OTHER = statement(40, 0.02, 0.0005, "SELECT other")


def test_a_frequent_statement_that_became_slow_is_named() -> None:
    """Thirty times its own mean and most of the time of the database is a slow query."""
    found = claimed(analysis.database(activity(), NOBODY, statements(statement(20, 0.6, 0.001), OTHER)))
    assert {"db.slow_query"} == set(found)


@pytest.mark.parametrize(
    "row",
    [
        statement(20, 0.6, 0.028),
        statement(20, 0.02, 0.0001),
        statement(1, 0.6, 0.001),
        statement(20, 0.6, None),
        statement(8, 8.0, 0.9),
    ],
    ids=["as slow as ever", "slower, but fast", "called once", "no past", "always took a second"],
)
def test_a_statement_without_proof_is_ruled_out(row: Mapping[str, Scalar]) -> None:
    """A usual mean, a fast statement, a single call or no past prove nothing."""
    assert {} == claimed(analysis.database(activity(), NOBODY, statements(row)))


@pytest.mark.parametrize("earlier", [None, 0.5], ids=["new", "past spoilt by the trouble"])
def test_a_statement_that_takes_a_second_is_slow(earlier: float | None) -> None:
    """A frequent statement is slow by itself when it works for half a second or more and did not always do so."""
    found = claimed(analysis.database(activity(), NOBODY, statements(statement(8, 8.0, earlier))))
    assert {"db.slow_query"} == set(found)


def test_full_scans_of_a_large_table_stand_in_for_a_spoilt_past() -> None:
    """When the trouble has lasted so long that it is the past, the table read in full again and again tells."""
    scans = table("postgres", "tables", [{"relation": "public.orders", "seq_scans": 20, "seq_rows": 20 * 60_000}])
    rows = statements(statement(20, 0.6, 0.028))
    found = claimed(analysis.database(activity(), NOBODY, rows, None, scans))
    assert "public.orders" == found["db.slow_query"].subject["table"]


def test_statements_behind_a_lock_are_victims() -> None:
    """While sessions wait for locks, a slow statement says nothing of itself."""
    rows = statements(statement(20, 60.0, 0.001))
    found = analysis.database(activity(holding(7, 9.0), waiting(8, 8.0)), blocking((7, 8, 8.0)), rows)
    assert {"db.idle_in_transaction", "db.lock_contention"} == set(claimed(found))


@pytest.mark.parametrize(("used", "severity"), [(36, Severity.CRITICAL), (31, Severity.WARNING)], ids=["97 %", "84 %"])
def test_connections_near_the_end_are_found(used: int, severity: Severity) -> None:
    """Of 37 usable connections, 90 % is critical and 80 % a warning."""
    given = document("postgres", "saturation", used=used, usable=37, refused=False)
    found = claimed(analysis.database(activity(*(session(i) for i in range(used))), NOBODY, None, given))
    assert severity is found["db.connections_saturated"].severity


@pytest.mark.parametrize(
    "given",
    [
        document("postgres", "saturation", used=None, refused=True, reason="no slot is free"),
        gap("postgres", "saturation"),
    ],
    ids=["the client says so", "a gap"],
)
def test_a_refused_connection_is_itself_the_finding(given: Evidence) -> None:
    """A server that has no slot for us has none for the service; a gap alone says nothing of the kind."""
    found = claimed(analysis.database(gap("postgres", "activity"), None, None, given))
    expected = {"db.connections_saturated", "unknown"} if isinstance(given, Evidence) else {"unknown"}
    assert expected == set(found)


def test_missing_rights_are_unknown_not_healthy() -> None:
    """A role that sees nothing must not make the database look well."""
    denied = gap("postgres", "activity", "denied")
    found = analysis.database(denied, denied, denied, denied)
    assert {Severity.UNKNOWN} == {one.severity for one in found}
