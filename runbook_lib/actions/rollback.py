"""Return to a revision that was recorded good: ``helm rollback`` with guards, and never simply the one before."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runbook_lib.actions import release
from runbook_lib.actions.schema import schema_fits
from runbook_lib.analysis.release_gate import release_idle
from runbook_lib.analysis.release_history import last_good, newest, pending
from runbook_lib.errors import ParameterError
from runbook_lib.model import Environment, Evidence, Gap, GuardResult, NoPlan, OutcomeStatus, Plan

if TYPE_CHECKING:
    from runbook_lib.actions.propose import Systems

KIND = "rollback"
UNLOCK = "unlock_release"
#: A pending revision that is younger may still be worked on: Helm's own default time limit.
PENDING_SECONDS = 300.0


def rollback(run: Systems, *, revision: int = 0, good: Iterable[int] = ()) -> Plan | NoPlan:
    """Plan to return to a revision.

    Args:
        run: the run with its systems.
        revision: the revision; 0 for the last one that was recorded good.
        good: revisions that records call good.

    Returns:
        The plan with the server's own difference; of kind ``unlock_release`` when an operation on the release has died;
        or why there is none.

    Raises:
        ParameterError: the revision is none.
    """
    if revision < 0:
        raise ParameterError(f"revision must be 0 or more, not {revision}")
    deployment, history, known = run.kubernetes.deployment(), run.helm.history(), sorted(set(good))
    for one in (deployment, history):
        if isinstance(one, Gap):
            return NoPlan(f"{one.title} could not be read: {one.reason}")
    last = newest(history)
    to = revision or last_good(history, known)
    rows = {int(row["revision"]): row for row in history.table.records()}
    if not to:
        return NoPlan("no revision before this one is recorded good",
                      ("Name one yourself: -p revision=N.", _listed(rows.values())), blocked=True)  # fmt: skip
    if to not in rows:
        return NoPlan(f"the release has no revision {to}", (_listed(rows.values()),), blocked=True)
    if to == int(last["revision"]) and not pending(last):
        return NoPlan(f"the release is at revision {to}")
    preview = run.helm.preview(revision=to)
    if isinstance(preview, Gap):
        return NoPlan(f"revision {to} cannot be applied: {preview.reason}", blocked=preview.kind in release.SAYS_NO)
    return _plan(run, deployment, last, rows[to], preview, recorded=to in known)


def _listed(rows: Iterable[Mapping[str, Any]]) -> str:
    told = [f"{row['revision']} {row['status']} ({row['description']})" for row in rows]
    return f"Revisions: {', '.join(told)}."


def _plan(
    run: Systems, deployment: Evidence, last: Mapping[str, Any], row: Mapping[str, Any], preview: Evidence, *,
    recorded: bool,
) -> Plan:  # fmt: skip
    workload, to, current = run.service.workload, int(row["revision"]), int(last["revision"])
    held, stuck = preview.document["conflicts"], pending(last)
    # An emergency must not be lost to a 409: what others hold is taken back, and said (real-parts, section 3).
    warnings = [f"{one}; it is set to the revision's value" for one in release.held(held)]
    if not recorded:
        warnings.insert(0, f"no record calls revision {to} good")
    if stuck:
        warnings.insert(0, f"revision {current} is {last['status']}: make sure that its program is gone")
    force = " --force-conflicts" if held else ""
    return Plan(
        kind=UNLOCK if stuck else KIND,
        service=run.service.name,
        environment=run.environment.name,
        target=release.target(run),
        before={"revision": current, "status": last["status"], "image": release.image_of(run, deployment)},
        after={
            "revision": to,
            "recorded_good": recorded,
            "image": release.of_repository(run, preview.document["images"]),
        },
        preconditions={
            "uid": deployment.document["metadata"]["uid"],
            "revision": current,
            "pending_since": last["updated_at"] if stuck else None,
            "manifest": preview.document["manifest"],
            "conflicts": list(held),
        },
        effect=f"{workload.get('release')} returns from revision {current} to what revision {to} was; "
        f"{preview.document['changed']} of {preview.document['objects']} objects change; data stays as it is",
        way_back=f"return to revision {current}: runbook run rollback -p revision={current}",
        command=f"helm rollback {workload.get('release')} {to} -n {workload.get('namespace')}{force}",
        diff=str(preview.document["diff"]),
        warnings=tuple(warnings),
    )


@dataclass(frozen=True, slots=True)
class Rollback:
    """The kinds ``rollback`` and ``unlock_release``, bound to a run's systems."""

    run: Systems

    @property
    def kubernetes(self) -> Any:
        """The cluster that holds the release."""
        return self.run.kubernetes

    def observe(self, plan: Plan) -> Plan | NoPlan:
        """The same plan, held against the release and the cluster again."""
        to = int(plan.after["revision"])
        return rollback(self.run, revision=to, good=[to] if plan.after["recorded_good"] else ())

    def guards(self, plan: Plan, environment: Environment) -> Iterator[GuardResult]:
        """The state of the release, the schema that its data has by now, and permissions."""
        history = self.run.helm.history()
        if plan.kind == UNLOCK:
            yield _died(history)
        else:
            yield release.from_check(release_idle(history))
        yield schema_fits(self.run, int(plan.after["revision"]))
        yield from release.permissions(self.run)

    def send(self, plan: Plan) -> None:
        """One ``helm rollback`` to the named revision that holds only while the release is at the plan's one."""
        self.run.helm.rollback(
            int(plan.after["revision"]),
            from_revision=plan.preconditions["revision"],
            force_conflicts=bool(plan.preconditions["conflicts"]),
            pending=plan.kind == UNLOCK,
            deadline_seconds=release.HELM_SECONDS,
        )

    def read_back(self, plan: Plan) -> Mapping[str, Any]:
        """The newest revision, and what the deployment asks for and has ready."""
        return release.read_back(self.run)

    def settled(self, plan: Plan, found: Mapping[str, Any]) -> OutcomeStatus:
        """By what the newest revision holds: the manifest of the one that it returned to."""
        newest = self.run.helm.preview(revision=int(found.get("revision", 0)))
        held = "" if isinstance(newest, Gap) else newest.document["manifest"]
        return release.settled(plan, found, ours=held == plan.preconditions["manifest"])


def _died(history: Evidence | Gap) -> GuardResult:
    name = "the operation has died"
    if isinstance(history, Gap):
        return GuardResult(name, False, history.reason)
    last = newest(history)
    began = last["updated_at"]
    age = history.read_at.timestamp() - float(began) if began is not None else 0.0
    told = f"revision {last['revision']} is {last['status']} for {age:.0f} s, at least {PENDING_SECONDS:.0f} s"
    return GuardResult(name, pending(last) and age >= PENDING_SECONDS, told)
