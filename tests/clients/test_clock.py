"""Clocks that disagree are told."""

from __future__ import annotations

import pytest

from runbook_lib.clients._clock import skew_warning
from runbook_lib.clients.kubernetes import KubernetesClient
from runbook_lib.clients.prometheus import PrometheusClient
from runbook_lib.model import Evidence
from runbook_lib.model.times import parse_rfc3339

from .test_kubernetes_failures import kubeconfig

DATE = "Fri, 02 Jan 2026 03:04:05 GMT"
AT = parse_rfc3339("2026-01-02T03:04:05Z").timestamp()
MATRIX = {"resultType": "matrix", "result": [{"metric": {}, "values": [[AT, "1"]]}]}


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


def prometheus(make, answerer, folder):
    """Series of a Prometheus."""
    answerer.always(200, {"status": "success", "data": MATRIX})
    return make(PrometheusClient, {"url": answerer.url}).in_flight


def kubernetes(make, answerer, folder):
    """The version of an API server."""
    answerer.always(200, {"gitVersion": "v1.35.4"})
    return make(KubernetesClient, {"kubeconfig": kubeconfig(folder, answerer.url)}).server


@pytest.mark.parametrize("asked", [prometheus, kubernetes])
def test_skew_stands_in_the_evidence(make, answerer, tmp_path, asked):
    """What a server whose clock is wrong answers carries the warning."""
    ask, answer = asked(make, answerer, tmp_path), answerer.behave

    def behave(request, handler):
        handler.date_time_string = lambda: DATE
        answer(request, handler)

    answerer.behave = behave
    result = ask()
    assert isinstance(result, Evidence)
    assert "behind ours" in result.warnings[0]
