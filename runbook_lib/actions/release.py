"""What deploying and rolling back a Helm release have in common: permissions, fields that others hold, reading back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from runbook_lib.model import Evidence, Gap, GuardResult, OutcomeStatus, rights

if TYPE_CHECKING:
    from runbook_lib.actions.propose import Systems
    from runbook_lib.model import Check, Plan

#: How long Helm itself may take, seconds; it does not wait for pods.
HELM_SECONDS = 120.0

#: Kinds of a gap in which the cluster or the chart itself stands against a change; the others say nothing about it.
SAYS_NO = ("answer", "denied")

Conflict = Mapping[str, Any]


def target(run: Systems) -> str:
    """Name of the release as a plan's target."""
    return f"{run.service.workload.get('namespace', 'default')}/release/{run.service.workload.get('release', '')}"


def image_of(run: Systems, deployment: Evidence) -> str:
    """The image that the service's container asks for now."""
    images = deployment.document["images"]
    return str(images.get(run.service.workload.get("container", ""), next(iter(images.values()), "")))


def of_repository(run: Systems, images: Iterable[str]) -> str:
    """The one of some images that is the service's own; empty when there is none."""
    repository = str(run.service.workload.get("repository", ""))
    return next((one for one in images if one.rpartition(":")[0].endswith(repository)), "")


def tagged(run: Systems, images: Iterable[str], tag: str) -> str:
    """The one of some images that is the service's own with this tag; empty when there is none."""
    wanted = f"{run.service.workload.get('repository', '')}:{tag}"
    return next((one for one in images if one.endswith(wanted)), "")


def setting(run: Systems, name: str) -> str:
    """``chart`` or ``values``: of the environment where it has its own, else of the service."""
    endpoint = run.environment.endpoints.get("kubernetes")
    return str((endpoint.settings.get(name) if endpoint else "") or run.service.workload.get(name, ""))


def held(conflicts: Iterable[Conflict]) -> tuple[str, ...]:
    """One sentence for each field that another manager holds with another value."""
    return tuple(
        f"{one['object']} {one['field']} is held by {one['manager']}: {one['live']} now, {one['wanted']} wanted"
        for one in conflicts
    )


def permissions(run: Systems) -> Iterator[GuardResult]:
    """Whether the cluster lets us make a revision, and another one for the way back."""
    missing, unread = [], []
    for right in rights.CHANGING["deploy"]:
        found = run.kubernetes.may(right)
        if isinstance(found, Gap):
            unread.append(f"{right}: {found.reason}")
        elif not found.document.get("allowed"):
            missing.append(str(right))
    reason = "; ".join(unread) or (f"denied: {', '.join(missing)}" if missing else "allowed")
    yield GuardResult("may change the release, for the do and the undo", not missing and not unread, reason)


def from_check(check: Check) -> GuardResult:
    """A check as a guard: what is not known does not pass."""
    return GuardResult(check.name, str(check.status) == "passed", check.observed)


def read_back(run: Systems) -> dict[str, Any]:
    """The newest revision, and what the deployment asks for and has ready."""
    history, found = run.helm.history(), run.kubernetes.deployment()
    result: dict[str, Any] = {}
    if isinstance(history, Evidence):
        row = history.table.records()[-1]
        result = {key: row[key] for key in ("revision", "status", "description")}
    if isinstance(found, Evidence):
        status = found.document.get("status", {})
        result |= {
            "image": image_of(run, found),
            "replicas": found.document["replicas"],
            "ready": status.get("readyReplicas", 0),
        }
    return result or {"unreadable": getattr(history, "reason", "")}


def settled(plan: Plan, found: Mapping[str, Any], *, ours: bool) -> OutcomeStatus:
    """What a Helm operation whose answer was lost has come to.

    Args:
        plan: what was sent.
        found: what ``read_back`` found.
        ours: whether the newest revision is what the plan asked for.
    """
    if not ours or int(found.get("revision", 0)) <= int(plan.preconditions["revision"]):
        return OutcomeStatus.UNKNOWN
    named = {"deployed": OutcomeStatus.APPLIED, "failed": OutcomeStatus.FAILED}
    return named.get(str(found.get("status", "")), OutcomeStatus.UNKNOWN)
