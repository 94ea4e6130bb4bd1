"""Requests lost, the bound on their share, outages at their size, and the latency before and after."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest

from runbook_lib.analysis import compared, lost_requests
from runbook_lib.analysis.downtime import bound, outages
from runbook_lib.model import Evidence, Role, Severity, Table
from runbook_lib.model.times import from_epoch

from .builders import END, evidence, gap

COLUMNS = ("at", "delay_seconds", "lane", "status_code", "latency_seconds", "version", "error", "reopened")
RATE = 50.0


def probe(
    seconds: float, *, lost: tuple[float, float] = (0, 0), after: float = 0.02, delay: float = 0.0, seed: int = 1
) -> Evidence:
    """A probe of that length whose change is in its middle; requests due within ``lost`` fail."""
    rng, start = random.Random(seed), END.timestamp()
    rows = []
    for number in range(int(seconds * RATE)):
        at = number / RATE
        failed = lost[0] <= at < lost[1]
        latency = rng.lognormvariate(0, 0.3) * (0.02 if at < seconds / 2 else after)
        told = "Connection refused" if failed else ""
        rows.append((start + at, delay, "new", None if failed else 200, latency, "v2", told, False))
    return evidence("service", "open_loop", Table(COLUMNS, tuple(rows)), windowed=False)


def test_no_loss_is_said_with_its_bound() -> None:
    """0 of 3000 is at most 0.1 %, never "no downtime"."""
    (found,) = lost_requests(probe(60), changed_at=END)
    assert (Role.RULED_OUT, "0 of 3000 requests lost (at most 0.100%, 95 %)") == (found.role, found.title)


@pytest.mark.parametrize(
    ("failures", "requests", "expected"),
    [(0, 3000, 0.001), (0, 0, 1.0), (0, 2, 1.0), (10, 1000, 0.0165), (5, 5, 1.0)],
)
def test_bound(failures: int, requests: int, expected: float) -> None:
    """3/n without a failure, Wilson's upper end otherwise; nothing asked bounds nothing."""
    assert expected == pytest.approx(bound(failures, requests), rel=0.01)


@pytest.mark.parametrize("seconds", [0.04, 0.1, 0.5, 1.0])
def test_outage_is_sized(seconds: float) -> None:
    """An outage is found at its size, within one interval of the probe."""
    for seed in range(20):
        start = random.Random(seed).uniform(1, 8)
        (one,) = outages(probe(10, lost=(start, start + seconds)).table.records())
        assert seconds == pytest.approx(one.seconds, abs=1 / RATE + 1e-6)


def test_lost_requests_are_a_symptom() -> None:
    """What was lost is told with count, time and reason."""
    (found,) = lost_requests(probe(60, lost=(30, 31)), changed_at=END)
    assert (Severity.CRITICAL, Role.SYMPTOM) == (found.severity, found.role)
    assert "50 of 3000 requests lost" in found.title
    assert "Connection refused 50 times" in found.title


def test_starved_probe_says_nothing() -> None:
    """A probe that was itself late does not call the service good, and without a change nothing is said."""
    (found,) = lost_requests(probe(60, delay=0.8), changed_at=END)
    assert Severity.UNKNOWN == found.severity
    assert Severity.UNKNOWN == lost_requests(gap("service", "open_loop"), changed_at=END)[0].severity
    assert () == lost_requests(probe(60), changed_at=None)


@pytest.mark.parametrize(("after", "worse"), [(0.02, False), (0.022, False), (0.05, True)])
def test_latency_is_compared(after: float, worse: bool) -> None:
    """Twice as slow is worse; a tenth more is within what a busy host does."""
    change = END + timedelta(seconds=10)
    (found,) = compared(probe(20, after=after), changed_at=change, complete_at=change)
    assert worse is (found.role is Role.CAUSE)


def test_few_samples_are_not_compared() -> None:
    """Fewer than a hundred requests a side say nothing about a 95th percentile."""
    change = from_epoch(END.timestamp() + 1)
    (found,) = compared(probe(10, after=0.5), changed_at=change, complete_at=change)
    assert (Role.CONTEXT, True) == (found.role, "100 of each are needed" in found.title)
