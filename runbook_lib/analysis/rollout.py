"""Is a rollout complete, or beyond hope: every clause that ``kubectl rollout status`` leaves out as well."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from runbook_lib.model import Check, Checks, CheckStatus, Evidence, Gap

#: Reasons that do not pass by waiting (domain reference C2).
HOPELESS = (
    "ImagePullBackOff", "ErrImagePull", "InvalidImageName", "ErrImageNeverPull", "CreateContainerConfigError",
    "CreateContainerError", "CrashLoopBackOff",
)  # fmt: skip
#: A pod that fits nowhere is waited for that long: a cluster may be adding a node.
UNSCHEDULABLE_SECONDS = 60.0
#: Answers for each pod that must carry the new version (domain reference C2: at least three).
ANSWERS_PER_POD = 3
_FIX = "see the plan of the way back below, or: runbook run rollback"


def settled(reading: Mapping[str, Any], image: str) -> bool:
    """Whether one reading of a rollout is complete for ``image``, or will never be."""
    return bool(hopeless(reading, image)) or not any(_open(reading, image, ""))


def hopeless(reading: Mapping[str, Any], image: str) -> str:
    """Why the rollout of ``image`` will not complete; empty when it may."""
    deployment = reading["deployment"]
    for one in deployment["status"].get("conditions", ()):
        if one.get("reason") == "ProgressDeadlineExceeded":
            return f"ProgressDeadlineExceeded: {one.get('message', '')}".strip(": ")
        if (one.get("type"), one.get("status")) == ("ReplicaFailure", "True"):
            return f"{one.get('reason', 'ReplicaFailure')}: {one.get('message', '')}".strip(": ")
    for pod in _pods(reading):
        reason = str(pod["reason"] or "")
        late = reason == "Unschedulable" and reading["waited_seconds"] >= UNSCHEDULABLE_SECONDS
        if pod["image"] == image and (reason in HOPELESS or late):
            return f"pod {pod['name']}: {reason}"
    return ""


def rolled_out(
    rollout: Evidence | Gap, status: Evidence | Gap, *, image: str, digest: str = "", version: str = ""
) -> Checks:
    """Hold a rollout against the complete rule (records-and-actions, section 8).

    Args:
        rollout: the last reading of the rollout.
        status: answers of the service's status page.
        image: the image that every pod must run.
        digest: the image's digest in the registry; empty when it is not known.
        version: the version that every answer must carry.

    Returns:
        One check for each clause.
    """
    if isinstance(rollout, Gap):
        unread = Check("rollout", "complete", CheckStatus.UNKNOWN, rollout.reason, "complete", _FIX)
        return Checks((unread,))
    reading = rollout.document
    checks = [*_clauses(reading, image, digest)]
    if lost := hopeless(reading, image):
        checks.insert(0, _check("will complete", False, lost, "no reason against it"))
    return Checks((*checks, _version(status, reading, version)))


def _open(reading: Mapping[str, Any], image: str, digest: str) -> Iterator[Check]:
    return (check for check in _clauses(reading, image, digest) if check.status is not CheckStatus.PASSED)


def _clauses(reading: Mapping[str, Any], image: str, digest: str) -> Iterator[Check]:
    deployment, pods, wanted = reading["deployment"], _pods(reading), reading["deployment"]["replicas"]
    seen, asked = deployment["status"].get("observedGeneration", 0), deployment["metadata"].get("generation", 0)
    yield _check("controller has seen it", seen >= asked, f"generation {seen} of {asked}", "the newest generation")
    yield _check("not paused", not deployment["paused"], "paused" if deployment["paused"] else "runs", "runs")
    counts = [deployment[name] for name in ("total", "updated", "available")]
    told = "{} pods, {} updated, {} available".format(*counts)
    yield _check("all pods replaced", wanted > 0 and counts == [wanted] * 3, told, f"{wanted} of each, above 0")
    reason = deployment["progress"] or "no reason"
    yield _check("controller is done", reason == "NewReplicaSetAvailable", reason, "NewReplicaSetAvailable")
    yield _images(pods, image, digest)
    unready = [f"{pod['name']} {pod['reason'] or 'not ready'}" for pod in pods if not pod["ready"]]
    ready = len(pods) - len(unready)
    yield _check("pods ready", bool(pods) and not unready, "; ".join(unready) or f"{ready} ready", "all ready")
    before = reading["restarts_before"]
    restarted = [str(pod["name"]) for pod in pods if (pod["restarts"] or 0) > before.get(str(pod["name"]), 0)]
    yield _check("no restarts", not restarted, f"restarted: {', '.join(restarted)}" if restarted else "none", "none")
    yield _endpoints(reading, {str(pod["name"]) for pod in pods}, wanted)


def _images(pods: list[Mapping[str, Any]], image: str, digest: str) -> Check:
    others = sorted({str(pod["image"]) for pod in pods} - {image})
    moved = [str(pod["name"]) for pod in pods if digest and pod["image_id"] and digest not in str(pod["image_id"])]
    observed = f"also {', '.join(others)}" if others else f"{', '.join(moved)}: another digest" if moved else image
    return _check("image as asked", bool(pods) and not others and not moved, observed, f"{image} {digest[:19]}".strip())


def _endpoints(reading: Mapping[str, Any], names: set[str], wanted: int) -> Check:
    serving = [one for one in reading["endpoints"] if not one["terminating"]]
    ready = [one for one in serving if one["ready"]]
    foreign = sorted({str(one["pod"]) for one in ready} - names)
    told = f"{len(ready)} ready of {len(serving)}" + (f", old ones: {', '.join(foreign)}" if foreign else "")
    good = len(ready) >= wanted and len(ready) == len(serving) and not foreign
    return _check("endpoints new and ready", good, told, f"{wanted} ready, all of new pods")


def _version(status: Evidence | Gap, reading: Mapping[str, Any], version: str) -> Check:
    name, required = "served version", f"{version} in every answer"
    if isinstance(status, Gap):
        return Check("rollout", name, CheckStatus.UNKNOWN, status.reason, required, _FIX)
    document = status.document
    versions, asked = document["versions"], document["asked"]
    told = ", ".join(f"{one} in {count}" for one, count in sorted(versions.items())) or "no version"
    silent = asked - sum(versions.values())
    told += f" of {asked} asked" + (f", {silent} without a version" if silent else "")
    enough = asked >= ANSWERS_PER_POD * reading["deployment"]["replicas"]
    good = versions == {version: asked} and enough
    return _check(name, good, told, required)


def _pods(reading: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [pod for pod in reading["pods"] if not pod["terminating"]]


def _check(name: str, passed: bool, observed: str, required: str) -> Check:
    status = CheckStatus.PASSED if passed else CheckStatus.FAILED
    return Check("rollout", name, status, observed, required, "" if passed else _FIX)
