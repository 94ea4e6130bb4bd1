"""Did it begin with a release: the change of a signal held against the rollouts in time."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from runbook_lib.analysis.claims import found, has_samples, ruled_out, untold
from runbook_lib.analysis.shifts import Shift, last_rise, rise_after
from runbook_lib.analysis.signals import end_epoch, worst
from runbook_lib.analysis.thresholds import THRESHOLDS
from runbook_lib.model import Evidence, Finding, Gap, Quantity, Role, Severity
from runbook_lib.model.evidence import Scalar
from runbook_lib.model.times import clock, duration, from_epoch
from runbook_lib.model.units import format_value

_QUESTION = "whether it began with a release"


def shifted_after(signal: Evidence | Gap, rollouts: Evidence | Gap) -> tuple[Finding, ...]:
    """Hold the rise of a signal against the rollouts.

    Args:
        signal: latency (seconds), the error ratio, or another signal over time in which more is worse.
        rollouts: one row a revision: ``revision``, ``image``, ``started_at`` (epoch seconds).

    Returns:
        ``app.bad_release`` when the signal rose within five minutes after another image was rolled out; context when
        only the configuration changed (same image); else the release is ruled out by the numbers. ``subject`` names
        ``revision``, ``image``, ``previous_revision`` and ``previous_image``.
    """
    for one in (signal, rollouts):
        if isinstance(one, Gap):
            return (untold(_QUESTION, one),)
    assert isinstance(signal, Evidence) and isinstance(rollouts, Evidence)  # noqa: PT018 - the loop above returned
    if not has_samples(signal):
        return (untold(_QUESTION, signal),)
    known = _revisions(rollouts)
    if not known:
        return (untold(_QUESTION, rollouts, "it lists no revision with a start time"),)
    skew = known[-1]["started_at"] - end_epoch(signal)
    if skew > THRESHOLDS["clock_skew_seconds"].value:
        reason = f"the newest rollout starts {duration(skew)} after the window ends: the clocks differ"
        return (untold(_QUESTION, rollouts, reason),)
    live = known[-1]
    shift = rise_after(worst(signal.series), live["started_at"], THRESHOLDS["release_seconds"].value)
    if shift is None or not live["before"]:
        return (_ruled_out(signal, rollouts, live),)
    return (_suspect(signal, rollouts, live, shift),)


def _revisions(rollouts: Evidence) -> list[dict[str, Any]]:
    """The rows with a start time as they went live, each with the one before it; ``{}`` before the first."""
    rows = [row for row in rollouts.table.records() if _number(row.get("started_at")) is not None]
    ordered: list[dict[str, Any]] = sorted(
        (dict(row, started_at=_number(row["started_at"])) for row in rows),
        key=_order,
    )
    for before, row in zip([{}, *ordered], ordered, strict=False):
        row["before"] = before
    return ordered


def _number(value: Scalar) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _ruled_out(signal: Evidence, rollouts: Evidence, live: Mapping[str, Any]) -> Finding:
    """Say of the release that serves why it is not suspected: no rise, no predecessor, or not at that time."""
    what, when = signal.title.lower(), clock(from_epoch(live["started_at"]))
    shift = last_rise(worst(signal.series))
    if shift is None:
        title = f"{what} did not rise to a new level; revision {_name(live)} serves since {when} UTC"
        return ruled_out("app.bad_release", title, signal, rollouts)
    title = (
        f"{what} rose from {format_value(shift.before, signal.unit)} to {format_value(shift.after, signal.unit)} at "
        f"{clock(shift.since)} UTC, not with revision {_name(live)} at {when} UTC"
    )
    if not live["before"]:
        title += ", the first that is known"
    observed = Quantity(shift.at - live["started_at"], "s")
    return ruled_out("app.bad_release", title, signal, rollouts, observed=observed, limit="release_seconds")


def _suspect(signal: Evidence, rollouts: Evidence, live: Mapping[str, Any], shift: Shift) -> Finding:
    lag = shift.at - live["started_at"]
    after = (
        f"{signal.title.lower()} rose from {format_value(shift.before, signal.unit)} to "
        f"{format_value(shift.after, signal.unit)} at {clock(shift.since)} UTC, {duration(lag)} after revision "
        f"{_name(live)}"
    )
    changed = live.get("image") != live["before"].get("image")
    prompt = lag <= THRESHOLDS["prompt_seconds"].value
    return found(
        "app.bad_release",
        Severity.CRITICAL if changed else Severity.NOTE,
        f"{after} replaced {_name(live['before'])}" if changed else f"{after}: same image, other configuration",
        signal,
        rollouts,
        observed=Quantity(lag, "s"),
        limit="release_seconds",
        since=from_epoch(live["started_at"]),
        # What is wrong with a release shows when its first pod serves; what shows later needs another reason, too.
        confidence=0.85 if prompt else 0.55,
        subject={**_subject(live), "coincides": True, "prompt": prompt},
        role=Role.CAUSE if changed else Role.CONTEXT,
    )


def _order(row: Mapping[str, Any]) -> tuple[float, float]:
    """Revisions count up, also when an old set of pods is brought back; without numbers, by start time."""
    revision = str(row.get("revision") or "")
    return (float(revision) if revision.isdigit() else 0.0, row["started_at"])


def _name(row: Mapping[str, Any]) -> str:
    return f"{row.get('revision', '?')} ({row.get('image') or 'unknown image'})"


def _subject(live: Mapping[str, Any]) -> dict[str, Any]:
    before = live["before"]
    return {
        "revision": live.get("revision"),
        "image": live.get("image"),
        "previous_revision": before.get("revision"),
        "previous_image": before.get("image"),
    }
