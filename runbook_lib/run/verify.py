"""Reading the same evidence again after a change, until the objective holds or the time is over."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime

from runbook_lib.model import Evidence, Gap, Objective, Quantity, Verification
from runbook_lib.model.times import seen_from
from runbook_lib.model.units import format_value

#: Seconds between two readings, and consecutive good samples that count as "holds again".
POLL_SECONDS = 3.0
GOOD_SAMPLES = 3


def sleep(seconds: float) -> bool:
    """Let the time pass; the present can always be read again."""
    time.sleep(seconds)
    return True


def verify(
    after: Evidence | Gap,
    against: Evidence | Gap,
    objective: Objective,
    *,
    changed_at: datetime,
    within_seconds: float,
    wait: Callable[[float], bool] = sleep,
    seen: Callable[[Evidence | Gap], object] = lambda _: None,
) -> tuple[Verification, Evidence | Gap]:
    """Compare a reading after the change with the one before it, reading again while it does not hold yet.

    Args:
        after: the first reading after the change.
        against: the reading before it.
        objective: what must hold.
        changed_at: when the change was made; older samples say nothing about it.
        within_seconds: how long to keep reading.
        wait: lets the given seconds pass; returns whether reading again can tell anything new.
        seen: is given each further reading.

    Returns:
        The verification, and the last reading.
    """
    deadline = time.monotonic() + within_seconds
    while (
        not _holds(after, objective, changed_at) and time.monotonic() + POLL_SECONDS < deadline and wait(POLL_SECONDS)
    ):
        after = after.again()
        seen(after)
    return _verdict(after, against, objective, changed_at), after


def _samples(evidence: Evidence | Gap, since: datetime) -> list[float]:
    if isinstance(evidence, Gap):
        return []
    start = since.timestamp()
    return [value for one in evidence.series for at, value in one.points() if at > start]


def _holds(evidence: Evidence | Gap, objective: Objective, since: datetime) -> bool:
    newest = _samples(evidence, since)[-GOOD_SAMPLES:]
    return len(newest) == GOOD_SAMPLES and all(value < _limit(objective) for value in newest)


def _limit(objective: Objective) -> float:
    return objective.threshold_seconds if objective.threshold_seconds is not None else objective.error_budget


def _verdict(after: Evidence | Gap, against: Evidence | Gap, objective: Objective, since: datetime) -> Verification:
    unit = "s" if objective.threshold_seconds is not None else "ratio"
    before = Quantity(_worst_before(against, since), unit)
    if isinstance(after, Gap):
        return Verification("unknown", f"could not be read again: {after.reason}", before)
    samples = _samples(after, since)
    refs = tuple(f"{one.key}#{one.digest}" for one in (against, after) if isinstance(one, Evidence))
    if len(samples) < GOOD_SAMPLES:
        sentence = f"only {len(samples)} samples since the change; {GOOD_SAMPLES} are needed"
        return Verification("unknown", sentence, before, None, refs)
    now = Quantity(max(samples[-GOOD_SAMPLES:]), unit)
    held = _holds(after, objective, since)
    limit = format_value(_limit(objective), unit)
    read = seen_from(after.read_at, since, "the change")
    sentence = f"{after.title}: {before} before, {now} after ({read}); the objective is below {limit}"
    return Verification("held" if held else "not_held", sentence, before, now, refs)


def _worst_before(evidence: Evidence | Gap, changed_at: datetime) -> float | None:
    if isinstance(evidence, Gap):
        return None
    end = changed_at.timestamp()
    return max((value for one in evidence.series for at, value in one.points() if at <= end), default=None)
