"""Deploy an image tag: ``helm upgrade`` with guards, a server-side difference, a digest and a named way back."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runbook_lib.actions import release
from runbook_lib.analysis import release_gate
from runbook_lib.analysis.release_history import newest, pending
from runbook_lib.errors import ParameterError
from runbook_lib.model import Environment, Evidence, Gap, GuardResult, NoPlan, OutcomeStatus, Plan

if TYPE_CHECKING:
    from runbook_lib.actions.propose import Systems

KIND = "deploy"
#: A tag by the OCI distribution specification.
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_REPLICAS = ".spec.replicas"
#: Ways through a field that another manager holds with another value.
WAYS = ("keep", "take_back")


def deploy(run: Systems, *, image_tag: str, commit: str = "", on_conflict: str = "keep") -> Plan | NoPlan:
    """Plan to bring an image tag to the service's release.

    Args:
        run: the run with its systems.
        image_tag: the tag; the one that CI passed for ``commit``.
        commit: full SHA of the commit; empty for the one that the git tag of that name leads to.
        on_conflict: what to do about fields that another manager holds: ``keep`` carries a scaled replica count into
            the values and refuses any other field; ``take_back`` sets the chart's values (``--force-conflicts``).

    Returns:
        The plan with the server's own difference, or why there is none.

    Raises:
        ParameterError: the tag or the way is none.
    """
    if on_conflict not in WAYS:
        raise ParameterError(f"on_conflict must be one of {', '.join(WAYS)}, not {on_conflict!r}")
    if not image_tag:
        return NoPlan("there is no image tag to deploy: no pushed version has passed CI")
    if not _TAG.fullmatch(image_tag):
        raise ParameterError(f"{image_tag!r} is no image tag")
    commit = release_gate.release_commit(run.github.tag(image_tag), commit)
    tag, deployment, history = run.registry.tag(image_tag), run.kubernetes.deployment(), run.helm.history()
    for one in (tag, deployment, history):
        if isinstance(one, Gap):
            return NoPlan(f"{one.title} could not be read: {one.reason}")
    values: dict[str, Any] = {"image": {"tag": image_tag}}
    preview = run.helm.preview(values)
    if isinstance(preview, Evidence) and on_conflict == "keep" and (kept := _scaled(preview)):
        values[str(run.service.workload.get("replicas_value", "replicaCount"))] = kept
        preview = run.helm.preview(values)
    if isinstance(preview, Gap):
        told = f"the chart cannot be rendered or applied: {preview.reason}"
        return NoPlan(told, blocked=preview.kind in release.SAYS_NO)
    stands = _against(run, preview, image_tag, on_conflict) or _busy(history)
    if stands is not None:
        return stands
    if not preview.document["changed"]:
        return NoPlan(f"{image_tag} is deployed already: nothing would change")
    return _plan(run, tag, deployment, history, preview, commit=commit, values=values, on_conflict=on_conflict)


def _against(run: Systems, preview: Evidence, image_tag: str, on_conflict: str) -> NoPlan | None:
    """What stands against applying what the chart renders to; None when nothing does."""
    secrets = preview.document.get("secrets", ())
    if secrets:
        advice = "Put it into a Secret of the cluster, and only that Secret's name into the values."
        return NoPlan(f"a secret stands in the open in {', '.join(secrets)}", (advice,), blocked=True)
    images = preview.document["images"]
    if not release.tagged(run, images, image_tag):
        told = release.of_repository(run, images) or f"no image of {run.service.workload.get('repository', '')}"
        advice = "The chart must take the tag from image.tag; see docs/releases.md."
        return NoPlan(f"the chart renders {told}, whatever image.tag says", (advice,), blocked=True)
    held = release.held(preview.document["conflicts"])
    if held and on_conflict == "keep":
        advice = "Put the live value into the chart's values, or deploy with -p on_conflict=take_back."
        return NoPlan(f"another manager holds what the chart sets: {'; '.join(held)}", (advice,), blocked=True)
    return None


def _busy(history: Evidence) -> NoPlan | None:
    last = newest(history)
    if not pending(last):
        return None
    advice = "If its program died: runbook run rollback, which offers unlock_release."
    return NoPlan(
        f"revision {last['revision']} is {last['status']}: an operation runs or has died", (advice,), blocked=True
    )


def _scaled(preview: Evidence) -> int:
    """The live replica count that somebody else set; 0 when the chart's own stands."""
    fields = [one for one in preview.document["conflicts"] if one["field"] == _REPLICAS]
    return int(fields[0]["live"] or 0) if fields else 0


def _plan(
    run: Systems, tag: Evidence, deployment: Evidence, history: Evidence, preview: Evidence, *,
    commit: str, values: Mapping[str, Any], on_conflict: str,
) -> Plan:  # fmt: skip
    workload = run.service.workload
    revision, image_tag = int(newest(history)["revision"]), values["image"]["tag"]
    before = release.image_of(run, deployment)
    image = release.tagged(run, preview.document["images"], image_tag)
    kept = {key: value for key, value in values.items() if key != "image"}
    sets = " ".join(f"--set {key}={value}" for key, value in {"image.tag": image_tag, **kept}.items())
    held = preview.document["conflicts"]
    warnings = [*(f"{one}; it is taken back" for one in release.held(held))]
    warnings += [
        f"{key} {value} is kept: it was scaled by hand, and the chart says otherwise" for key, value in kept.items()
    ]
    return Plan(
        kind=KIND,
        service=run.service.name,
        environment=run.environment.name,
        target=release.target(run),
        before={"revision": revision, "image": before},
        after={"image": image, "digest": tag.document.get("digest", ""), "values": dict(values)},
        preconditions={
            "uid": deployment.document["metadata"]["uid"],
            "revision": revision,
            "commit": commit,
            "manifest": preview.document["manifest"],
            "conflicts": list(held),
            "on_conflict": on_conflict,
        },
        effect=f"{workload.get('release')} runs {image} instead of {before}; {preview.document['changed']} of "
        f"{preview.document['objects']} objects change, pod by pod",
        way_back=f"return to revision {revision}: runbook run rollback -p revision={revision}",
        command=f"helm upgrade {workload.get('release')} {release.setting(run, 'chart')} -n {workload.get('namespace')}"
        f" --values {release.setting(run, 'values')} {sets}{' --force-conflicts' if held else ''}",
        diff=str(preview.document["diff"]),
        warnings=tuple(warnings),
    )


@dataclass(frozen=True, slots=True)
class Deploy:
    """The kind ``deploy``, bound to a run's systems."""

    run: Systems

    @property
    def kubernetes(self) -> Any:
        """The cluster that holds the release."""
        return self.run.kubernetes

    def observe(self, plan: Plan) -> Plan | NoPlan:
        """The same plan, rendered and held against the cluster again."""
        asked = plan.preconditions
        tag = plan.after["values"]["image"]["tag"]
        return deploy(self.run, image_tag=tag, commit=asked["commit"], on_conflict=asked["on_conflict"])

    def guards(self, plan: Plan, environment: Environment) -> Iterator[GuardResult]:
        """CI of exactly the commit, the image, an idle release, the error budget, room, and permissions."""
        run, commit = self.run, plan.preconditions["commit"]
        runs = run.github.runs(commit) if commit else run.github.runs()
        yield release.from_check(release_gate.ci_passed(commit, runs))
        tag = run.registry.tag(plan.after["values"]["image"]["tag"])
        yield release.from_check(release_gate.image_published(tag))
        yield release.from_check(release_gate.release_idle(run.helm.history()))
        yield release.from_check(release_gate.budget_left(run.metrics.error_ratio(), run.availability))
        room = release_gate.room_for_surge(run.kubernetes.deployment(), run.kubernetes.quotas())
        yield release.from_check(room)
        yield from release.permissions(run)

    def send(self, plan: Plan) -> None:
        """One ``helm upgrade`` that holds only while the release is at the plan's revision."""
        self.run.helm.upgrade(
            plan.after["values"],
            from_revision=plan.preconditions["revision"],
            force_conflicts=bool(plan.preconditions["conflicts"]),
            deadline_seconds=release.HELM_SECONDS,
        )

    def read_back(self, plan: Plan) -> Mapping[str, Any]:
        """The newest revision, and what the deployment asks for and has ready."""
        return release.read_back(self.run)

    def settled(self, plan: Plan, found: Mapping[str, Any]) -> OutcomeStatus:
        """By the newest revision and the image that the deployment asks for."""
        return release.settled(plan, found, ours=found.get("image") == plan.after["image"])
