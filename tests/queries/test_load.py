"""Query files: what is in them, and how a wrong one is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

import runbook_lib.queries
from runbook_lib.errors import CatalogError, ParameterError, UnknownNameError
from runbook_lib.queries import load, metric_names, parse

GOOD = '[up]\ntitle = "Up"\ndescription = "Is it up?"\ntext = "up{$selector}"\n'
SOURCES = sorted(one.stem for one in Path(runbook_lib.queries.__file__).parent.glob("*.toml"))


@pytest.mark.parametrize("source", [source for source in SOURCES if source != "metric_names"])
def test_every_file_of_the_library_loads(source):
    """Each file passes its own schema, and each query says what it tells."""
    queries = load(source)
    assert queries
    assert all(query.source == source and query.title and query.description for query in queries.values())


def test_metric_names_are_names():
    """Every default is the name of a metric or label."""
    assert "http_request_duration_seconds" == metric_names()["latency_histogram"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[up", "is not TOML"),
        (GOOD.replace("title", "titel"), "Did you mean 'title'"),
        (GOOD.replace("description", "# "), "f.toml: up.description: is missing"),
        (GOOD + 'unit = "ms"\n', "'ms' is no unit"),
        (GOOD + "needed = 1\n", "must be bool"),
        (GOOD.replace("$selector", "$selectr"), r"Did you mean \$selector"),
        (GOOD.replace("[up]", "[Up-2]"), "lower case letters"),
        ('up = "x"\n', "must be a table"),
        (GOOD + '[up.parameters.q]\ntype = "flot"\ndefault = 1\ndescription = "q"\n', "is no type"),
        (GOOD + '[up.parameters.q]\ntype = "int"\ndefault = "1"\ndescription = "q"\n', "q must be int"),
        (GOOD + '[up.parameters.q]\ntype = "int"\n', "up.parameters.q.default: is missing"),
        (GOOD + "[up.parameters]\nq = 1\n", "must be a table"),
    ],
)
def test_wrong_file_is_refused(text, words):
    """The error names the file, the key and what is allowed."""
    with pytest.raises(CatalogError, match=words):
        parse("prometheus", text, "f.toml")


def test_unknown_source_offers_the_nearest():
    """A misspelt source is refused with the nearest one."""
    with pytest.raises(UnknownNameError, match="Did you mean 'prometheus'"):
        load("promethus")


def test_parameters_are_checked_and_filled():
    """Values get their declared type, missing ones their default, unknown ones an error."""
    query = load("prometheus")["latency_seconds"]
    assert {"quantile": 0.95} == query.bind({})
    assert {"quantile": 1.0} == query.bind({"quantile": 1})
    with pytest.raises(ParameterError, match="at most 1"):
        query.bind({"quantile": 2})
    with pytest.raises(UnknownNameError, match="quantile"):
        query.bind({"quantil": 0.5})
