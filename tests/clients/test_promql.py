"""The builder of PromQL: values cannot change the question."""

from __future__ import annotations

import math
import re

import promql_parser
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbook_lib.clients import _promql as promql
from runbook_lib.errors import CatalogError, ParameterError
from runbook_lib.queries import load, metric_names

NASTY = ['"', "\\", "\n", '"} or vector(1) #', "`", "{}", "$name", "\x00", "\u2028", "é", "-", "a\\", "'"]


@given(st.text(st.characters(exclude_categories=["Cs"])) | st.sampled_from(NASTY))
def test_label_value_arrives_as_it_was(value):
    """Whatever the value holds, a parser reads one selector with one matcher of just that value."""
    parsed = promql_parser.parse(f"up{{{promql.matchers({'pod': value})}}}")
    assert isinstance(parsed, promql_parser.VectorSelector)
    assert [("pod", value)] == [(m.name, m.value) for m in parsed.matchers.matchers]


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20))
def test_pattern_matches_only_its_text(value):
    """A quoted pattern matches the text it was made of, and nothing longer."""
    compiled = re.compile(promql.pattern(value))
    assert compiled.fullmatch(value)
    assert not compiled.fullmatch(value + "x")


@pytest.mark.parametrize(("seconds", "written"), [(60, "60s"), (1.5, "1500ms"), (0.25, "250ms"), (86400, "86400s")])
def test_duration(seconds, written):
    """Durations are whole seconds or milliseconds."""
    assert written == promql.duration(seconds)


@pytest.mark.parametrize("seconds", [0, -1, math.nan, math.inf], ids=str)
def test_duration_must_be_one(seconds):
    """A duration that is none is refused."""
    with pytest.raises(ParameterError):
        promql.duration(seconds)


@pytest.mark.parametrize("value", [math.nan, math.inf, True, None], ids=str)
def test_scalar_must_be_finite(value):
    """What has no form in PromQL is refused."""
    with pytest.raises(ParameterError):
        promql.scalar(value)


def test_text_without_utf8_form_is_refused():
    """A lone surrogate cannot be sent."""
    with pytest.raises(ParameterError):
        promql.text("\ud800")


def test_selector_names_at_least_one_label():
    """An empty selector would read everybody's data."""
    with pytest.raises(CatalogError, match="at least one label"):
        promql.matchers({})


@pytest.mark.parametrize("name", [n for n, q in load("prometheus").items() if not q.text.startswith("GET ")])
def test_every_query_parses(name):
    """Each query of the file is PromQL once its placeholders are filled."""
    query = load("prometheus")[name]
    values = dict(metric_names())
    values |= {key: promql.scalar(value) for key, value in query.bind({}).items()}
    values |= {"selector": 'service="api"', "pods": 'pod=~"a-.*"', "workload": 'deployment="a"', "range": "60s"}
    assert promql_parser.parse(promql.fill(query.text, values)) is not None
