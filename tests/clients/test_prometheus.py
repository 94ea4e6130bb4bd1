"""The Prometheus client against a server with named failures."""

from __future__ import annotations

import itertools
import math
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from runbook_lib.clients._tape import ReplayTape
from runbook_lib.clients.prometheus import SLICE_POINTS, PrometheusClient, slices
from runbook_lib.errors import CatalogError, ParameterError, UnknownNameError
from runbook_lib.model import Evidence, Gap, Window
from runbook_lib.model.times import parse_rfc3339

BUILD = {"status": "success", "data": {"version": "3.1.0", "revision": "abc", "application": "Prometheus"}}


def matrix(*series: tuple[dict[str, str], list[list[Any]]], **more: Any) -> dict[str, Any]:
    result = [{"metric": labels, "values": values} for labels, values in series]
    return {"status": "success", "data": {"resultType": "matrix", "result": result}, **more}


def client(make: Any, answerer: Any, **more: Any) -> PrometheusClient:
    made = make(PrometheusClient, {"url": answerer.url}, **{"connect_seconds": 0.5, "total_seconds": 0.8, **more})
    assert isinstance(made, PrometheusClient)
    return made


def answers(answerer: Any, body: Any) -> None:
    answerer.by_path({"/api/v1/query_range": body, "/api/v1/status/buildinfo": BUILD})


def test_reads_series(make, answerer, window):
    """Labels, times, values, unit, window and the exact query stand in the evidence."""
    answers(answerer, matrix(({"__name__": "x"}, [[1767322800.5, "0.25"], [1767322815.5, "0.5"]])))
    result = client(make, answerer).latency_seconds(quantile=0.99)
    assert isinstance(result, Evidence), result
    assert ("prometheus", "latency_seconds", "s", window) == (result.source, result.name, result.unit, result.window)
    assert {"quantile": 0.99} == result.parameters
    assert [(1767322800.5, 0.25), (1767322815.5, 0.5)] == list(result.series[0].points())
    assert {} == result.series[0].labels
    asked = answerer.requests[0].query["query"]
    assert result.query == asked
    assert (
        "histogram_quantile(0.99, sum by (le) (rate(http_request_duration_seconds_bucket"
        '{namespace="production",service="api"}[60s])))' == asked
    )


def test_keeps_each_result_before_returning_it(make, answerer, kept):
    """Evidence and the server's version go through the tape, each once."""
    answers(answerer, matrix(({}, [[1767322800, "1"]])))
    metrics = client(make, answerer)
    metrics.in_flight()
    metrics.in_flight()
    assert ["prometheus.in_flight", "prometheus.server", "prometheus.in_flight"] == [r.key for r in kept.results]
    assert "3.1.0" == kept.results[1].document["version"]


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        ("503", "unreachable"),
        ("429", "unreachable"),
        ("reset", "unreachable"),
        ("closed", "unreachable"),
        ("401", "denied"),
        ("403", "denied"),
        ("500", "answer"),
        ("redirect", "answer"),
        ("garbage", "answer"),
        ("not http", "answer"),
        ("other json", "answer"),
        ("bad gzip", "answer"),
        ("hang", "timeout"),
        ("slow headers", "timeout"),
        ("slow body", "timeout"),
    ],
)
def test_failure_is_a_gap(make, answerer, failure, kind):
    """Every way in which the server can fail gives a gap of its kind, within the deadline."""
    answerer.fail(failure)
    started = time.monotonic()
    result = client(make, answerer).latency_seconds()
    assert isinstance(result, Gap)
    assert kind == result.kind
    assert result.needed
    assert time.monotonic() - started < 3, result.reason


def test_dead_server_is_a_gap(make, dead_port):
    """A refused connection is unreachable, and says so in words."""
    metrics = make(PrometheusClient, {"url": f"http://127.0.0.1:{dead_port}"})
    result = metrics.up()
    assert isinstance(result, Gap)
    assert "unreachable" == result.kind
    assert "refused" in result.reason


def test_missing_endpoint_is_a_gap(make):
    """A source that the environment does not have is unreachable, with that as the reason."""
    result = make(PrometheusClient, None).latency_seconds()
    assert isinstance(result, Gap)
    assert ("unreachable", "not configured in environment test") == (result.kind, result.reason)


def test_transient_failure_is_retried(make, answerer):
    """Two answers of 503 and then a good one give evidence."""
    answers(answerer, matrix(({}, [[1767322800, "1"]])))
    good, failures = answerer.behave, iter(range(2))

    def behave(request: Any, handler: Any) -> None:
        if next(failures, None) is not None:
            answerer.fail("503")
            answerer.behave(request, handler)
            answerer.behave = behave
        else:
            good(request, handler)

    answerer.behave = behave
    assert isinstance(client(make, answerer, total_seconds=5).in_flight(), Evidence)


@pytest.mark.parametrize("failure", ["401", "500", "garbage", "hang"])
def test_other_failures_are_not_retried(make, answerer, failure):
    """An error that would come again is asked for once."""
    answerer.fail(failure)
    client(make, answerer).in_flight()
    assert 1 == len(answerer.requests)


def test_empty_answer_is_a_gap_and_not_zero(make, answerer):
    """No series is a gap of kind empty."""
    answers(answerer, matrix())
    result = client(make, answerer).error_ratio()
    assert isinstance(result, Gap)
    assert "empty" == result.kind


def test_no_alert_is_an_answer(make, answerer):
    """An empty list of alerts is evidence that none is active."""
    answerer.by_path({"/api/v1/alerts": {"status": "success", "data": {"alerts": []}}})
    result = client(make, answerer).alerts()
    assert isinstance(result, Evidence)
    assert 0 == len(result.table)


def test_reads_alerts_of_the_service(make, answerer):
    """Alerts of another service are left out; the time is in epoch seconds."""

    def alert(service: str) -> dict[str, Any]:
        return {
            "labels": {"alertname": "HighLatency", "service": service, "severity": "page"},
            "annotations": {"summary": "slow"},
            "state": "firing",
            "activeAt": "2026-01-02T03:04:05.123456789Z",
            "value": "5e-01",
        }

    answerer.by_path({"/api/v1/alerts": {"status": "success", "data": {"alerts": [alert("api"), alert("web")]}}})
    result = client(make, answerer).alerts()
    assert isinstance(result, Evidence)
    started = parse_rfc3339("2026-01-02T03:04:05.123456Z").timestamp()
    assert [("HighLatency", "firing", "page", started, 0.5, "slow")] == list(result.table.rows)


def test_keeps_numbers_that_are_not_finite(make, answerer):
    """NaN and infinity arrive as such and are no points."""
    answers(answerer, matrix(({}, [[1767322800, "NaN"], [1767322815, "+Inf"], [1767322830, "2"]])))
    result = client(make, answerer).in_flight()
    assert isinstance(result, Evidence)
    values = list(result.series[0].values)
    assert math.isnan(values[0])
    assert [math.inf, 2.0] == values[1:]
    assert [2.0] == [value for _, value in result.series[0].points()]


def test_keeps_warnings_once(make, answerer):
    """Warnings and infos of the server stand in the evidence, each once."""
    answers(answerer, matrix(({}, [[1767322800, "1"]]), warnings=["partial", "partial"], infos=["no counter"]))
    result = client(make, answerer).in_flight()
    assert isinstance(result, Evidence)
    assert ("partial", "no counter") == result.warnings


@pytest.mark.parametrize(
    ("status", "error_type", "kind"),
    [
        (400, "bad_data", "answer"),
        (422, "execution", "answer"),
        (503, "timeout", "timeout"),
        (503, "unavailable", "unreachable"),
    ],
)
def test_error_of_prometheus_is_a_gap(make, answerer, status, error_type, kind):
    """Prometheus's own errors keep their words."""
    answerer.always(status, {"status": "error", "errorType": error_type, "error": "exceeded maximum resolution"})
    result = client(make, answerer).in_flight()
    assert isinstance(result, Gap)
    assert kind == result.kind
    assert "exceeded maximum" in result.reason or "unreachable" == kind


def test_long_series_are_read_in_slices(make, answerer, kept):
    """More points than the server gives at once are read in slices that neither overlap nor leave a hole."""

    def behave(request: Any, handler: Any) -> None:
        answers(answerer, BUILD)
        if "/api/v1/query_range" == request.path:
            start, end, step = (float(request.query[key]) for key in ("start", "end", "step"))
            count = round((end - start) / step) + 1
            assert count <= 11_000
            points = [[start + n * step, "1"] for n in range(count)]
            answerer.always(200, matrix(({"pod": "a"}, points)))
        answerer.behave(request, handler)
        answerer.behave = behave

    answerer.behave = behave
    window = Window.last(12 * 60, parse_rfc3339("2026-01-02T03:10:00Z"))
    metrics = make(PrometheusClient, {"url": answerer.url}, window=window)
    result = metrics.query("in_flight", step_seconds=1)
    assert isinstance(result, Evidence)
    times = result.series[0].times
    assert 43_200 == len(times)
    assert {1.0} == {round(b - a, 3) for a, b in itertools.pairwise(times)}


@pytest.mark.parametrize(("minutes", "step"), [(10, 15), (60, 15), (24 * 60, 600), (30 * 24 * 60, 10800)], ids=str)
def test_step_is_as_fine_as_a_chart_shows(make, answerer, minutes, step):
    """The step follows from the window and the scrape interval."""
    answers(answerer, matrix(({}, [[1767322800, "1"]])))
    window = Window.last(minutes, parse_rfc3339("2026-01-02T03:10:00Z"))
    make(PrometheusClient, {"url": answerer.url}, window=window).requests_per_second()
    asked = answerer.requests[0].query
    assert str(step) == asked["step"]
    assert f"[{max(60, step)}s]" in asked["query"]


def test_range_of_the_endpoint_is_used(make, answerer):
    """An endpoint that is scraped more often says so by its range, and gets a finer step."""
    answers(answerer, matrix(({}, [[1767322800, "1"]])))
    make(PrometheusClient, {"url": answerer.url, "range_seconds": 20}).requests_per_second()
    assert "5" == answerer.requests[0].query["step"]
    assert "[20s]" in answerer.requests[0].query["query"]


def test_every_slice_lies_in_the_half_open_window(window):
    """The points are inside the window, the newest one a millisecond before its end."""
    points = [(start, end) for start, end, _ in slices(window, 15)]
    assert window.start.timestamp() <= points[0][0]
    assert window.end.timestamp() - 0.001 == points[-1][1]
    assert SLICE_POINTS < 11_000


def test_again_asks_about_the_present(make, answerer, window):
    """Asked again, the same question has a window of the same length that ends now."""
    answers(answerer, matrix(({}, [[1767322800, "1"]])))
    before = client(make, answerer).latency_seconds(quantile=0.5)
    after = before.again()
    assert isinstance(after, Evidence)
    assert after.window is not None
    assert {"quantile": 0.5} == after.parameters
    assert window.seconds == after.window.seconds
    assert after.window.end - window.end > timedelta(days=1)


def test_gap_can_be_asked_again(make, answerer):
    """A server that recovers answers the question that it failed before."""
    answerer.fail("500")
    before = client(make, answerer).latency_seconds()
    answers(answerer, matrix(({}, [[1767322800, "1"]])))
    assert isinstance(before, Gap)
    assert isinstance(before.again(), Evidence)


def test_replay_reaches_the_same_answers_without_a_server(make, answerer, kept):
    """A second client on the kept answers gives the same evidence, in order, and asks nobody."""
    answers(answerer, matrix(({}, [[1767322800, "1"]])))
    live = client(make, answerer)
    first = live.latency_seconds()
    second = first.again()
    answered = len(answerer.requests)
    tape = ReplayTape(kept.results)
    replayed = make(PrometheusClient, None, tape=tape).latency_seconds()
    assert first.digest == replayed.digest
    assert second.digest == replayed.again().digest
    assert answered == len(answerer.requests)
    assert ([], ()) == (tape.divergences, tape.unread)


def test_names_of_the_catalogue_replace_the_defaults(make, answerer):
    """A service with other metric names is asked by those."""
    answers(answerer, matrix(({}, [[1767322800, "1"]])))
    workload = {"metrics": {"in_flight": "active_requests"}, "selector": {"app": 'we"ird\\'}}
    make(PrometheusClient, {"url": answerer.url}, workload=workload).in_flight()
    assert 'sum(active_requests{app="we\\"ird\\\\"})' == answerer.requests[0].query["query"]


@pytest.mark.parametrize(
    ("workload", "error", "words"),
    [
        ({"metrics": {"in_flght": "x"}}, UnknownNameError, "Did you mean 'in_flight'"),
        ({"metrics": {"in_flight": "x) or vector(1"}}, CatalogError, "no name of a metric"),
        ({"selector": {"a-b": "x"}}, CatalogError, "no label name"),
    ],
    ids=["unknown name", "injected metric", "injected label"],
)
def test_wrong_catalogue_is_an_error(make, answerer, workload, error, words):
    """A wrong name in the catalogue is refused before anything is asked."""
    with pytest.raises(error, match=words):
        make(PrometheusClient, {"url": answerer.url}, workload=workload).in_flight()
    assert [] == answerer.requests


@pytest.mark.parametrize("value", [1.5, -0.1, math.nan, "0.95", True], ids=str)
def test_wrong_parameter_is_an_error(make, answerer, value):
    """A quantile outside 0 to 1, or of another type, is refused."""
    with pytest.raises(ParameterError, match="quantile"):
        client(make, answerer).query("latency_seconds", quantile=value)


def test_unknown_query_is_an_error(make, answerer):
    """A misspelt query offers the nearest name."""
    with pytest.raises(UnknownNameError, match="latency_seconds"):
        client(make, answerer).query("latency_second")


def test_threads_share_one_client(make, answerer, kept):
    """Questions of several threads at once all get their answers, and the version is read once."""
    answers(answerer, matrix(({}, [[1767322800, "1"]])))
    metrics = client(make, answerer, total_seconds=5)
    asked = [metrics.in_flight, metrics.up, metrics.restarts, metrics.pool_waiting] * 8
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda ask: ask(), asked))
    assert all(isinstance(result, Evidence) for result in results)
    assert 1 == [result.key for result in kept.results].count("prometheus.server")


def test_slow_requests_are_counted_at_a_bound_in_either_spelling(make, answerer):
    """The bound of a bucket is matched as the service wrote it and as Prometheus 3 writes it; a month in fine steps."""
    answers(answerer, matrix(({}, [[1767322800, "1"]])))
    month = Window.last(30 * 24 * 60, end=parse_rfc3339("2026-01-02T03:00:00Z"))
    made = client(make, answerer, window=month)
    made.slow_per_second(1)
    made.requests_per_second(fine=True)
    asked = [one.query for one in answerer.requests if "query" in one.query]
    assert r'le=~"1|1\\.0"' in asked[0]["query"]
    assert ["300", "300"] == [one["step"] for one in asked]
