"""From what was found to the one plan that helps, or to what a person can do."""

from __future__ import annotations

from typing import Any, Protocol

from runbook_lib.actions.advice import advice
from runbook_lib.actions.command import KIND as COMMAND
from runbook_lib.actions.command import Command
from runbook_lib.actions.deploy import KIND as DEPLOY
from runbook_lib.actions.deploy import Deploy
from runbook_lib.actions.end_backend import KIND as END_BACKEND
from runbook_lib.actions.end_backend import EndBackend, end_backend
from runbook_lib.actions.migrate_down import KIND as MIGRATE_DOWN
from runbook_lib.actions.migrate_down import STOP, MigrateDown, Stop
from runbook_lib.actions.notify import KIND as NOTIFY
from runbook_lib.actions.notify import Notify
from runbook_lib.actions.protocol import Action
from runbook_lib.actions.rollback import KIND as ROLLBACK
from runbook_lib.actions.rollback import UNLOCK, Rollback
from runbook_lib.actions.scale import KIND as SCALE
from runbook_lib.actions.scale import Scale, scale
from runbook_lib.actions.schema import image_fits
from runbook_lib.errors import UnknownNameError
from runbook_lib.model import Environment, Finding, Findings, Gap, NoPlan, Objective, Plan, Role, Service

_ENDS_A_SESSION = ("db.long_query", "db.lock_contention", "db.idle_in_transaction")
_ADDS_PODS = ("app.cpu_bound", "traffic.surge")


class Systems(Protocol):
    """What a proposal reads from: a run is one."""

    service: Service
    environment: Environment
    kubernetes: Any
    postgres: Any
    metrics: Any
    helm: Any
    github: Any
    registry: Any
    tools: Any
    slack: Any
    pagerduty: Any
    migrations: Any
    backups: Any

    @property
    def availability(self) -> Objective:
        """The availability objective."""

    @property
    def findings(self) -> Findings:
        """What is known."""


def propose(run: Systems, *, replicas: int) -> Plan | NoPlan:
    """The plan against the strongest cause for which a guarded action exists.

    Args:
        run: the run, with its findings and its systems.
        replicas: pods to run when more pods are the remedy.

    Returns:
        One plan; or none, with the steps that a person can take.
    """
    causes = [finding for finding in run.findings if finding.role is Role.CAUSE]
    reasons = []
    for finding in causes:
        plan = _for(finding, run, replicas)
        if isinstance(plan, Plan):
            return plan
        reasons.append(plan)
    if reasons:
        return reasons[0]
    if run.findings.items:
        return NoPlan("no cause was found that an action could remove", advice("unknown"))
    return NoPlan("nothing was found that needs an action")


def bind(plan: Plan, run: Systems) -> Action:
    """The kind of action behind a plan, bound to the run's systems.

    Raises:
        UnknownNameError: nobody knows the kind.
    """
    if plan.kind == SCALE:
        return Scale(run.kubernetes, lambda image: image_fits(run, image))
    if plan.kind == END_BACKEND:
        return EndBackend(run.postgres)
    if plan.kind == COMMAND:
        return Command(run.tools, run)
    if plan.kind == DEPLOY:
        return Deploy(run)
    if plan.kind in {ROLLBACK, UNLOCK}:
        return Rollback(run)
    if plan.kind == STOP:
        return Stop(run)
    if plan.kind == MIGRATE_DOWN:
        return MigrateDown(run)
    if plan.kind == NOTIFY:
        return Notify(run)
    known = (NOTIFY, SCALE, END_BACKEND, COMMAND, DEPLOY, ROLLBACK, UNLOCK, STOP, MIGRATE_DOWN)
    raise UnknownNameError("kind of action", plan.kind, known)


def _for(finding: Finding, run: Systems, replicas: int) -> Plan | NoPlan:
    service, environment = run.service.name, run.environment.name
    steps = advice(finding.cause)
    if finding.cause in _ENDS_A_SESSION and "pid" in finding.subject:
        return end_backend(run.postgres, pid=int(finding.subject["pid"]), service=service, environment=environment)
    if finding.cause in _ADDS_PODS:
        return scale(run.kubernetes, replicas=replicas, service=service, environment=environment)
    if finding.cause == "app.replicas_missing" and (usual := _usual(run)):
        plan = scale(run.kubernetes, replicas=usual, usual=usual, service=service, environment=environment)
        return plan if isinstance(plan, Plan) else NoPlan(f"{finding.title}; scaling would not help", steps)
    return NoPlan(f"there is no guarded action against {finding.cause}", steps)


def _usual(run: Systems) -> int:
    """The most pods that were asked for in the run's window; 0 when that cannot be read."""
    found = run.metrics.replicas()
    if isinstance(found, Gap):
        return 0
    wanted = [one.maximum or 0 for one in found.series if one.labels.get("state") == "wanted"]
    return int(max(wanted, default=0))
