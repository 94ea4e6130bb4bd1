"""Processors, pools and dependencies."""

from __future__ import annotations

import pytest

from runbook_lib import analysis
from runbook_lib.model import Evidence, Finding, Role, Severity

from .builders import END, gap, latency, line, series, traffic

NOW = END.timestamp()
PODS = ("a", "b", "c")
Points = list[tuple[float, float]]


def by_pod(name: str, unit: str, *lines: Points) -> Evidence:
    """One line for each pod."""
    return series(name, unit, dict(zip(PODS, lines, strict=False)))


def cpu(*lines: Points) -> Evidence:
    """Processor time over the limit."""
    return by_pod("cpu_of_limit", "ratio", *lines)


def throttled(*lines: Points) -> Evidence:
    """Share of throttled periods."""
    return by_pod("throttled_ratio", "ratio", *lines)


def claims(found: tuple[Finding, ...]) -> list[str]:
    """The causes that are claimed."""
    return [one.cause for one in found if one.role is Role.CAUSE]


CALM, BUSY = line(0.1), line(0.1, 0.97, ago=300, noise=0.02)
FREE, HELD = line(0.01), line(0.01, 0.6, ago=300)


@pytest.mark.parametrize(
    ("use", "stopped"),
    [((BUSY,) * 3, (FREE,) * 3), ((CALM,) * 3, (HELD,) * 3), ((BUSY, BUSY, CALM), (HELD, HELD, FREE))],
    ids=["at the limit", "throttled below it", "two pods of three"],
)
def test_pods_at_their_limit_are_cpu_bound(use: tuple[Points, ...], stopped: tuple[Points, ...]) -> None:
    """Use at the limit or throttling in most pods is CPU bound, whichever of the two shows it."""
    assert ["app.cpu_bound"] == claims(analysis.saturated(cpu(*use), throttled(*stopped)))


@pytest.mark.parametrize(
    ("use", "stopped"),
    [((CALM,) * 3, (FREE,) * 3), ((BUSY, CALM, CALM), (HELD, FREE, FREE)), ((line(0.8),) * 3, (line(0.2),) * 3)],
    ids=["idle", "one hot pod", "below both limits"],
)
def test_pods_below_their_limit_rule_it_out(use: tuple[Points, ...], stopped: tuple[Points, ...]) -> None:
    """Idle pods, one hot pod of three, and high but free use are no CPU-bound service."""
    (found,) = analysis.saturated(cpu(*use), throttled(*stopped))
    assert Role.RULED_OUT is found.role
    assert found.threshold_source


def test_pods_that_are_gone_do_not_count() -> None:
    """After a rollout the idle pods of before do not hide that the new ones are at their limit."""
    old = [(t, v) for t, v in CALM if t < NOW - 60]
    use = series("cpu_of_limit", "ratio", {"old1": old, "old2": old, "old3": old, "new1": BUSY})
    found = analysis.saturated(use, throttled())[0]
    assert ["new1"] == found.subject["pods"]


def test_one_of_the_two_measures_is_enough() -> None:
    """Without throttling figures, use alone decides."""
    assert ["app.cpu_bound"] == claims(analysis.saturated(cpu(BUSY, BUSY), gap("prometheus", "throttled_ratio")))


@pytest.mark.parametrize(
    "given",
    [
        (gap("prometheus", "cpu_of_limit"), gap("prometheus", "throttled_ratio")),
        (cpu(), throttled()),
        (cpu([(t, v) for t, v in BUSY if t < NOW - 900]), throttled()),
    ],
    ids=["gaps", "no limit set", "stale"],
)
def test_no_measure_is_unknown(given: tuple[Evidence, Evidence]) -> None:
    """Without a limit, or without samples, nothing is said about CPU."""
    assert Severity.UNKNOWN is analysis.saturated(*given)[0].severity


def test_dearer_requests_show_in_the_work_factor() -> None:
    """Twice the processor time at the same traffic is twice the work for each request."""
    use = line(0.45, 0.95, ago=300, noise=0.02)
    found = analysis.saturated(cpu(use, use), throttled(), traffic=traffic(line(20, noise=0.02)))[0]
    assert pytest.approx(2.1, rel=0.1) == found.subject["work_factor"]


def test_more_requests_do_not_show_in_the_work_factor() -> None:
    """Twice the processor time for twice the traffic is the same work for each request."""
    use, rate = line(0.45, 0.95, ago=300, noise=0.02), line(20, 42, ago=300, noise=0.02)
    assert 1.0 == analysis.saturated(cpu(use, use), throttled(), traffic=traffic(rate))[0].subject["work_factor"]


@pytest.mark.parametrize(
    ("wait_seconds", "use", "expected"),
    [
        (0.01, line(0.15, 0.35, ago=300, noise=0.02), ["app.cpu_bound"]),
        (0.9, line(0.15, 0.35, ago=300, noise=0.02), []),
        (0.01, line(0.15, noise=0.02), []),
    ],
    ids=["starved", "waits for others", "costs no more"],
)
def test_a_crowded_node_is_found_by_elimination(wait_seconds: float, use: Points, expected: list[str]) -> None:
    """Slow requests that cost more and wait for nobody are short of processors, though no pod reaches its limit."""
    waited = series("spent", "count", {"postgres": line(20 * wait_seconds)}, "dependency")
    found = analysis.saturated(
        cpu(use, use, use),
        throttled(FREE, FREE, FREE),
        time_in_dependencies=waited,
        traffic=traffic(line(20, noise=0.02)),
        latency=latency(line(0.05, 2.0, ago=280)),
    )
    assert expected == claims(found)


def waits(**lines: Points) -> Evidence:
    """p95 by dependency."""
    return series("dependency_latency_seconds", "s", lines, "dependency")


def failures(**lines: Points) -> Evidence:
    """Errors a second by dependency."""
    return series("dependency_errors_per_second", "1/s", lines, "dependency")


FAST, SLOW, NONE = line(0.005), line(0.005, 0.5), [(t, 0.0) for t, _ in line(1)]
NO_FAILURES = failures(payments=NONE, postgres=NONE)


def test_the_dependency_that_became_slow_is_named() -> None:
    """One of three that rose to half a second is the culprit; the others are ruled out."""
    found = analysis.dependencies(waits(payments=SLOW, postgres=FAST, redis=FAST), NO_FAILURES)
    assert ["dependency.slow"] == claims(found)
    assert "payments" == next(one for one in found if one.role is Role.CAUSE).subject["dependency"]


def test_dependencies_that_all_rose_together_accuse_nobody() -> None:
    """A starved process sees every call as slow; none of them stands out."""
    given = waits(payments=SLOW, postgres=line(0.004, 0.4), redis=line(0.006, 0.6))
    assert [] == claims(analysis.dependencies(given, NO_FAILURES))


@pytest.mark.parametrize(
    "slow",
    [line(0.005, 0.05), line(0.09, 0.12)],
    ids=["ten times, but far from the objective", "near the objective, but always was"],
)
def test_a_dependency_within_reason_is_ruled_out(slow: Points) -> None:
    """Neither a small absolute latency nor a usual one is a cause."""
    assert [] == claims(analysis.dependencies(waits(payments=slow, redis=FAST), NO_FAILURES))


def test_a_dependency_that_explains_little_is_ruled_out() -> None:
    """Calls of a quarter of a second do not make a service answer in two."""
    given = waits(payments=line(0.005, 0.25), redis=FAST)
    slow = latency(line(0.05, 2.0))
    assert [] == claims(analysis.dependencies(given, NO_FAILURES, service_latency=slow))


def test_a_dependency_slow_for_the_whole_window_is_named() -> None:
    """Without an earlier level to compare with, the slowest one over the limit is the culprit."""
    assert ["dependency.slow"] == claims(analysis.dependencies(waits(payments=line(0.6), redis=FAST), NO_FAILURES))


@pytest.mark.parametrize(
    ("name", "cause"),
    [("postgres", "db.unreachable"), ("redis", "redis.unreachable"), ("payments", "dependency.slow")],
)
def test_calls_that_fail_name_what_cannot_be_reached(name: str, cause: str) -> None:
    """Failing calls are an outage of what they go to."""
    broken = [(t, 0.0 if t < NOW - 300 else 8.0) for t, _ in line(1)]
    found = analysis.dependencies(waits(**{name: FAST}), failures(**{name: broken}), traffic=traffic(line(20)))
    assert [cause] == claims(found)


def test_a_rare_failure_is_no_outage() -> None:
    """One failed call in two hundred is not an outage."""
    found = analysis.dependencies(waits(redis=FAST), failures(redis=line(0.1)), traffic=traffic(line(20)))
    assert [] == claims(found)


def test_gaps_in_dependencies_are_unknown() -> None:
    """Neither question is answered by a gap."""
    missing = gap("prometheus", "dependency_latency_seconds")
    assert [Severity.UNKNOWN] * 2 == [one.severity for one in analysis.dependencies(missing, missing)]


def pool(used: Points) -> Evidence:
    """Share of the pool in use."""
    return by_pod("pool_connections", "ratio", used)


def wait(seconds: Points) -> Evidence:
    """Wait for a connection."""
    return series("pool_wait_seconds", "s", {"": seconds})


FULL, EMPTY = line(0.2, 1.0, ago=300, noise=0), line(0.2)
WAITING, PROMPT = line(0.001, 1.5), line(0.001)


def spent(points: Points) -> Evidence:
    """Seconds per second in the database."""
    return series("dependency_seconds_per_second", "count", {"postgres": points}, "dependency")


def test_a_full_pool_that_is_waited_for_is_saturated() -> None:
    """A full pool with requests waiting is the service's own bottleneck."""
    (found,) = analysis.pool(pool(FULL), wait(WAITING))
    assert ("db.connections_saturated", "pool") == (found.cause, found.subject["scope"])


@pytest.mark.parametrize(
    ("demand", "leak"), [(line(0.2), True), (line(0.2, 4.0), False)], ids=["no more demand", "more demand"]
)
def test_a_full_pool_without_demand_leaks(demand: Points, leak: bool) -> None:
    """By Little's law a pool fills because calls take longer or come more often, or because none comes back."""
    found = analysis.pool(pool(FULL), wait(WAITING), time_in_dependencies=spent(demand), traffic=traffic(line(20)))
    assert leak is found[0].subject["leak"]


@pytest.mark.parametrize(("used", "seconds"), [(EMPTY, PROMPT), (FULL, PROMPT)], ids=["free", "full, but nobody waits"])
def test_a_pool_that_nobody_waits_for_is_ruled_out(used: Points, seconds: Points) -> None:
    """A pool without waiting requests is no bottleneck."""
    assert Role.RULED_OUT is analysis.pool(pool(used), wait(seconds))[0].role


def test_a_pool_that_cannot_be_read_is_unknown() -> None:
    """Without figures nothing is said about the pool."""
    missing = gap("prometheus", "pool_connections")
    assert Severity.UNKNOWN is analysis.pool(missing, missing)[0].severity
