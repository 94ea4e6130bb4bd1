"""Ending and cancelling sessions of a real PostgreSQL server: the right one, once, or nobody."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from psycopg import sql

from runbook_lib.clients._postgres_sql import TERMINATE
from runbook_lib.clients.postgres import PostgresClient
from runbook_lib.errors import ActionRejectedError, OutcomeUnknownError
from runbook_lib.model import Evidence

from .conftest import Busy, row_of, settings, table, until


def test_terminate_ends_the_session(client, app):
    """The session of the plan is ended, and only that one."""
    victim, bystander = app("victim"), app("bystander")
    for one in (victim, bystander):
        one.execute("SELECT 1")
    acting = client()
    row = row_of(acting.activity(), victim.info.backend_pid)
    done = acting.terminate(pid=row["pid"], backend_start=row["backend_start"], xact_start=row["xact_start"])
    assert {"pid": row["pid"], "ended": True} == done
    with pytest.raises(psycopg.OperationalError):
        victim.execute("SELECT 1")
    bystander.execute("SELECT 1")


def _stale(change: str, row: dict[str, Any]) -> dict[str, Any]:
    known = {"pid": row["pid"], "backend_start": row["backend_start"], "xact_start": row["xact_start"]}
    match change:
        case "backend_start":
            return {**known, "backend_start": row["backend_start"].replace("20", "19", 1)}
        case "microsecond":
            at = row["backend_start"]
            return {**known, "backend_start": f"{at[:-2]}{(int(at[-2]) + 1) % 10}Z"}
        case "xact_start":
            return {**known, "xact_start": row["query_start"].replace("20", "19", 1)}
        case "no transaction":
            return {**known, "xact_start": None}
        case "pid":
            return {**known, "pid": row["pid"] + 1}
    return {**known, "users": ["somebody"]}


@pytest.mark.parametrize("change", ["backend_start", "microsecond", "xact_start", "no transaction", "pid", "users"])
def test_another_session_is_never_ended(client, app, change):
    """A pid that was given to another session, or a session that moved on, is left alone."""
    session = app("bystander")
    session.execute("SELECT 1")
    acting = client()
    row = row_of(acting.activity(), session.info.backend_pid)
    with pytest.raises(ActionRejectedError, match="is not the one of the plan"):
        acting.terminate(**_stale(change, row))
    session.execute("SELECT 1")


def test_thousand_stale_plans_end_nobody(client, app, postgres):
    """Of a thousand requests with reused pids and stale starts none ends a session."""
    sessions = [app("bystander", autocommit=True) for _ in range(5)]
    acting = client()
    rows = [row_of(acting.activity(), one.info.backend_pid) for one in sessions]
    starts = [row["backend_start"] for row in rows]
    with postgres.connect("rb_act") as connection:
        for n in range(1000):
            row = rows[n % 5]
            values = {
                "pid": row["pid"],
                "backend_start": starts[(n + 1 + n % 4) % 5],
                "xact_start": None,
                "users": ["app"],
            }
            if values["backend_start"] != row["backend_start"]:
                assert [] == connection.execute(TERMINATE, values).fetchall()
    for one in sessions:
        one.execute("SELECT 1")


def test_superuser_is_not_ended(client, postgres):
    """A session of a superuser is refused by PostgreSQL itself."""
    with postgres.connect() as session:
        acting = client()
        row = row_of(acting.activity(), session.info.backend_pid)
        with pytest.raises(ActionRejectedError, match="refused"):
            acting.terminate(
                pid=row["pid"], backend_start=row["backend_start"], xact_start=row["xact_start"], users=["postgres"]
            )
        session.execute("SELECT 1")


def test_cancel_stops_the_named_statement_only(client, app):
    """A statement that began later than the plan is left alone."""
    busy = Busy(app("report", autocommit=True), "SELECT pg_sleep(30)")
    acting = client()
    until(lambda: any(row["pid"] == busy.pid and row["state"] == "active" for row in table(acting.activity())))
    row = row_of(acting.activity(), busy.pid)
    named = {key: row[key] for key in ("pid", "backend_start", "xact_start", "query_start")}
    with pytest.raises(ActionRejectedError):
        acting.cancel(**{**named, "query_start": row["backend_start"]})
    acting.cancel(**named)
    busy.join()
    assert isinstance(busy.error, psycopg.errors.QueryCanceled)


def test_answer_lost_after_the_effect_is_unknown(client, app, postgres, proxy):
    """A connection that breaks after the request was sent leaves the outcome unknown; nothing is sent again."""
    victim = app("victim")
    victim.execute("SELECT 1")
    row = row_of(client().activity(), victim.info.backend_pid)
    between = proxy(postgres.port)
    between.drop_after = b"pg_terminate_backend"
    acting = client(port=between.port, sslmode="disable")
    with pytest.raises(OutcomeUnknownError):
        acting.terminate(pid=row["pid"], backend_start=row["backend_start"], xact_start=row["xact_start"])
    assert (1, 1) == (between.connections, between.matched)
    with pytest.raises(psycopg.OperationalError):
        victim.execute("SELECT 1")


def test_no_session_for_the_acting_role_is_a_rejection(client, app, dead_port):
    """Where nothing was sent, nothing changed, and that is what is said."""
    with pytest.raises(ActionRejectedError, match="nothing was sent"):
        client(port=dead_port).terminate(pid=1, backend_start="2026-01-01T00:00:00Z", xact_start=None)


def test_rights_of_the_acting_role(client):
    """The acting role may signal sessions."""
    result = client().act_permissions()
    assert isinstance(result, Evidence)
    assert {"role": "rb_act", "pg_monitor": True, "pg_signal_backend": True} == result.document


@pytest.fixture
def migrating(make, postgres, monkeypatch) -> Callable[..., Any]:
    """Rights of the migrating role, as the client reads them; keyword arguments replace settings."""
    monkeypatch.setenv("MIGRATE_PASSWORD", postgres.passwords["rb_migrate"])

    def read(**more: Any) -> Any:
        roles = {"migrate_user": "rb_migrate", "migrate_role": "app"}
        made = make(PostgresClient, settings(postgres, **{**roles, **more}),
                    secrets={"migrate_password": "env:MIGRATE_PASSWORD"})  # fmt: skip
        return made.migrate_permissions().document

    return read


@pytest.mark.parametrize(
    ("broken", "mended", "more", "lacking"),
    [
        pytest.param("", "", {}, {}, id="none"),
        pytest.param(
            "REVOKE app FROM rb_migrate", "GRANT app TO rb_migrate", {}, {"may_become_owner": False}, id="member",
        ),
        pytest.param("", "", {"migrate_role": "nobody"}, {"exists": False, "may_become_owner": False}, id="no-owner"),
        pytest.param(
            "ALTER TABLE orders OWNER TO postgres", "ALTER TABLE orders OWNER TO app", {},
            {"not_owned": ["public.orders"]}, id="another-owner",
        ),
        pytest.param(
            "ALTER SCHEMA public OWNER TO postgres; REVOKE CREATE ON SCHEMA public FROM app, public",
            "ALTER SCHEMA public OWNER TO pg_database_owner", {}, {"no_create": ["public"]}, id="no-new-table",
        ),
        pytest.param("", "", {"migrate_role": ""}, {"may_become_owner": True}, id="itself"),
    ],
)  # fmt: skip
def test_rights_of_the_migrating_role(
    migrating, postgres, broken: str, mended: str, more: dict[str, str], lacking: dict[str, Any]
) -> None:
    """What the role or the owner lacks to undo a migration, or to make it again, is told by name."""
    good = {"role": "rb_migrate", "owner": "app", "exists": True, "may_become_owner": True}
    with postgres.connect() as admin:
        try:
            admin.execute(broken or "SELECT 1")
            found = migrating(**more)
        finally:
            admin.execute(mended or "SELECT 1")
    if more:
        assert lacking == {name: found[name] for name in lacking}
    else:
        assert {**good, "not_owned": [], "no_create": [], **lacking} == found


def test_end_users_must_be_named(client):
    """Without a list of roles nobody's session may be ended."""
    with pytest.raises(ActionRejectedError, match="end_users"):
        client(end_users="").terminate(pid=1, backend_start="2026-01-01T00:00:00Z", xact_start=None)


def test_passwords_in_utility_statements_are_not_read(client, app):
    """A password in a running statement does not reach the evidence."""
    session = app()
    session.execute(sql.SQL("SELECT 'PASSWORD canary-in-sql' -- password canary-in-comment"))
    row = row_of(client().activity(), session.info.backend_pid)
    assert "SELECT ?" == row["query"]
