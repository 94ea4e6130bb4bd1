"""Do pods die again and again, or wait for what will not come."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from runbook_lib.analysis.claims import Given, found, ruled_out
from runbook_lib.analysis.signals import by_label, end_epoch, present
from runbook_lib.analysis.thresholds import THRESHOLDS
from runbook_lib.model import Evidence, Finding, Quantity, Severity
from runbook_lib.model.evidence import Scalar

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
class Pods:
    """The pods of a deployment that are not on their way out.

    Args:
        rows: one a pod.
        read_at: when they were read, epoch seconds.
    """

    rows: Sequence[Mapping[str, Scalar]]
    read_at: float

    @classmethod
    def of(cls, pods: Evidence) -> Pods:
        """The pods that the evidence holds."""
        rows = [row for row in pods.table.records() if row.get("name") and not row.get("terminating")]
        return cls(rows, pods.read_at.timestamp())

    def with_reason(self, *reasons: str) -> list[Mapping[str, Scalar]]:
        """Pods that wait or ended for one of these reasons."""
        return [row for row in self.rows if str(row.get("reason") or "") in reasons]

    def looping(self) -> list[Mapping[str, Scalar]]:
        """Pods in back-off, and pods that restarted repeatedly and lately."""
        recent = [row for row in self.rows if count(row.get("restarts")) >= THRESHOLDS["restarts"].value]
        recent = [row for row in recent if not row.get("ready") or self._young(row)]
        died = [row for row in self.with_reason(*_DIED) if count(row.get("restarts")) >= 1]
        names = {str(row.get("name")) for row in [*self.with_reason(*_LOOPING), *recent, *died]}
        return [row for row in self.rows if str(row.get("name")) in names]

    def _young(self, row: Mapping[str, Scalar]) -> bool:
        started = row.get("started_at")
        return isinstance(started, int | float) and self.read_at - started < _YOUNG_SECONDS


def crashes(pods: Evidence, known: Pods, restarts: Given) -> list[Finding]:
    """``app.crash_loop`` when pods die again and again, or what rules it out."""
    looping = known.looping()
    died = _restarted(restarts)
    total = sum(count(row.get("restarts")) for row in known.rows)
    limit = THRESHOLDS["restarts"].value
    if not looping and max(died.values(), default=0.0) < limit:
        title = f"{len(known.rows)} pods, {total:.0f} restarts since they were made, none in back-off"
        return [ruled_out("app.crash_loop", title, pods, observed=Quantity(total, "count"), limit="restarts")]
    names = [str(row.get("name")) for row in looping] or sorted(pod for pod, n in died.items() if n >= limit)
    images = sorted({str(row.get("image")) for row in looping if row.get("image")})
    words = ("reason", "last_reason")
    reasons = sorted({str(row[word]) for row in looping for word in words if row.get(word)})
    most = max([count(row.get("restarts")) for row in looping] + list(died.values()))
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
    lines = present(by_label(restarts, "pod"), now)
    recent = {pod: [v for t, v in points if t >= now - _BACK_OFF_RESET_SECONDS] for pod, points in lines.items()}
    return {pod: values[-1] - values[0] for pod, values in recent.items() if values}


def stuck(pods: Evidence, known: Pods) -> list[Finding]:
    """``app.bad_release`` when pods wait for what will not come by itself, such as an image that does not exist."""
    waiting = known.with_reason(*_CANNOT_START)
    if not waiting:
        return []
    reasons = sorted({str(row.get("reason")) for row in waiting})
    images = sorted({str(row.get("image")) for row in waiting if row.get("image")})
    return [
        found(
            "app.bad_release",
            Severity.CRITICAL,
            f"{len(waiting)} pods of {', '.join(images) or 'a release'} cannot start: {', '.join(reasons)}",
            pods,
            observed=Quantity(len(waiting), "count"),
            confidence=0.9,
            subject={
                "pods": [str(row.get("name")) for row in waiting],
                "image": images[0] if images else None,
                "stuck": reasons[0],
            },
        )
    ]


def count(value: Scalar) -> float:
    """A finite number of a row; 0 when there is none."""
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else 0.0
