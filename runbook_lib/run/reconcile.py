"""Close actions whose outcome nobody knows: read the target, write down what it says, and never send again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runbook_lib import actions
from runbook_lib.actions.ledger import Ledger
from runbook_lib.actions.lock import file_lock
from runbook_lib.actions.protocol import Action, Settles
from runbook_lib.clients._tape import LiveTape
from runbook_lib.errors import RecordError, RunbookError, UsageError
from runbook_lib.model import Environment, Findings, Objective, Outcome, OutcomeStatus, Plan, Service, Verdict, Window
from runbook_lib.model.times import utc_now
from runbook_lib.record.anchors import anchor
from runbook_lib.record.folder import PARTIAL, RecordFolder, new_run_id
from runbook_lib.record.genesis import genesis
from runbook_lib.record.record import Record
from runbook_lib.record.recover import is_alive
from runbook_lib.record.signature import signer
from runbook_lib.record.status import Status
from runbook_lib.run.opening import LEDGER
from runbook_lib.run.systems import CLIENTS, Systems, learn_secrets
from runbook_lib.secrets import Redactor

if TYPE_CHECKING:
    from runbook_lib.catalog import Catalog

#: A target that is as before says that a request had no effect only when none can be under way any more, seconds:
#: an API server gives a request up after 60 s (kube-apiserver --request-timeout), Helm after our deadline of 120 s.
SETTLED_SECONDS = 150.0
#: What a person may say about a request that cannot be told from its target.
CLAIMS = (OutcomeStatus.APPLIED, OutcomeStatus.REJECTED)


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What became of the unknown outcomes of a run.

    Args:
        path: the new record, which names the old one.
        outcomes: one for each plan.
    """

    path: Path
    outcomes: tuple[Outcome, ...]

    @property
    def closed(self) -> bool:
        """Whether every outcome is known now."""
        return all(outcome.status is not OutcomeStatus.UNKNOWN for outcome in self.outcomes)


def reconcile(
    record: Record, archive: Path, known: Catalog, *, claim: str = "", because: str = "", wait: float = SETTLED_SECONDS
) -> Reconciled:
    """Read the targets of a run's unknown actions and close their outcomes with a new record.

    Args:
        record: the run with unknown outcomes.
        archive: where its ledger lies and the new record goes.
        known: the service catalogue.
        claim: ``applied`` or ``rejected``, where a person has looked and knows; empty: the target decides.
        because: how the person knows.
        wait: how old a request must be before a target that is as before counts as untouched, seconds.

    Raises:
        UsageError: the run has no unknown outcome, or a claim without a reason.
        RecordError: the run is still alive, or the new record cannot be written.
    """
    if bool(claim) != bool(because) or (claim and claim not in CLAIMS):
        raise UsageError(f"a person's word is one of {', '.join(CLAIMS)}, with a reason")
    if record.path.name.endswith(PARTIAL) and is_alive(record.path):
        raise RecordError(f"{record.run_id}: the run is still going; wait for it")
    ledger = Ledger(archive / LEDGER)
    plans = tuple(_unknown(record, ledger))
    if not plans:
        raise UsageError(f"{record.run_id} has no action whose outcome is unknown")
    service, environment = known.service(plans[0].service), known.environment(plans[0].environment)
    folder, person = _begin(record, archive, service, environment)
    window = Window.last(10)
    systems = Systems(service, environment, window, LiveTape(folder.keep))
    reader, outcomes = _Reader(service, environment, systems), []
    for plan in plans:
        release = file_lock(ledger.folder / "locks", f"{plan.environment}/{plan.target}")
        try:
            folder.journal.append("plan", plan.to_json())
            action = actions.bind(plan, reader)
            outcome = _claimed(plan, claim, person, because) if claim else _judged(action, plan, record, wait)
            _close(folder, ledger, record, plan, outcome)
        finally:
            release()
        outcomes.append(outcome)
    systems.close()
    done = Reconciled(folder.path, tuple(outcomes))
    status = Status.SUCCEEDED if done.closed else Status.UNKNOWN
    reason = "; ".join(outcome.reason for outcome in outcomes)
    path = folder.seal(status, str(Verdict.UNKNOWN), reason=reason, sign=signer(known.signing_key))
    return Reconciled(anchor(path, known), done.outcomes)


@dataclass
class _Reader:
    """The systems of a run that only reads."""

    service: Service
    environment: Environment
    systems: Systems
    kubernetes: Any = None
    postgres: Any = None
    metrics: Any = None
    helm: Any = None
    github: Any = None
    registry: Any = None
    slack: Any = None
    pagerduty: Any = None
    tools: Any = None
    migrations: Any = None
    backups: Any = None

    def __post_init__(self) -> None:
        for name in CLIENTS:
            setattr(self, name, self.systems.client(name))

    @property
    def availability(self) -> Objective:
        return next(one for one in self.service.objectives.values() if one.kind == "availability")

    @property
    def findings(self) -> Findings:
        return Findings((), (), (), Verdict.UNKNOWN)


def _unknown(record: Record, ledger: Ledger) -> Iterator[Plan]:
    for each in record.plans:
        plan = Plan.from_json(each)
        told = record.outcome_of(plan.digest)
        unknown = told is not None and told["outcome"] == OutcomeStatus.UNKNOWN
        # A run that died between the ledger's intent and its own has it in the ledger alone.
        unknown = unknown or any(
            (one["run_id"], one["plan"]) == (record.run_id, plan.digest) for one in ledger.unsettled(plan)
        )
        if unknown and not ledger.outcome(plan, _key(plan, record)):
            yield plan


def _key(plan: Plan, record: Record) -> str:
    return f"{plan.digest[7:]}-{record.run_id}"


def _begin(record: Record, archive: Path, service: Service, environment: Environment) -> tuple[RecordFolder, str]:
    redactor = Redactor()
    learn_secrets(environment, redactor)
    person, known_by = actions.identity()
    begun = genesis(
        runbook="reconcile",
        archive=archive,
        service=service.name,
        environment=environment.name,
        mode="headless",
        apply=False,
        actor={"name": person, "known_by": known_by},
        about={"run_id": record.run_id, "head": record.events[-1].hash},
    )
    return RecordFolder.create(archive, new_run_id("reconcile"), genesis=begun, redactor=redactor), person


def _claimed(plan: Plan, claim: str, person: str, because: str) -> Outcome:
    return Outcome(plan.digest, OutcomeStatus(claim), f"{person} says that it was {claim}: {because}")


def _judged(action: Action, plan: Plan, record: Record, wait: float) -> Outcome:
    """What the target says about a request."""
    try:
        fresh, found = action.observe(plan), action.read_back(plan)
    except RunbookError as error:
        return Outcome(plan.digest, OutcomeStatus.UNKNOWN, f"the target cannot be read: {error}")
    if "unreadable" in found:
        return Outcome(plan.digest, OutcomeStatus.UNKNOWN, f"the target cannot be read: {found['unreadable']}", found)
    as_before = isinstance(fresh, Plan) and fresh.digest == plan.digest and bool(plan.preconditions)
    if as_before:
        if (left := _left_seconds(plan, record, wait)) > 0:
            reason = f"the target is as before, but the request may still be under way; read again in {left:.0f} s"
            return Outcome(plan.digest, OutcomeStatus.UNKNOWN, reason, found)
        return Outcome(plan.digest, OutcomeStatus.REJECTED, "the target is as before: nothing was changed", found)
    told = "the target is neither as before nor as asked for; look at it, then: records reconcile --outcome"
    status = settled(action, plan, found)
    if status is OutcomeStatus.APPLIED:
        told = f"the target is as asked for: {plan.effect}"
    elif status is OutcomeStatus.FAILED:
        told = "it took effect, and failed"
    return Outcome(plan.digest, status, told, found)


def settled(action: Action, plan: Plan, found: Any) -> OutcomeStatus:
    """What a target that was read back says: applied, failed, or nothing that can be told.

    Args:
        action: the plan's kind.
        plan: what was asked for.
        found: what ``read_back`` read.
    """
    if isinstance(action, Settles):
        return action.settled(plan, found)
    shared = [name for name in plan.after if name in found]
    same = bool(shared) and all(found[name] == plan.after[name] for name in shared)
    return OutcomeStatus.APPLIED if same else OutcomeStatus.UNKNOWN


def _left_seconds(plan: Plan, record: Record, wait: float) -> float:
    sent = [event.moment for event in record.all("action.intent") if event.data.get("plan") == plan.digest]
    last = max(sent, default=record.events[-1].moment)
    return wait - (utc_now() - last) / timedelta(seconds=1)


def _close(folder: RecordFolder, ledger: Ledger, record: Record, plan: Plan, outcome: Outcome) -> None:
    key = _key(plan, record)
    if outcome.status is not OutcomeStatus.UNKNOWN and not ledger.settle(plan, key, str(outcome.status), folder.run_id):
        raise UsageError(f"another run has closed it: {ledger.outcome(plan, key)}")
    folder.journal.append("action.outcome", {**outcome.to_json(), "key": key}, durable=True)
