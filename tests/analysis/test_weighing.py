"""Root causes before what they do, and the verdict."""

from __future__ import annotations

import itertools
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runbook_lib import analysis
from runbook_lib.analysis.conditions import Scene
from runbook_lib.analysis.rules import RULES
from runbook_lib.model import CAUSES, Finding, Gap, Role, Severity, Verdict

from .builders import END, gap

KNOWN = [cause for cause in CAUSES if cause not in {"none", "unknown"}]
SYMPTOM = Finding("unknown", Severity.CRITICAL, "p95 is 600 ms", Role.SYMPTOM, since=END - timedelta(minutes=5))
CALM = Finding("none", Severity.NOTE, "p95 is 50 ms", Role.RULED_OUT)


def cause(name: str, *, ago: float | None = 300, confidence: float = 0.8, **subject: Any) -> Finding:
    """A claim that began ``ago`` seconds before the end."""
    since = END - timedelta(seconds=ago) if ago is not None else None
    return Finding(name, Severity.CRITICAL, name, since=since, confidence=confidence, subject=subject)


def roots(*findings: Finding, gaps: tuple[Gap, ...] = ()) -> list[str]:
    """The root causes, strongest first, beside a service that is slow."""
    return [one.cause for one in analysis.weigh([SYMPTOM, *findings], gaps) if one.role is Role.CAUSE]


POOL = cause("db.connections_saturated", scope="pool", confidence=0.5)
SERVER = cause("db.connections_saturated", scope="server", idle_share=0.9)
RELEASE = cause("app.bad_release", coincides=True, prompt=True)
SLOW_DATABASE = cause("dependency.slow", dependency="postgres", confidence=0.4)
PAYMENTS = cause("dependency.slow", dependency="payments")
CPU = cause("app.cpu_bound", work_factor=1.0)
DEARER = cause("app.cpu_bound", work_factor=2.5)


@pytest.mark.parametrize(
    ("findings", "expected"),
    [
        ((cause("db.lock_contention", pid=1), POOL, SLOW_DATABASE), ["db.lock_contention"]),
        ((cause("db.idle_in_transaction", pid=1), cause("db.lock_contention", pid=1)), ["db.idle_in_transaction"]),
        ((cause("db.slow_query"), SLOW_DATABASE, POOL, cause("app.errors")), ["db.slow_query"]),
        ((SERVER, POOL, SLOW_DATABASE, cause("db.unreachable")), ["db.connections_saturated"]),
        ((cause("app.crash_loop"), RELEASE, cause("app.replicas_missing")), ["app.crash_loop"]),
        ((RELEASE, CPU), ["app.bad_release"]),
        ((RELEASE, cause("app.errors")), ["app.bad_release"]),
        ((RELEASE, cause("db.long_query", pid=1)), ["db.long_query"]),
        ((RELEASE, cause("db.idle_in_transaction", pid=1, own=True), POOL), ["app.bad_release"]),
        ((RELEASE, PAYMENTS), ["dependency.slow"]),
        ((RELEASE, cause("traffic.surge"), CPU), ["traffic.surge"]),
        ((cause("traffic.surge"), CPU, POOL), ["traffic.surge"]),
        ((cause("app.replicas_missing"), CPU), ["app.replicas_missing"]),
        ((CPU, SLOW_DATABASE, cause("db.unreachable")), ["app.cpu_bound"]),
        ((cause("redis.slow"), cause("redis.unreachable"), POOL), ["redis.slow"]),
        ((cause("redis.evicting"), SLOW_DATABASE), ["redis.evicting"]),
        ((PAYMENTS, POOL, cause("app.errors")), ["dependency.slow"]),
    ],
    ids=[
        "a lock, not the pool behind it",
        "the idle session, not the lock it holds",
        "the statement, not what waits for it",
        "the full server, not the pool that gets nothing",
        "the crash, not the release or the missing pods",
        "the release, not the processor time it takes",
        "the release, not its errors",
        "the session, not the release that coincides",
        "the release, not the transactions that it leaves open",
        "the dependency, not the release that coincides",
        "the traffic, not the release that coincides",
        "the traffic, not the load it makes",
        "the missing pods, not the load on the rest",
        "the starved process, not the calls it is slow to read",
        "the slow cache, not calls that time out",
        "the evicting cache, not the database it falls back to",
        "the dependency, not the requests that wait",
    ],
)
def test_the_root_comes_before_its_victims(findings: tuple[Finding, ...], expected: list[str]) -> None:
    """Of a cause and its effects only the cause is a root."""
    assert expected == roots(*findings)


@pytest.mark.parametrize(
    ("findings", "expected"),
    [
        ((cause("db.long_query", pid=1), CPU), {"db.long_query", "app.cpu_bound"}),
        ((PAYMENTS, cause("redis.slow")), {"dependency.slow", "redis.slow"}),
        ((RELEASE, DEARER, cause("traffic.surge")), {"app.bad_release", "traffic.surge"}),
        ((RELEASE, CPU, cause("db.long_query", pid=1)), {"app.bad_release", "db.long_query"}),
        ((cause("db.long_query", pid=1), cause("db.lock_contention", pid=2)), {"db.long_query", "db.lock_contention"}),
        ((PAYMENTS, cause("dependency.slow", dependency="search")), {"dependency.slow"}),
        ((SERVER, cause("db.slow_query")), {"db.connections_saturated", "db.slow_query"}),
    ],
    ids=["query and processor", "dependency and cache", "release and surge", "release and query", "two sessions",
         "two dependencies", "idle connections and a statement"],
)  # fmt: skip
def test_independent_causes_are_both_named(findings: tuple[Finding, ...], expected: set[str]) -> None:
    """What no rule connects stays a root of its own."""
    assert expected == set(roots(*findings))


def test_a_late_root_does_not_explain_what_came_before() -> None:
    """A surge ten minutes after the processors were full did not fill them."""
    assert {"traffic.surge", "app.cpu_bound"} == set(
        roots(cause("traffic.surge", ago=60), cause("app.cpu_bound", ago=900))
    )


def test_a_release_of_some_time_ago_is_no_prompt_explanation() -> None:
    """A release that served well for minutes does not explain the load away; both are named, the load first."""
    late = cause("app.bad_release", coincides=True, prompt=False, confidence=0.55)
    assert ["app.cpu_bound", "app.bad_release"] == roots(late, CPU)


def test_an_outage_is_sure_when_the_system_is_silent_to_us_too() -> None:
    """Failing calls to a database that does not answer us are an outage, and a release beside it coincides."""
    found = analysis.weigh([SYMPTOM, cause("db.unreachable", confidence=0.5), RELEASE], [gap("postgres", "activity")])
    assert ("db.unreachable", 0.95) == (found[0].cause, found[0].confidence)
    assert ["db.unreachable"] == [one.cause for one in found if one.role is Role.CAUSE]


def test_a_cache_that_is_full_is_not_gone() -> None:
    """A connection refused for want of room comes from a cache that is there."""
    full = Gap("redis", "info", "info", "cannot be reached: max number of clients reached", "unreachable", True, END)
    assert ["redis.saturated"] == roots(cause("redis.saturated"), cause("redis.unreachable"), gaps=(full,))


def test_a_release_that_asks_at_the_wrong_address_is_the_root() -> None:
    """When the database answers us and the new release cannot reach it, the release is at fault."""
    assert ["app.bad_release"] == roots(RELEASE, cause("db.unreachable"))


def test_the_symptom_takes_the_first_root_as_its_cause() -> None:
    """The symptom names the cause, and stays unknown where none was found."""
    named = next(one for one in analysis.weigh([SYMPTOM, CPU]) if one.role is Role.SYMPTOM)
    alone = next(one for one in analysis.weigh([SYMPTOM]) if one.role is Role.SYMPTOM)
    assert ("app.cpu_bound", "unknown") == (named.cause, alone.cause)


@pytest.mark.parametrize("claim", [CPU, RELEASE, cause("traffic.surge")], ids=lambda one: one.cause)
def test_a_coincidence_without_a_symptom_is_context(claim: Finding) -> None:
    """Busy processors, a release and more traffic harm nobody while the objective is kept."""
    found = analysis.weigh([CALM, claim])
    assert (Role.CONTEXT, Severity.NOTE) == next((one.role, one.severity) for one in found if one.cause == claim.cause)


def test_a_mechanism_without_a_symptom_is_a_warning() -> None:
    """A long query beside a service that keeps its objective is worth a word, not a page."""
    found = analysis.weigh([CALM, cause("db.long_query", pid=1)])[0]
    assert (Role.CAUSE, Severity.WARNING) == (found.role, found.severity)


def test_what_one_look_finds_another_does_not_rule_out() -> None:
    """A cause that is claimed is not listed as ruled out as well."""
    out = Finding("app.bad_release", Severity.NOTE, "errors did not rise", Role.RULED_OUT)
    assert not [one for one in analysis.weigh([SYMPTOM, RELEASE, out]) if one.role is Role.RULED_OUT]


ANY = st.lists(
    st.builds(
        cause,
        st.sampled_from(KNOWN),
        ago=st.one_of(st.none(), st.floats(0, 3600)),
        confidence=st.floats(0, 1),
        scope=st.sampled_from(["pool", "server"]),
        dependency=st.sampled_from(["postgres", "redis", "payments"]),
        pid=st.integers(1, 3),
        prompt=st.booleans(),
        scaled_down=st.booleans(),
        work_factor=st.sampled_from([1.0, 3.0]),
    ),
    min_size=1,
    max_size=7,
)
GAPS = st.lists(st.sampled_from([gap("postgres", "activity"), gap("redis", "info")]), max_size=2)


@settings(deadline=None)
@given(ANY, GAPS, st.randoms(use_true_random=False))
def test_the_order_of_findings_does_not_matter(findings: list[Finding], gaps: list[Gap], random: Any) -> None:
    """Any permutation weighs the same."""
    shuffled = [SYMPTOM, *findings]
    random.shuffle(shuffled)
    assert analysis.weigh([SYMPTOM, *findings], gaps) == analysis.weigh(shuffled, gaps)


@settings(deadline=None)
@given(ANY, GAPS)
def test_weighing_twice_changes_nothing(findings: list[Finding], gaps: list[Gap]) -> None:
    """A weighed set is at rest."""
    once = analysis.weigh([SYMPTOM, *findings], gaps)
    assert once == analysis.weigh(once, gaps)


@settings(deadline=None)
@given(ANY, GAPS)
def test_trouble_always_keeps_a_root(findings: list[Finding], gaps: list[Gap]) -> None:
    """However causes explain one another, at least one remains as the root."""
    assert roots(*findings, gaps=tuple(gaps))


@settings(deadline=None)
@given(ANY, GAPS)
def test_no_claim_is_lost(findings: list[Finding], gaps: list[Gap]) -> None:
    """What is explained stays in sight."""
    weighed = {one.cause for one in analysis.weigh(findings, gaps)}
    assert {one.cause for one in findings} == weighed


SUBJECTS: list[dict[str, Any]] = [
    {"scope": scope, "idle_share": idle, "dependency": dependency, "pid": 1, "prompt": prompt, "unready": unready}
    for scope in ("pool", "server")
    for idle in (0.1, 0.9)
    for dependency in ("postgres", "redis", "payments")
    for prompt in (True, False)
    for unready in (True, False)
]


@pytest.mark.parametrize("gaps", [(), (gap("postgres", "a"),), (gap("redis", "a"),)], ids=["all", "no db", "no cache"])
def test_no_two_causes_explain_each_other(gaps: tuple[Gap, ...]) -> None:
    """Of two causes one is the root: none is explained away by what it explains."""
    for one, other in itertools.combinations(KNOWN, 2):
        there = [rule for rule in RULES if one in rule.roots and other in rule.victims]
        back = [rule for rule in RULES if other in rule.roots and one in rule.victims]
        for a, b in itertools.product(SUBJECTS, SUBJECTS) if there and back else ():
            left, right = cause(one, **a), cause(other, **b)
            scene = Scene((left, right), gaps)
            both = any(rule.explains(left, right, scene) for rule in there)
            both = both and any(rule.explains(right, left, scene) for rule in back)
            assert not both, f"{one} {a} and {other} {b}"


def test_rules_speak_of_known_causes_only() -> None:
    """Every cause of every rule is in the vocabulary."""
    assert {cause for rule in RULES for cause in (*rule.roots, *rule.victims)} <= set(KNOWN)


WARNING = Finding("db.long_query", Severity.WARNING, "x")
UNTOLD = Finding("unknown", Severity.UNKNOWN, "x")


@pytest.mark.parametrize(
    ("findings", "gaps", "expected"),
    [
        ([CALM], [], Verdict.HEALTHY),
        ([CALM], [gap("redis", "info", needed=False)], Verdict.HEALTHY),
        ([CALM], [gap("postgres", "activity")], Verdict.UNKNOWN),
        ([CALM, UNTOLD], [], Verdict.UNKNOWN),
        ([CALM, WARNING], [], Verdict.DEGRADED),
        ([CALM, WARNING], [gap("postgres", "activity")], Verdict.UNKNOWN),
        ([SYMPTOM], [gap("postgres", "activity")], Verdict.FAILING),
        ([SYMPTOM, WARNING], [], Verdict.FAILING),
        ([], [], Verdict.UNKNOWN),
    ],
    ids=["all well", "an idle gap", "a needed gap", "an untold question", "a warning", "a warning and a needed gap",
         "a symptom and a gap", "a symptom", "nothing asked"],
)  # fmt: skip
def test_the_verdict(findings: list[Finding], gaps: list[Gap], expected: Verdict) -> None:
    """Healthy needs everything read and nothing found; a proven symptom needs no more."""
    assert expected is analysis.conclude(findings, gaps)
