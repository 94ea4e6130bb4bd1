"""May this release go out now: CI of exactly its commit, its image, the state of the release, budget and room."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from runbook_lib.analysis.release_history import newest, pending
from runbook_lib.model import Check, Checks, CheckStatus, Evidence, Gap, Objective
from runbook_lib.model.units import format_value

#: Conclusions of a CI run that do not stand against a release.
_GOOD = ("success", "neutral", "skipped")
_VERSION = re.compile(r"v?\d+(\.\d+)*([-.][0-9A-Za-z.-]+)?")
#: Resources of a quota that one pod more takes.
_OF_PODS = ("pods", "count/pods", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory", "cpu", "memory")
#: Sums of cores such as 0.3 + 0.1 are not exact.
_ROUNDING = 1e-9
#: Burn rate at which Google's SRE workbook pages (table 5-8), over an hour and over its last five minutes: a release
#: now would hide the cause. What has ended is not in the short window any more.
MAX_BURN_RATE = 14.4
SHORT_SECONDS = 300.0
#: "Error rate drops below 1 %": the runbook's verification after a fix, section 8.
MAX_ERROR_RATIO = 0.01


def release_tag(runs: Evidence | Gap, asked: str = "") -> str:
    """The image tag to deploy: the one asked for, else that of the newest push of a version that CI passed; or empty.

    The newest run of all is not meant: it may be a branch's, or still going on.
    """
    if asked or isinstance(runs, Gap):
        return asked
    for row in runs.table.records():
        branch = str(row["branch"])
        if (row["event"], row["conclusion"]) == ("push", "success") and _VERSION.fullmatch(branch):
            return branch
    return ""


def release_commit(tag: Evidence | Gap, asked: str = "") -> str:
    """The commit that a git tag leads to, unless one was asked for; empty when there is none."""
    return asked or (str(tag.document.get("sha", "")) if isinstance(tag, Evidence) else "")


def release_built(commit: str, runs: Evidence | Gap, image: Evidence | Gap) -> Checks:
    """Whether CI passed for exactly this commit, and the registry has its image; see ``ci_passed``."""
    return Checks((ci_passed(commit, runs), image_published(image)))


def release_ready(
    history: Evidence | Gap,
    deployment: Evidence | Gap,
    quotas: Evidence | Gap,
    errors: Evidence | Gap,
    objective: Objective,
) -> Checks:
    """Whether a release may change now: at rest, budget left, room for one pod more; and advice on its strategy."""
    needed = (release_idle(history), budget_left(errors, objective), room_for_surge(deployment, quotas))
    return Checks((*needed, *without_downtime(deployment)))


def objectives_hold(latency: Evidence | Gap, errors: Evidence | Gap, promised: Objective) -> Checks:
    """Whether the service keeps its promises now: the newest p95 below its bound, and few errors.

    Args:
        latency: p95 over time, seconds.
        errors: share of requests that failed, over time.
        promised: the latency objective.
    """
    limit = promised.threshold_seconds or 0.0
    bounded = _newest("p95 latency", latency, limit, f"below {format_value(limit, 's')}")
    return Checks((bounded, *errors_low(errors)))


def errors_low(errors: Evidence | Gap) -> Checks:
    """Whether the newest share of failed requests is below one percent (the runbook's section 8)."""
    return Checks((_newest("error ratio", errors, MAX_ERROR_RATIO, f"below {format_value(MAX_ERROR_RATIO, 'ratio')}"),))


def _newest(name: str, given: Evidence | Gap, limit: float, required: str) -> Check:
    if isinstance(given, Gap) or given.latest.value is None:
        reason = given.reason if isinstance(given, Gap) else "no sample"
        return _unknown(name, reason, required, "read it again when the metrics answer")
    if given.latest.value >= limit:
        return _failed(name, f"now {given.latest}", required, "find the cause: runbook run high_latency")
    return _passed(name, f"now {given.latest}", required)


def ci_passed(commit: str, runs: Evidence | Gap) -> Check:
    """Whether every workflow's newest run of exactly this commit has succeeded.

    Args:
        commit: the release's commit; empty when no git tag leads to it.
        runs: CI runs of that commit, newest first.
    """
    name, required = "CI passed", "the newest run of every workflow of this commit succeeded"
    if not commit:
        return _unknown(name, "no git tag of that name leads to a commit", required, "tag the commit, or pass commit=")
    if isinstance(runs, Gap):
        if runs.kind == "empty":
            return _failed(name, f"no run of {commit[:12]}", required, "run CI on that commit")
        return _unknown(name, runs.reason, required, "read it again when GitHub answers")
    last: dict[str, Mapping[str, Any]] = {}
    for row in runs.table.records():
        if row["commit"] == commit:
            last.setdefault(str(row["workflow"]), row)
    bad = [f"{key} {row['conclusion'] or row['status']}" for key, row in last.items() if row["conclusion"] not in _GOOD]
    if bad or not last:
        return _failed(name, "; ".join(bad) or f"no run of {commit[:12]}", required, "wait for CI, or mend it")
    return _passed(name, f"{', '.join(last)} of {commit[:12]}", required)


def image_published(tag: Evidence | Gap) -> Check:
    """Whether the registry has the image tag, with its digest."""
    name, required = "image in the registry", "the tag exists, with a digest"
    if isinstance(tag, Gap):
        return _unknown(name, tag.reason, required, "read it again when the registry answers")
    found = tag.document
    if not found["found"]:
        return _failed(name, f"no tag {found['tag']}", required, "push the image, or correct image_tag")
    if not found.get("digest"):
        return _unknown(name, f"{found['tag']} has no digest", required, "push the image again")
    return _passed(name, f"{found['tag']} {found['digest'][:19]}", required)


def release_idle(history: Evidence | Gap) -> Check:
    """Whether no Helm operation on the release runs or has died."""
    name, required = "release is idle", "its newest revision is not pending"
    if isinstance(history, Gap):
        return _unknown(name, history.reason, required, "grant list on secrets in the namespace")
    last = newest(history)
    if pending(last):
        fix = "wait for it; if its program died: runbook run rollback, which offers unlock_release"
        return _failed(name, f"revision {last['revision']} is {last['status']}", required, fix)
    return _passed(name, f"revision {last['revision']} is {last['status']}", required)


def budget_left(errors: Evidence | Gap, objective: Objective) -> Check:
    """Whether the service is not spending its error budget so fast that a release must wait.

    Args:
        errors: share of requests that failed over the run's window.
        objective: the availability objective.
    """
    name, required = "error budget", f"burn rate below {MAX_BURN_RATE:g}"
    if isinstance(errors, Gap):
        return _unknown(name, errors.reason, required, "read it again when the metrics answer")
    end = max((one.times[-1] for one in errors.series if len(one)), default=0.0)
    ratios = [_worst_mean(errors, since) for since in (-math.inf, end - SHORT_SECONDS)]
    if ratios[0] is None or ratios[1] is None:
        return _unknown(name, "no sample in the window", required, "check that the service's metrics are collected")
    long, short = (ratio / objective.error_budget for ratio in (ratios[0], ratios[1]))
    told = f"burn rate {long:.1f} over the window, {short:.1f} over its last {SHORT_SECONDS / 60:.0f} minutes"
    if min(long, short) >= MAX_BURN_RATE:
        return _failed(name, told, required, "find the cause first: runbook run high_latency")
    return _passed(name, told, required)


def _worst_mean(evidence: Evidence, since: float) -> float | None:
    means = [mean for mean in (one.mean(since) for one in evidence.series) if mean is not None]
    return max(means, default=None)


def room_for_surge(deployment: Evidence | Gap, quotas: Evidence | Gap) -> Check:
    """Whether the namespace's quotas have room for one pod more while old and new ones run side by side."""
    name, required = "room for a pod more", "every quota has room for one"
    for one in (deployment, quotas):
        if isinstance(one, Gap):
            return _unknown(name, one.reason, required, "grant list on resourcequotas in the namespace")
    assert isinstance(deployment, Evidence)
    assert isinstance(quotas, Evidence)
    # A record of an older version does not say what a pod takes: there a quota must be full to count.
    takes = deployment.document.get("pod_takes") or {}
    full = [told for row in quotas.table.records() if (told := _full(row, takes))]
    if full:
        return _failed(name, "; ".join(full), required, "raise the quota, or remove what is not needed")
    return _passed(name, "every quota has room" if len(quotas.table) else "no quota", required)


def _full(row: Mapping[str, Any], takes: Mapping[str, float]) -> str:
    """Why a quota has no room for one pod; empty when it has, or limits something else."""
    if row["resource"] not in _OF_PODS:
        return ""
    used, limit, amount = float(row["used"]), float(row["limit"]), float(takes.get(str(row["resource"]), 0.0))
    if used < limit and used + amount <= limit * (1 + _ROUNDING):
        return ""
    return f"{row['quota']}: {row['resource']} {used:g} of {limit:g}, and a pod takes {amount:g}"


def without_downtime(deployment: Evidence | Gap) -> Checks:
    """What a rollout without lost requests needs of the deployment; advice, for the probe measures what happens."""
    if isinstance(deployment, Gap):
        return Checks((_unknown("strategy", deployment.reason, "readable", "check the cluster"),))
    spec = deployment.document["spec"]
    rolling = (spec.get("strategy") or {}).get("rollingUpdate") or {}
    unavailable = rolling.get("maxUnavailable", "25%")
    probes = [one for one in spec["template"]["spec"]["containers"] if one.get("readinessProbe")]
    recreate = (spec.get("strategy") or {}).get("type") == "Recreate"
    return Checks((
        _advice("no pod may be missing", not recreate and str(unavailable) in {"0", "0%"},
                "Recreate" if recreate else f"maxUnavailable {unavailable}", "maxUnavailable 0"),
        _advice("readiness probe", bool(probes), f"{len(probes)} containers have one", "one at least"),
        _advice("more than one pod", spec.get("replicas", 1) > 1, f"{spec.get('replicas', 1)} pods", "2 or more"),
    ))  # fmt: skip


def _passed(name: str, observed: str, required: str) -> Check:
    return Check("release", name, CheckStatus.PASSED, observed, required)


def _failed(name: str, observed: str, required: str, fix: str) -> Check:
    return Check("release", name, CheckStatus.FAILED, observed, required, fix)


def _unknown(name: str, observed: str, required: str, fix: str) -> Check:
    return Check("release", name, CheckStatus.UNKNOWN, observed, required, fix)


def _advice(name: str, passed: bool, observed: str, required: str) -> Check:
    status = CheckStatus.PASSED if passed else CheckStatus.FAILED
    fix = "" if passed else "change the chart: a rollout may lose requests"
    return Check("strategy", name, status, observed, required, fix, needed=False)
