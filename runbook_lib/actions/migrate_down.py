"""Undo migrations: stop the service, then run what the migration tool wrote, in one transaction; both need two people.

The SQL is written without a database, so what is approved is exactly what runs, and the tool's own table is compared
within the transaction; the tool's command itself would take whatever it finds. A tool whose table is more than one row
with a version undoes its migrations itself: then the statements are shown with its command, and nothing is planned.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from runbook_lib.actions.release import from_check
from runbook_lib.actions.scale import Scale, scale
from runbook_lib.analysis.backup import backup_ready
from runbook_lib.analysis.linting import losses
from runbook_lib.analysis.migrations import declared
from runbook_lib.errors import ActionError, UnknownNameError
from runbook_lib.model import Environment, Evidence, Gap, GuardResult, NoPlan, Plan

if TYPE_CHECKING:
    from runbook_lib.actions.propose import Systems

KIND = "migrate_down"
STOP = "stop_service"
FORWARD = (
    "Forward: mend it with a new release on the schema as it is; nothing is lost.",
    "A release that fits: runbook run rollback -p revision=N; nothing is lost.",
    "Only then: -p release=TAG -p because=... plans to undo migrations, and loses what they hold.",
)


def migrate_down(run: Systems, *, release: str, because: str = "", max_age_hours: float = 24.0) -> Plan | NoPlan:
    """Plan the next step on the way back to a schema on which a release runs.

    Args:
        run: the run with its systems.
        release: image tag that is to run; empty plans nothing.
        because: why going forward does not help; without it nothing is planned.
        max_age_hours: the oldest backup that counts as a restore point, hours.

    Returns:
        A plan of kind ``stop_service`` while the service runs, of kind ``migrate_down`` when it is stopped; or why
        there is none.

    Raises:
        UnknownNameError: the catalogue declares no such release.
    """
    if not release or not because.strip():
        reason = "no release was named" if not release else "nobody said why going forward does not help"
        return NoPlan(f"{reason}, so nothing is undone", FORWARD)
    accepts = run.service.workload.get("schema", {})
    if release not in accepts:
        raise UnknownNameError("release", release, tuple(accepts), "workload.schema")
    migrations, deployment = run.postgres.migrations(), run.kubernetes.deployment()
    for one in (migrations, deployment):
        if isinstance(one, Gap):
            return NoPlan(f"{one.title} could not be read: {one.reason}")
    tools = migrations.document["tools"]
    if len(tools) != 1 or tools[0]["dirty"] or tools[0]["locked"]:
        told = "a migration stopped half-way or holds its lock" if len(tools) == 1 else f"{len(tools)} migration tools"
        return NoPlan(f"{told}: a person must look first", FORWARD[:1])
    target = _target(accepts, release, str(tools[0]["newest"]))
    if isinstance(target, NoPlan):
        return target
    if _pods(deployment):
        return _stop(run)
    return _plan(run, tools[0], deployment, release, target, because=because, max_age_hours=max_age_hours)


def _target(accepts: Mapping[str, Any], release: str, live: str) -> str | NoPlan:
    """The newest migration on which the release runs: what need not be undone stays."""
    order, wanted = declared(accepts, release)["order"], [str(one) for one in accepts[release]]
    if live in wanted:
        return NoPlan(f"{release} runs on {live} as it is", ("Bring it back: runbook run rollback -p revision=N.",))
    if live not in order:
        return NoPlan(f"the schema is at {live}, which no release of the catalogue declares", FORWARD[:1])
    older = [one for one in order[: order.index(live)] if one in wanted]
    if not older:
        return NoPlan(f"{release} needs migrations that are not applied: deploy it", FORWARD[:1])
    return str(older[-1])


def _pods(deployment: Evidence) -> int:
    document = deployment.document
    return max(int(document["spec"].get("replicas", 1)), int(document.get("status", {}).get("replicas", 0)))


def _stop(run: Systems) -> Plan | NoPlan:
    service, environment = run.service.name, run.environment.name
    plan = scale(run.kubernetes, replicas=0, service=service, environment=environment)
    if isinstance(plan, NoPlan):
        return NoPlan("the service is told to stop, and its pods are still ending", ("Plan again when they are gone.",))
    effect = f"{service} stops and answers nobody until a release that fits the schema is started"
    return replace(plan, kind=STOP, effect=effect, warnings=(), destructive=True)


def _plan(
    run: Systems, tool: Mapping[str, Any], deployment: Evidence, release: str, target: str, *,
    because: str, max_age_hours: float,
) -> Plan | NoPlan:  # fmt: skip
    live = str(tool["newest"])
    script, backup = run.migrations.script(before=live, after=target, back=True), run.backups.newest()
    for one in (script, backup):
        if isinstance(one, Gap):
            return NoPlan(f"{one.title} could not be read: {one.reason}", FORWARD[:2])
    sql, lost = str(script.document["sql"]), losses(str(script.document["sql"]))
    if not script.document["one_row"]:
        return _by_the_tool(script, lost, because)
    point = backup.document.get("name", "") if backup.document["found"] else ""
    return Plan(
        kind=KIND,
        service=run.service.name,
        environment=run.environment.name,
        target=f"postgres/{tool['table']}",
        before={"newest": live},
        after={"newest": target},
        preconditions={
            "uid": deployment.document["metadata"]["uid"],
            "tool": tool["tool"],
            "sql": sql,
            "release": release,
            "because": because,
            "backup": point,
            "max_age_hours": max_age_hours,
        },
        effect=f"the schema returns from {live} to {target}, on which {release} runs; {len(lost)} statements lose data",
        way_back=f"the migration forward makes the old shape without the data; the data is in the backup {point}"
        if lost
        else "the migration forward, which the newer release runs when it starts",
        command=str(script.document["command"]),
        diff=sql,
        warnings=(*(f"lost for good: {one}" for one in lost), f"forward does not help: {because}"),
        destructive=True,
    )


def _by_the_tool(script: Evidence, lost: Sequence[str], because: str) -> NoPlan:
    """A tool that records more than a version must undo it itself: another's hand in its history would be a forgery."""
    told = script.document
    return NoPlan(
        f"{told['tool']} keeps a history of its own, so it undoes this itself; below is what it runs",
        (
            f"Run: {told['command']}",
            *(f"Lost for good: {one}" for one in lost),
            *(f"Mind: {one}" for one in script.warnings),
            f"Forward does not help: {because}",
            "Then this page again: it tells which release fits.",
        ),
        str(told["sql"]),
    )


@dataclass(frozen=True, slots=True)
class Stop:
    """The kind ``stop_service``, bound to a run's systems."""

    run: Systems

    @property
    def kubernetes(self) -> Any:
        """The cluster that runs the service."""
        return self.run.kubernetes

    def observe(self, plan: Plan) -> Plan | NoPlan:
        """The same plan, made from the deployment as it is now."""
        return _stop(self.run)

    def guards(self, plan: Plan, environment: Environment) -> Iterator[GuardResult]:
        """Those of scaling, but for its least number of pods: to have none is what this is for."""
        for one in Scale(self.run.kubernetes).guards(plan, environment):
            if one.name != "never to zero":
                yield one

    def send(self, plan: Plan) -> None:
        """One patch of the scale subresource that holds only while uid and replicas are as observed."""
        Scale(self.run.kubernetes).send(plan)

    def read_back(self, plan: Plan) -> Mapping[str, Any]:
        """The replicas that the deployment asks for and has ready now."""
        return Scale(self.run.kubernetes).read_back(plan)


@dataclass(frozen=True, slots=True)
class MigrateDown:
    """The kind ``migrate_down``, bound to a run's systems."""

    run: Systems

    @property
    def kubernetes(self) -> Any:
        """The cluster that runs the service: while the schema changes, nobody may start it."""
        return self.run.kubernetes

    def observe(self, plan: Plan) -> Plan | NoPlan:
        """The same plan, made from the schema, the tool's SQL and the newest backup as they are now."""
        asked = plan.preconditions
        return migrate_down(
            self.run, release=asked["release"], because=asked["because"], max_age_hours=asked["max_age_hours"]
        )

    def guards(self, plan: Plan, environment: Environment) -> Iterator[GuardResult]:
        """A stopped service, a backup that can be restored, and the statements tried and taken back."""
        stopped = self._stopped()
        yield stopped
        yield self._no_session()
        backup = self.run.backups.newest()
        trial = self.run.backups.trial(backup)
        for check in backup_ready(backup, trial, max_age_hours=plan.preconditions["max_age_hours"]):
            one = from_check(check)
            yield GuardResult(f"backup: {one.name}", one.passed, one.reason)
        yield self._tried(plan) if stopped.passed else GuardResult("dry run", False, "not while the service runs")

    def _stopped(self) -> GuardResult:
        name, found = "the service is stopped", self.run.kubernetes.deployment()
        if isinstance(found, Gap):
            return GuardResult(name, False, found.reason)
        pods = _pods(found)
        return GuardResult(name, pods == 0, f"{pods} pods")

    def _no_session(self) -> GuardResult:
        name, found = "no session of the service is left", self.run.postgres.activity()
        if isinstance(found, Gap):
            return GuardResult(name, False, found.reason)
        users = self.run.postgres.end_users
        left = [str(row["pid"]) for row in found.table.records() if row["user"] in users]
        return GuardResult(name, not left, f"sessions {', '.join(left)}" if left else "none")

    def _tried(self, plan: Plan) -> GuardResult:
        name = "dry run"
        try:
            self._change(plan, dry_run=True)
        except ActionError as error:
            return GuardResult(name, False, str(error))
        return GuardResult(name, True, "PostgreSQL ran every statement, and took all of it back")

    def send(self, plan: Plan) -> None:
        """One transaction that holds only while the tool's table names the version of the plan."""
        self._change(plan, dry_run=False)

    def _change(self, plan: Plan, *, dry_run: bool) -> None:
        before, after = str(plan.before["newest"]), str(plan.after["newest"])
        self.run.postgres.change_schema(plan.preconditions["sql"], before=before, after=after, dry_run=dry_run)

    def read_back(self, plan: Plan) -> Mapping[str, Any]:
        """The newest migration that the tool's table names."""
        found = self.run.postgres.migrations()
        if isinstance(found, Gap):
            return {"unreadable": found.reason}
        return {"newest": next((str(tool["newest"]) for tool in found.document["tools"]), "nothing")}
