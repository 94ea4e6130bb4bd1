"""Do as many pods serve as were asked for, and do they stay up."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from runbook_lib.analysis.claims import Given, found, has_samples, ruled_out, untold
from runbook_lib.analysis.signals import Points, by_label, end_epoch, is_fresh
from runbook_lib.analysis.thresholds import THRESHOLDS
from runbook_lib.model import Evidence, Finding, Gap, Quantity, Severity
from runbook_lib.model.evidence import Scalar
from runbook_lib.model.times import clock, from_epoch

_QUESTION = "whether all pods serve"
#: The kubelet forgets a container's back-off after it ran this long.
_BACK_OFF_RESET_SECONDS = 600
#: A pod that restarted and has stayed up for longer is not dying now.
_YOUNG_SECONDS = 120
_LOOPING = ("CrashLoopBackOff",)
_DIED = ("OOMKilled", "Error", "ContainerCannotRun", "DeadlineExceeded", "StartError", "RunContainerError")
#: A pod that waits for one of these will not start until somebody changes something.
_CANNOT_START = (
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "CreateContainerConfigError",
    "CreateContainerError",
    "ErrImageNeverPull",
)


@dataclass(frozen=True, slots=True)
class _Pods:
    rows: list[Mapping[str, Scalar]]
    read_at: float

    def with_reason(self, *reasons: str) -> list[Mapping[str, Scalar]]:
        return [row for row in self.rows if str(row.get("reason") or "") in reasons]

    def looping(self) -> list[Mapping[str, Scalar]]:
        """Pods in back-off, and pods that restarted repeatedly and lately."""
        recent = [row for row in self.rows if _count(row.get("restarts")) >= THRESHOLDS["restarts"].value]
        recent = [row for row in recent if not row.get("ready") or self._young(row)]
        died = [row for row in self.with_reason(*_DIED) if _count(row.get("restarts")) >= 1]
        names = {str(row.get("name")) for row in [*self.with_reason(*_LOOPING), *recent, *died]}
        return [row for row in self.rows if str(row.get("name")) in names]

    def _young(self, row: Mapping[str, Scalar]) -> bool:
        started = row.get("started_at")
        return isinstance(started, int | float) and self.read_at - started < _YOUNG_SECONDS


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
        known = _Pods([row for row in pods.table.records() if row.get("name")], pods.read_at.timestamp())
        findings.extend(_crashes(pods, known, restarts))
        findings.extend(_stuck(pods, known))
    findings.append(_missing(deployment, pods, history))
    return tuple(findings)


def _crashes(pods: Evidence, known: _Pods, restarts: Given) -> list[Finding]:
    looping = known.looping()
    died = _restarted(restarts)
    total = sum(_count(row.get("restarts")) for row in known.rows)
    limit = THRESHOLDS["restarts"].value
    if not looping and max(died.values(), default=0.0) < limit:
        title = f"{len(known.rows)} pods, {total:.0f} restarts since they were made, none in back-off"
        return [ruled_out("app.crash_loop", title, pods, observed=Quantity(total, "count"), limit="restarts")]
    names = [str(row.get("name")) for row in looping] or sorted(pod for pod, n in died.items() if n >= limit)
    images = sorted({str(row.get("image")) for row in looping if row.get("image")})
    reasons = sorted({str(row.get("reason")) for row in looping if row.get("reason")})
    most = max([_count(row.get("restarts")) for row in looping] + list(died.values()))
    title = f"{len(names)} of {len(known.rows)} pods die again and again ({', '.join(reasons) or 'restarting'})"
    title += f", {most:.0f} restarts; image {', '.join(images)}" if images else f", {most:.0f} restarts"
    return [
        found(
            "app.crash_loop",
            Severity.CRITICAL,
            title,
            pods,
            restarts if isinstance(restarts, Evidence) else None,
            observed=Quantity(most, "count"),
            limit="restarts",
            confidence=0.9 if reasons else 0.7,
            subject={"pods": names, "images": images},
        )
    ]


def _restarted(restarts: Given) -> dict[str, float]:
    """Pod to its restarts of the last ten minutes; pods that are gone do not count."""
    if not isinstance(restarts, Evidence):
        return {}
    now = end_epoch(restarts)
    lines = {pod: points for pod, points in by_label(restarts, "pod").items() if is_fresh(points, now)}
    recent = {pod: [v for t, v in points if t >= now - _BACK_OFF_RESET_SECONDS] for pod, points in lines.items()}
    return {pod: values[-1] - values[0] for pod, values in recent.items() if values}


def _stuck(pods: Evidence, known: _Pods) -> list[Finding]:
    stuck = known.with_reason(*_CANNOT_START)
    if not stuck:
        return []
    reasons = sorted({str(row.get("reason")) for row in stuck})
    images = sorted({str(row.get("image")) for row in stuck if row.get("image")})
    return [
        found(
            "app.bad_release",
            Severity.CRITICAL,
            f"{len(stuck)} pods of {', '.join(images) or 'a release'} cannot start: {', '.join(reasons)}",
            pods,
            observed=Quantity(len(stuck), "count"),
            confidence=0.9,
            subject={
                "pods": [str(row.get("name")) for row in stuck],
                "image": images[0] if images else None,
                "stuck": reasons[0],
            },
        )
    ]


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
        return _short(title + _why(pods), cited, observed, wanted, lines)
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
    title: str, cited: tuple[Given, ...], observed: Quantity, wanted: float, lines: Mapping[str, Points]
) -> Finding:
    since = _short_since(lines.get("available", []), wanted)
    return found(
        "app.replicas_missing",
        Severity.CRITICAL,
        title if wanted >= 1 else f"{title}: none is asked for",
        *cited,
        observed=observed,
        since=from_epoch(since) if since else None,
        confidence=0.75,
        subject={"available": observed.value, "wanted": wanted},
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


def _why(pods: Evidence | Gap) -> str:
    if isinstance(pods, Gap):
        return ""
    waiting = [row for row in pods.table.records() if not row.get("ready")]
    reasons = sorted({str(row.get("reason") or row.get("phase") or "not ready") for row in waiting})
    return f"; {len(waiting)} not ready ({', '.join(reasons)})" if waiting else ""


def _count(value: Scalar) -> float:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else 0.0
