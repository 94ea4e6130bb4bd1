"""What an open-loop probe saw: requests lost with their 95 % bound, the longest outage, and each phase's latency."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from runbook_lib.analysis.claims import cite, untold
from runbook_lib.model import Evidence, Finding, Gap, Quantity, Role, Severity
from runbook_lib.model.times import clock, from_epoch
from runbook_lib.model.units import format_value

#: One-sided 95 % point of the normal distribution.
_Z = 1.645
#: Above this share of requests that were sent a whole interval late, the probe itself was starved.
MAX_LATE_RATIO = 0.2
LATE_SECONDS = 0.5
#: For a 95th percentile five samples must lie beyond it: fewer than a hundred say nothing.
MIN_SAMPLES = 100
#: A latency that is this much higher, beyond what chance explains, is worse; smaller shifts are noise of a busy host.
WORSE_RATIO = 1.25
_SOURCE = "open-loop probe; bound 3/n without a failure, else Wilson's (domain reference C3)"

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Outage:
    """A run of requests in a row that all failed.

    Args:
        start: epoch seconds at which the first of them was due.
        seconds: from then until the next request that succeeded was due.
        requests: how many failed.
    """

    start: float
    seconds: float
    requests: int


def bound(failures: int, requests: int) -> float:
    """Upper end of the 95 % interval of the share of failures, 0 to 1."""
    if requests == 0:
        return 1.0
    if failures == 0:
        return min(1.0, 3 / requests)
    share, spread = failures / requests, _Z**2 / requests
    centre = share + spread / 2
    return min(1.0, (centre + _Z * math.sqrt(share * (1 - share) / requests + spread / requests / 4)) / (1 + spread))


def outages(rows: Sequence[Row]) -> list[Outage]:
    """The runs of failed requests, in the order of time; ``rows`` are ordered by ``at``."""
    found: list[Outage] = []
    start: float | None = None
    count = 0
    for row in rows:
        if row["error"]:
            start, count = (row["at"] if start is None else start), count + 1
        elif start is not None:
            found.append(Outage(start, row["at"] - start, count))
            start, count = None, 0
    if start is not None:
        found.append(Outage(start, rows[-1]["at"] - start, count))
    return found


def lost_requests(probe: Evidence | Gap, *, changed_at: datetime | None) -> tuple[Finding, ...]:
    """Say how many requests were lost from before a change until after it.

    Args:
        probe: a row for each request of the open-loop probe.
        changed_at: when the change was sent; None when there was none, then nothing is said.

    Returns:
        A symptom when requests were lost, with the longest outage; else that none was, with its bound. Unknown when the
        probe itself was starved.
    """
    if changed_at is None:
        return ()
    if isinstance(probe, Gap):
        return (untold("whether requests were lost", probe),)
    rows = probe.table.records()
    late = sum(float(row["delay_seconds"] or 0) > LATE_SECONDS for row in rows)
    if not rows or late > MAX_LATE_RATIO * len(rows):
        return (untold("whether requests were lost", probe, f"{late} of {len(rows)} requests were sent late"),)
    failures = sum(bool(row["error"]) for row in rows)
    share = Quantity(failures / len(rows), "ratio")
    told = f"{failures} of {len(rows)} requests lost (at most {bound(failures, len(rows)):.3%}, 95 %)"
    if not failures:
        return (Finding("none", Severity.NOTE, told, Role.RULED_OUT, cite(probe), share, threshold_source=_SOURCE),)
    longest = max(outages(rows), key=lambda one: one.seconds)
    words = ", ".join(f"{error} {count} times" for error, count in _counted(rows)[:3])
    when = f"{format_value(longest.seconds, 's')} from {clock(from_epoch(longest.start))} UTC"
    title = f"{told}; longest outage {when}: {words}"
    severity = Severity.CRITICAL if failures / len(rows) > 0.01 else Severity.WARNING
    return (Finding("app.errors", severity, title, Role.SYMPTOM, cite(probe), share, threshold_source=_SOURCE),)


def compared(probe: Evidence | Gap, *, changed_at: datetime | None, complete_at: datetime) -> tuple[Finding, ...]:
    """Compare the latency after a change with that before it, only where both have enough samples.

    Args:
        probe: a row for each request of the open-loop probe.
        changed_at: when the change was sent; None when there was none.
        complete_at: when its rollout was complete, or given up.

    Returns:
        That it is worse, or that it is not, by the interval of each 95th percentile; unknown below 100 samples a side.
    """
    if changed_at is None or isinstance(probe, Gap):
        return ()
    rows = [row for row in probe.table.records() if not row["error"]]
    before = sorted(_latency(row) for row in rows if _at(row) < changed_at.timestamp())
    after = sorted(_latency(row) for row in rows if _at(row) >= complete_at.timestamp())
    if min(len(before), len(after)) < MIN_SAMPLES:
        reason = f"{len(before)} requests before and {len(after)} after; {MIN_SAMPLES} of each are needed"
        return (Finding("unknown", Severity.NOTE, f"latency is not compared: {reason}", Role.CONTEXT, cite(probe)),)
    low, high = _interval(before), _interval(after)
    p95 = [_quantile(before), _quantile(after)]
    told = f"p95 {format_value(p95[0], 's')} before and {format_value(p95[1], 's')} after the change"
    told += f" ({len(before)} and {len(after)} requests)"
    observed = Quantity(p95[1], "s")
    if high[0] > low[1] and p95[1] > WORSE_RATIO * p95[0]:
        return (Finding("app.bad_release", Severity.WARNING, f"slower since the change: {told}", Role.CAUSE,
                        cite(probe), observed, Quantity(WORSE_RATIO * p95[0], "s"), _SOURCE),)  # fmt: skip
    return (Finding("app.bad_release", Severity.NOTE, f"not slower: {told}", Role.RULED_OUT, cite(probe), observed),)


def _interval(values: Sequence[float]) -> tuple[float, float]:
    """Distribution-free 95 % interval of the 95th percentile, by order statistics; ``values`` are sorted."""
    n, q = len(values), 0.95
    spread = 1.96 * math.sqrt(n * q * (1 - q))
    first, last = math.floor(n * q - spread), math.ceil(n * q + spread)
    return values[max(first, 0)], values[min(last, n - 1)]


def _quantile(values: Sequence[float]) -> float:
    return values[min(len(values) - 1, math.ceil(0.95 * len(values)) - 1)]


def _counted(rows: Iterable[Row]) -> list[tuple[str, int]]:
    counts: dict[str, int] = {}
    for row in rows:
        if row["error"]:
            counts[str(row["error"])] = counts.get(str(row["error"]), 0) + 1
    return sorted(counts.items(), key=lambda item: -item[1])


def _at(row: Row) -> float:
    return float(row["at"])


def _latency(row: Row) -> float:
    return float(row["latency_seconds"])
