"""Datadog's log search syntax, by the examples of its documentation."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from runbook_lib.lab.vendors import datadog_search
from runbook_lib.lab.vendors.datadog_logs import Line

LINE = Line(
    identity="1",
    moment=datetime(2026, 1, 2, tzinfo=UTC),
    status="error",
    service="flask-web",
    host="node-1",
    message="Authentication failure: hello-world, NETWORK_x is gone",
    attributes={
        "url": "www.datadoghq.com",
        "http": {"status_code": 404, "url": "/api-v1/test", "slow": True, "response_time": 120.5},
        "my_attribute": "hello:world",
        "users": [{"name": "Peter"}, {"name": "Ann"}],
    },
    tags=("env:prod", "version:beta", "canary"),
)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        pytest.param("", True, id="nothing"),
        pytest.param("  * ", True, id="everything"),
        pytest.param("*:*", True, id="everything with a key"),
        pytest.param("authentication AND failure", True, id="both words"),
        pytest.param("authentication failure", True, id="AND is the default"),
        pytest.param("authentication AND password", False, id="one of two words"),
        pytest.param("authentication OR password", True, id="either word"),
        pytest.param("authentication AND -password", True, id="without a word"),
        pytest.param("authentication -failure", False, id="with an excluded word"),
        pytest.param("NOT password", True, id="NOT"),
        pytest.param("NOT(hello)", False, id="NOT before parentheses"),
        pytest.param("password AND hello OR gone", True, id="AND binds first"),
        pytest.param("gone OR hello AND password", True, id="AND binds first, at the end"),
        pytest.param("(gone OR hello) AND password", False, id="parentheses"),
        pytest.param("-(password OR secret)", True, id="excluded parentheses"),
        pytest.param("authentication or failure", False, id="operators are capitals"),
        pytest.param('"hello world"', True, id="sequence with another separator"),
        pytest.param('"world hello"', False, id="sequence in another order"),
        pytest.param("authent", False, id="part of a word"),
        pytest.param("authent*", True, id="beginning of a word"),
        pytest.param("*etwork*", True, id="middle of a word"),
        pytest.param('"authent*"', False, id="no wildcard in quotation marks"),
        pytest.param("\u201chello authentication\u201d", True, id="curly quotation marks do not count"),
        pytest.param("datadoghq", False, id="words are of the message alone"),
        pytest.param("*:www.datadoghq.com", True, id="full text"),
        pytest.param('*:"peter"', True, id="full text in a list, in any case"),
        pytest.param("*:hello*", True, id="full text with a wildcard"),
        pytest.param("@url:www.datadoghq.com", True, id="attribute"),
        pytest.param("@url:WWW.datadoghq.com", False, id="attributes have a case"),
        pytest.param("@url:www", False, id="attributes are whole"),
        pytest.param(r"@my_attribute:hello\:world", True, id="escaped"),
        pytest.param('@my_attribute:"hello:world"', True, id="quoted"),
        pytest.param("@my_attribute:hello?world", True, id="wildcard of one character"),
        pytest.param(r"@http.url:/api\-v1/*", True, id="nested attribute"),
        pytest.param("@http.status_code:[400 TO 499]", True, id="range"),
        pytest.param("@http.status_code:[200 TO 299]", False, id="outside a range"),
        pytest.param("@http.response_time:>100", True, id="above"),
        pytest.param("@http.response_time:<=100", False, id="not above"),
        pytest.param("@url:>100", False, id="text is no number"),
        pytest.param("-@http.method:*", True, id="attribute is not there"),
        pytest.param("@http.slow:true", True, id="truth value"),
        pytest.param("@users.name:Ann", True, id="member of a list"),
        pytest.param("env:(prod OR test)", True, id="group of values"),
        pytest.param("(env:prod AND -version:beta)", False, id="tag excluded"),
        pytest.param("env:(* -prod)", False, id="value excluded in a group"),
        pytest.param("tags:canary", True, id="tag without a key"),
        pytest.param("service:flask-w*", True, id="reserved attribute"),
        pytest.param("status:ERROR", True, id="status in any case"),
    ],
)
def test_search(query: str, expected: bool) -> None:
    """A line is found by exactly the queries that describe it."""
    assert expected is datadog_search.parse(query)(LINE)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        pytest.param("a OR", "a term is missing at character 5", id="no right side"),
        pytest.param("OR a", "a term is missing at character 1", id="no left side"),
        pytest.param("a AND OR b", "a term is missing at character 7", id="two operators"),
        pytest.param("(a OR b", "'(' is not closed", id="open"),
        pytest.param("a) b", "')' without '(' at character 2", id="closed twice"),
        pytest.param("()", "a term is missing at character 2", id="empty group"),
        pytest.param('a "b', "a quotation mark is not closed", id="open quotation"),
        pytest.param("status: error", "'status' has no value", id="no value"),
        pytest.param("@a:b:c", "':' at character 5 must be escaped with a backslash, or quoted", id="second colon"),
        pytest.param("a && b", "'&' at character 3 must be escaped with a backslash, or quoted", id="other operator"),
        pytest.param("@a:>b", "@a can only be compared with a number, not 'b'", id="compared with text"),
        pytest.param("@a:[1 TO b]", "@a can only be compared with a number, not 'b'", id="range of text"),
        pytest.param("#duration:>1", "'#' at character 1 must be escaped", id="calculated field"),
        pytest.param("CIDR(@ip,13.0.0.0/8)", "the function CIDR() is not answered here", id="function"),
    ],
)
def test_unreadable_search(query: str, expected: str) -> None:
    """A query that cannot be read, or that the lab does not answer, is an error that says why."""
    with pytest.raises(datadog_search.SearchError) as caught:
        datadog_search.parse(query)
    assert expected in str(caught.value)
