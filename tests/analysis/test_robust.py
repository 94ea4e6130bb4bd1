"""Odd input: NaN, infinities, holes, other units, other orders, rows of nonsense."""

from __future__ import annotations

import math
import random
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runbook_lib import analysis
from runbook_lib.model import Evidence, Finding, Role, Series

from .builders import AVAILABILITY, END, LATENCY, document, evidence, gap, latency, line, mapped, series, table, traffic

NOW = END.timestamp()
SAMPLES = st.lists(
    st.tuples(st.floats(-4000, 60), st.floats(allow_nan=True, allow_infinity=True, width=32)),
    max_size=12,
    unique_by=lambda p: p[0],
)
FINITE = st.floats(allow_nan=False, allow_infinity=False, width=32)
DOCUMENT = st.one_of(st.none(), st.booleans(), st.text(max_size=3), FINITE)  # a JSON object holds no NaN
CELLS = st.one_of(st.none(), st.booleans(), st.integers(-5, 5), st.floats(), st.text(max_size=3))


@st.composite
def any_series(draw: st.DrawFn) -> Evidence:
    """Evidence of a few series with any values at any times."""
    label = draw(st.sampled_from(["pod", "dependency", "state"]))
    lines = draw(st.dictionaries(st.sampled_from(["postgres", "redis", "wanted", "available"]), SAMPLES, max_size=3))
    return series("any", "s", {k: [(NOW + t, v) for t, v in sorted(points)] for k, points in lines.items()}, label)


@st.composite
def any_table(draw: st.DrawFn) -> Evidence:
    """A table with the names that the analyses read and nonsense in every cell."""
    names = ["pid", "state", "query_seconds", "state_seconds", "root_pid", "victim_pid", "waited_seconds", "calls",
             "total_seconds", "earlier_mean_seconds", "name", "ready", "restarts", "reason", "started_at", "image",
             "at", "seconds", "command", "revision", "relation", "seq_scans", "seq_rows", "application"]  # fmt: skip
    rows = draw(st.lists(st.dictionaries(st.sampled_from(names), CELLS, max_size=8), max_size=4))
    return table("any", "any", rows)


ANSWERS: st.SearchStrategy[Any] = st.one_of(
    any_series(),
    any_table(),
    st.dictionaries(
        st.sampled_from(["replicas", "available", "used", "usable", "status", "checks"]), DOCUMENT, max_size=4
    ).map(lambda fields: document("any", "any", **fields)),
    st.just(gap("any", "any")),
    st.just(evidence("any", "any", ())),
)

EVERY: dict[str, Callable[..., Any]] = {
    "objective_breached": lambda a, b, *_: analysis.objective_breached(a, LATENCY, traffic=b),
    "errors": lambda a, b, *_: analysis.errors(a, AVAILABILITY, traffic=b),
    "shifted_after": lambda a, b, *_: analysis.shifted_after(a, b),
    "driven_by": lambda a, b, *_: analysis.driven_by(a, b),
    "saturated": lambda a, b, c, d: analysis.saturated(a, b, time_in_dependencies=c, traffic=d),
    "pool": lambda a, b, c, d: analysis.pool(a, b, waiting=c, time_in_dependencies=d, traffic=a),
    "dependencies": lambda a, b, c, _d: analysis.dependencies(a, b, traffic=c),
    "database": lambda a, b, c, d: analysis.database(a, b, c, d, a),
    "cache": lambda a, b, c, _d: analysis.cache(a, b, c),
    "replicas": lambda a, b, c, d: analysis.replicas(a, b, c, restarts=d),
    "health": lambda a, *_: analysis.health(a),
}


@pytest.mark.parametrize("name", EVERY)
@settings(deadline=None, max_examples=25)
@given(data=st.data())
def test_no_answer_makes_an_analysis_raise(name: str, data: st.DataObject) -> None:
    """Whatever a source says, an analysis says something about it and its findings can be written down."""
    found = EVERY[name](*(data.draw(ANSWERS) for _ in range(4)))
    findings = (found,) if isinstance(found, Finding) else found
    assert findings
    for one in findings:
        one.to_json()
    analysis.conclude(analysis.weigh(findings), [])


STEP_UP = latency(line(0.05, 0.6, ago=600, noise=0.2))
SURGE = traffic(line(20, 60, ago=610))
PODS = series(
    "cpu_of_limit", "ratio", {name: line(0.1, 0.97, ago=600, noise=0.02, seed=i) for i, name in enumerate("abc")}
)
CALLS = series("waits", "s", {"payments": line(0.01, 0.5), "redis": line(0.001), "postgres": line(0.004)}, "dependency")


def diagnosis(change: Callable[[Evidence], Evidence]) -> list[tuple[str, str]]:
    """What the analyses say of one incident, drawn in another way."""
    quiet = gap("prometheus", "dependency_errors_per_second", needed=False)
    found = [
        analysis.objective_breached(change(STEP_UP), LATENCY),
        *analysis.driven_by(change(STEP_UP), change(SURGE)),
        *analysis.saturated(change(PODS), gap("prometheus", "throttled_ratio", needed=False)),
        *analysis.dependencies(change(CALLS), quiet),
    ]
    return [(one.cause, str(one.role)) for one in analysis.weigh(found)]


def shuffled(given: Evidence) -> Evidence:
    """The same series in another order."""
    data = list(given.series)
    random.Random(7).shuffle(data)
    return evidence(given.source, given.name, tuple(data), given.unit)


def with_nan(given: Evidence) -> Evidence:
    """Every fifth sample is no number."""
    index = {t: i for i, t in enumerate(sorted({t for one in given.series for t in one.times}))}
    return mapped(given, lambda t, v: (t, math.nan if index[t] % 5 == 2 else v))


def with_holes(given: Evidence) -> Evidence:
    """Every fifth sample is missing."""
    data = tuple(Series.of([p for i, p in enumerate(one.points()) if i % 5 != 2], one.labels) for one in given.series)
    return evidence(given.source, given.name, data, given.unit)


@pytest.mark.parametrize("change", [shuffled, with_nan, with_holes], ids=["shuffled", "NaN", "holes"])
def test_the_way_an_incident_is_drawn_does_not_matter(change: Callable[[Evidence], Evidence]) -> None:
    """The order of series, samples that are no numbers, and missing ones leave the diagnosis as it was."""
    plain = diagnosis(lambda given: given)
    assert ("traffic.surge", "cause") == plain[0]
    assert plain == diagnosis(change)


def test_no_healthy_word_from_nothing() -> None:
    """When every source is a gap, nothing is ruled out and the verdict is unknown."""
    nothing = gap("any", "any")
    found: list[Finding] = []
    for every in EVERY.values():
        one = every(nothing, nothing, nothing, nothing)
        found.extend((one,) if isinstance(one, Finding) else one)
    assert not [one for one in found if one.role is Role.RULED_OUT]
    assert "unknown" == analysis.conclude(analysis.weigh(found), [nothing])


def test_the_public_names_are_exactly_these() -> None:
    """Every public name resolves, and the list is in order."""
    assert sorted(analysis.__all__) == analysis.__all__
    assert all(callable(getattr(analysis, name)) for name in analysis.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    """A misspelt analysis fails as any missing attribute does."""
    with pytest.raises(AttributeError, match="databse"):
        analysis.databse  # noqa: B018


def test_analyses_import_nothing_heavy() -> None:
    """Importing every analysis loads neither pandas nor numpy."""
    code = "import sys; from runbook_lib import analysis; [getattr(analysis, n) for n in analysis.__all__]; "
    code += "print(sorted({'pandas', 'numpy', 'plotly', 'httpx'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert "[]" == done.stdout.strip()


def test_a_frame_has_a_row_for_each_time() -> None:
    """Series become columns by label over a UTC index."""
    table_of = analysis.frame(PODS)
    assert (240, ["pod=a", "pod=b", "pod=c"]) == (len(table_of), list(table_of.columns))
    assert "UTC" == str(table_of.index.tz)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("given", "shape"),
    [(table("a", "b", [{"x": 1, "y": 2}]), (1, 2)), (document("a", "b", x=1), (1, 2)), (gap("a", "b"), (0, 0))],
    ids=["table", "document", "gap"],
)
def test_other_answers_have_frames_too(given: Evidence, shape: tuple[int, int]) -> None:
    """A table keeps its columns, a document becomes fields and values, a gap is empty."""
    assert shape == analysis.frame(given).shape
