"""Do as many pods serve as were asked for, and do they stay up."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from runbook_lib.analysis.claims import Given, found, has_samples, ruled_out, untold
from runbook_lib.analysis.crashes import Pods, crashes, stuck
from runbook_lib.analysis.signals import Points, by_label
from runbook_lib.model import Evidence, Finding, Gap, Quantity, Severity
from runbook_lib.model.times import clock, from_epoch

_QUESTION = "whether all pods serve"


def replicas(
    deployment: Evidence | Gap, pods: Evidence | Gap, history: Given = None, *, restarts: Given = None
) -> tuple[Finding, ...]:
    """Say whether the pods that were asked for serve, and whether any dies again and again.

    Args:
        deployment: the deployment's state: ``replicas``, ``available``, ``ready``, ``updated`` ...
        pods: one row a pod: ``name``, ``ready``, ``restarts``, ``reason``, ``image``, ``started_at``.
        history: pods available and wanted over time, label ``state``.
        restarts: restarts by pod over time.

    Returns:
        ``app.crash_loop``, ``app.replicas_missing`` and, for a release that cannot start, ``app.bad_release``; each
        ruled out by its numbers when it is not so.
    """
    findings = []
    if isinstance(pods, Gap):
        findings.append(untold("whether pods restart", pods))
    else:
        known = Pods.of(pods)
        findings.extend(crashes(pods, known, restarts))
        findings.extend(stuck(pods, known))
    findings.extend(_timed_out(deployment))
    findings.append(_missing(deployment, pods, history))
    return tuple(findings)


def _timed_out(deployment: Evidence | Gap) -> list[Finding]:
    """``app.bad_release`` when the deployment itself says that its rollout did not finish in time."""
    status = deployment.document.get("status") if isinstance(deployment, Evidence) else None
    conditions = status.get("conditions") if isinstance(status, Mapping) else None
    for one in conditions if isinstance(conditions, list) else []:
        if isinstance(one, Mapping) and one.get("reason") == "ProgressDeadlineExceeded":
            title = f"the rollout did not finish in time: {one.get('message') or one['reason']}"
            return [found("app.bad_release", Severity.CRITICAL, title, deployment, confidence=0.7)]
    return []


def _missing(deployment: Evidence | Gap, pods: Evidence | Gap, history: Given) -> Finding:
    lines = by_label(history, "state") if isinstance(history, Evidence) and has_samples(history) else {}
    wanted = _field(deployment, "replicas")
    available = _field(deployment, "available")
    if wanted is None or available is None:
        wanted, available = _newest(lines.get("wanted", [])), _newest(lines.get("available", []))
    if wanted is None or available is None:
        return untold(_QUESTION, deployment)
    cited = (deployment, history)
    observed = Quantity(available, "count")
    title = f"{available:.0f} of {wanted:.0f} pods are available"
    fewer = _scaled_down(lines.get("wanted", []), wanted)
    if available < wanted or wanted < 1:
        subject = {"available": available, "wanted": wanted, "unready": _unready(pods) >= wanted - available > 0}
        return _short(title + _why(pods), cited, observed, subject, lines)
    if fewer is None:
        return ruled_out("app.replicas_missing", title, *cited, observed=observed)
    before, at = fewer
    return found(
        "app.replicas_missing",
        Severity.CRITICAL,
        f"{title}, but {before:.0f} were asked for until {clock(from_epoch(at))} UTC",
        *cited,
        observed=observed,
        since=from_epoch(at),
        confidence=0.8,
        subject={"scaled_down": True, "before": int(before), "now": int(wanted)},
    )


def _short(
    title: str, cited: tuple[Given, ...], observed: Quantity, subject: Mapping[str, Any], lines: Mapping[str, Points]
) -> Finding:
    wanted = subject["wanted"]
    since = _short_since(lines.get("available", []), wanted)
    return found(
        "app.replicas_missing",
        Severity.CRITICAL,
        title if wanted >= 1 else f"{title}: none is asked for",
        *cited,
        observed=observed,
        since=from_epoch(since) if since else None,
        confidence=0.75,
        subject=subject,
    )


def _field(given: Evidence | Gap, name: str) -> float | None:
    value: Any = given.document.get(name) if isinstance(given, Evidence) else None
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _newest(points: Points) -> float | None:
    return points[-1][1] if points else None


def _short_since(available: Points, wanted: float) -> float | None:
    """When the present shortage began, epoch seconds."""
    start = None
    for t, v in reversed(available):
        if v >= wanted:
            break
        start = t
    return start


def _scaled_down(wanted: Points, now: float) -> tuple[float, float] | None:
    """How many were asked for before, and until when, if the number fell to ``now`` within the window."""
    for t, v in reversed(wanted):
        if v != now:
            return (v, t) if v > now else None
    return None


def _unready(pods: Evidence | Gap) -> int:
    """Pods that run and are not ready: something keeps them from serving, they are not gone."""
    rows = Pods.of(pods).rows if isinstance(pods, Evidence) else ()
    return sum(1 for row in rows if row.get("phase") == "Running" and not row.get("ready") and not row.get("reason"))


def _why(pods: Evidence | Gap) -> str:
    if isinstance(pods, Gap):
        return ""
    waiting = [row for row in Pods.of(pods).rows if not row.get("ready")]
    reasons = sorted({str(row.get("reason") or row.get("phase") or "not ready") for row in waiting})
    return f"; {len(waiting)} not ready ({', '.join(reasons)})" if waiting else ""
