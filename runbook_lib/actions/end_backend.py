"""End one database backend: exactly the session that was seen, and no other that has its process id since."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runbook_lib.model import Environment, Gap, GuardResult, NoPlan, Plan

if TYPE_CHECKING:
    from runbook_lib.clients.postgres import PostgresClient

KIND = "end_backend"
#: What identifies a session beyond its process id, which the system uses again.
_IDENTITY = ("pid", "backend_start", "xact_start")


def end_backend(postgres: PostgresClient, *, pid: int, service: str, environment: str) -> Plan | NoPlan:
    """Plan to end the session with this process id.

    Args:
        postgres: the database.
        pid: process id of the backend, as ``postgres.activity()`` lists it.
        service: the service it is for.
        environment: where it acts.

    Returns:
        The plan, or why there is none.
    """
    found = postgres.activity()
    if isinstance(found, Gap):
        return NoPlan(f"the sessions could not be read: {found.reason}")
    session = next((row for row in found.table.records() if row["pid"] == pid), None)
    if session is None:
        return NoPlan(f"there is no session with process id {pid} any more")
    who = f"{session['user']}/{session['application'] or 'unnamed'}"
    return Plan(
        kind=KIND,
        service=service,
        environment=environment,
        target=f"postgres/{session['database']}/backend/{pid}",
        before={"user": session["user"], "backend_type": session["backend_type"]},
        after={"session": "ended"},
        preconditions={name: session[name] for name in _IDENTITY},
        effect=f"session {pid} of {who} ends and its transaction is rolled back; whoever waits for its locks goes on",
        way_back=f"nothing was committed, so no data needs one; {who} connects again by itself and repeats its work",
        command=f"SELECT pg_terminate_backend({pid})",
        warnings=(f"what the session has done in its transaction is lost: {str(session['query'])[:200]}",),
    )


@dataclass(frozen=True, slots=True)
class EndBackend:
    """The kind ``end_backend``, bound to a database."""

    postgres: PostgresClient

    def observe(self, plan: Plan) -> Plan | NoPlan:
        """The same plan, made from the session as it is now."""
        return end_backend(
            self.postgres, pid=plan.preconditions["pid"], service=plan.service, environment=plan.environment
        )

    def guards(self, plan: Plan, environment: Environment) -> Iterator[GuardResult]:
        """Whose session it is, and whether the acting role may end it."""
        kind = plan.before["backend_type"]
        yield GuardResult("an ordinary client's session", kind == "client backend", str(kind))
        users = self.postgres.end_users
        user = plan.before["user"]
        allowed = ", ".join(users) or "nobody"
        yield GuardResult("its user may be ended", user in users, f"{user}; the catalogue allows {allowed}")
        yield self._permission()

    def _permission(self) -> GuardResult:
        found = self.postgres.act_permissions()
        name = "the acting role may end sessions"
        if isinstance(found, Gap):
            return GuardResult(name, False, found.reason)
        allowed = bool(found.document.get("pg_signal_backend"))
        role = found.document.get("role", "")
        return GuardResult(name, allowed, f"{role} {'has' if allowed else 'lacks'} pg_signal_backend")

    def send(self, plan: Plan) -> None:
        """One statement that ends the session only if it is still the one that was observed."""
        self.postgres.terminate(**{name: plan.preconditions[name] for name in _IDENTITY})

    def read_back(self, plan: Plan) -> Mapping[str, Any]:
        """Whether the session is still there."""
        found = self.postgres.activity()
        if isinstance(found, Gap):
            return {"unreadable": found.reason}
        same = [
            row
            for row in found.table.records()
            if row["pid"] == plan.preconditions["pid"] and row["backend_start"] == plan.preconditions["backend_start"]
        ]
        return {"session": "still there" if same else "ended"}
