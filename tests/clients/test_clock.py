"""Clocks that disagree are told."""

from __future__ import annotations

import pytest

from runbook_lib.clients._clock import skew_warning
from runbook_lib.clients.prometheus import PrometheusClient
from runbook_lib.model import Evidence
from runbook_lib.model.times import parse_rfc3339

DATE = "Fri, 02 Jan 2026 03:04:05 GMT"
AT = parse_rfc3339("2026-01-02T03:04:05Z").timestamp()


@pytest.mark.parametrize(
    ("sent", "read", "words"),
    [
        (0, 0, ""),
        (0.9, 1.5, ""),
        (-0.9, 0, ""),
        (-20, 15, ""),
        (-38, -37, "37 s ahead of"),
        (61, 62, "60 s behind"),
        (3600, 3600, "behind"),
    ],
    ids=["same", "within the second", "just before", "slow answer", "ahead", "behind", "an hour"],
)
def test_clock_of_a_server(sent, read, words):
    """A time that no moment between sending and reading explains is told with its direction."""
    told = skew_warning(DATE, AT + sent, AT + read)
    assert bool(words) is bool(told)
    assert words in "".join(told)


@pytest.mark.parametrize("header", [None, "", "yesterday", "Fri, 32 Jan 2026 03:04:05 GMT"], ids=str)
def test_no_clock_says_nothing(header):
    """A server that does not tell its time is not accused."""
    assert () == skew_warning(header, AT, AT)


def test_skew_stands_in_the_evidence(make, answerer):
    """Series from a server whose clock is wrong carry the warning."""
    matrix = {"resultType": "matrix", "result": [{"metric": {}, "values": [[AT, "1"]]}]}
    body = {"status": "success", "data": matrix}

    def behave(request, handler):
        handler.date_time_string = lambda: DATE
        answerer.always(200, body)
        answerer.behave(request, handler)
        answerer.behave = behave

    answerer.behave = behave
    result = make(PrometheusClient, {"url": answerer.url}).in_flight()
    assert isinstance(result, Evidence)
    assert "behind ours" in result.warnings[0]
