"""Run the pods of a Job until enough of them succeeded or too many failed."""

from __future__ import annotations

from collections.abc import Iterable

from runbook_lib.lab.controlplane import clock
from runbook_lib.lab.controlplane.controllers import base
from runbook_lib.lab.controlplane.controllers.runner import Key
from runbook_lib.lab.controlplane.resources import Resources
from runbook_lib.lab.controlplane.store import Change, Object

COMPONENT = "job-controller"


class JobController:
    """Creates pods, counts ends, sets the conditions Complete and Failed."""

    name = COMPONENT

    def __init__(self, resources: Resources) -> None:
        self._resources = resources

    def concerned(self, change: Change) -> Iterable[Key]:
        """Jobs, and the owner of a pod."""
        metadata = change.object["metadata"]
        if change.key == base.JOB.key:
            yield metadata["namespace"], metadata["name"]
        elif change.key == base.POD.key:
            owner = base.controller_of(change.object)
            if owner and owner["kind"] == "Job":
                yield metadata["namespace"], owner["name"]

    def reconcile(self, key: Key) -> float | None:
        """One step of a Job; returns seconds until its deadline or its removal."""
        job = self._resources.find(base.JOB, *key)
        if job is None or job["metadata"].get("deletionTimestamp"):
            return None
        finished = base.condition(job, "Complete") or base.condition(job, "Failed")
        if finished:
            return self._expire(job, finished)
        spec, status = job["spec"], dict(job["status"])
        if spec.get("suspend"):
            return None
        pods = [pod for pod in self._resources.store.list(base.POD, key[0]) if base.controls(job, pod)]
        active = [pod for pod in pods if base.is_active(pod)]
        succeeded = sum(pod["status"].get("phase") == "Succeeded" for pod in pods)
        failed = sum(pod["status"].get("phase") == "Failed" for pod in pods)
        restarts = sum(
            row.get("restartCount", 0) for pod in active for row in pod["status"].get("containerStatuses") or []
        )
        status.setdefault("startTime", clock.now_text())
        wanted = spec.get("completions", 1)
        passed = (clock.now() - clock.parse(status["startTime"])).total_seconds()
        deadline = spec.get("activeDeadlineSeconds")
        if succeeded >= wanted:
            self._finish(job, status, active, succeeded, failed)
            return 0.05
        if failed + restarts > spec.get("backoffLimit", 6):
            self._fail(
                job, status, active, failed, "BackoffLimitExceeded", "Job has reached the specified backoff limit"
            )
            return 0.05
        if deadline is not None and passed >= deadline:
            self._fail(job, status, active, failed, "DeadlineExceeded", "Job was active longer than specified deadline")
            return 0.05
        need = min(spec.get("parallelism", 1), wanted - succeeded) - len(active)
        for _ in range(need):
            active.append(base.create_pod(self._resources, job, COMPONENT, spec["template"], job["metadata"]["name"]))
        counted = {
            "active": len(active),
            "succeeded": succeeded,
            "failed": failed,
            "ready": sum(map(base.is_ready, active)),
        }
        self._write(job, status, counted)
        return max(0.1, deadline - passed) if deadline is not None else None

    def _write(self, job: Object, status: Object, counted: Object) -> None:
        fresh = self._resources.find(base.JOB, job["metadata"]["namespace"], job["metadata"]["name"])
        if fresh is None:
            return
        for key in ("active", "succeeded", "failed"):
            status.pop(key, None)
        status |= {key: value for key, value in counted.items() if value or key == "ready"}
        status.setdefault("terminating", 0)
        status.setdefault("uncountedTerminatedPods", {})
        base.write_status(self._resources, base.JOB, fresh, status)

    def _finish(self, job: Object, status: Object, active: list[Object], succeeded: int, failed: int) -> None:
        now = clock.now_text()
        status["completionTime"] = now
        reason, message = "CompletionsReached", "Reached expected number of succeeded pods"
        status["conditions"] = [_condition(kind, reason, message, now) for kind in ("SuccessCriteriaMet", "Complete")]
        for pod in active:
            base.delete_pod(self._resources, job, COMPONENT, pod)
        self._write(job, status, {"active": 0, "succeeded": succeeded, "failed": failed, "ready": 0})
        base.record_event(self._resources, job, COMPONENT, "Completed", "Job completed")

    def _fail(self, job: Object, status: Object, active: list[Object], failed: int, reason: str, message: str) -> None:
        now = clock.now_text()
        status["conditions"] = [_condition(kind, reason, message, now) for kind in ("FailureTarget", "Failed")]
        for pod in active:
            base.delete_pod(self._resources, job, COMPONENT, pod)
        self._write(job, status, {"active": 0, "failed": failed + len(active), "ready": 0})
        base.record_event(self._resources, job, COMPONENT, reason, message, "Warning")

    def _expire(self, job: Object, finished: Object) -> float | None:
        keep = job["spec"].get("ttlSecondsAfterFinished")
        if keep is None:
            return None
        rest: float = keep - (clock.now() - clock.parse(finished["lastTransitionTime"])).total_seconds()
        if rest > 0:
            return rest
        self._resources.delete(
            base.JOB, job["metadata"]["namespace"], job["metadata"]["name"], {"propagationPolicy": "Background"}
        )
        return None


def _condition(kind: str, reason: str, message: str, now: str) -> Object:
    return {
        "type": kind,
        "status": "True",
        "lastProbeTime": now,
        "lastTransitionTime": now,
        "reason": reason,
        "message": message,
    }
