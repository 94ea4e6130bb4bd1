"""The HTTP API and the process."""

from __future__ import annotations

import http.client
import json
import shutil
import signal
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runbook_lib.lab.process import Process, free_port

NOW = "1700003000"


def post(url: str, body: bytes, **headers: str) -> tuple[int, str]:
    request = urllib.request.Request(url, data=body, headers=headers, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "did not happen within a minute"
        threading.Event().wait(0.05)


LISTS = [
    ("/api/v1/series", {"match[]": 'db_pool_connections{pod="a"}'}),
    ("/api/v1/labels", {}),
    ("/api/v1/labels", {"match[]": "app_info"}),
    ("/api/v1/label/pod/values", {}),
    ("/api/v1/label/__name__/values", {}),
    ("/api/v1/label/version/values", {"match[]": 'app_info{pod="d"}'}),
    ("/api/v1/label/nothing/values", {}),
]


@pytest.mark.parametrize(("path", "parameters"), LISTS, ids=str)
def test_lists_are_those_of_the_real_server(embedded: Any, real: Any, path: str, parameters: dict[str, str]) -> None:
    """Series, label names and label values are the same on both."""
    interval = {"start": "1700000000", "end": "1700003600"}
    expected, got = (server.get(path, **parameters, **interval)[1] for server in (real, embedded))

    def order(row: object) -> str:
        return json.dumps(row, sort_keys=True)

    assert sorted(expected["data"], key=order) == sorted(got["data"], key=order)


BAD = [
    ("/api/v1/query", {"query": "rate(up)"}),
    ("/api/v1/query", {"query": ""}),
    ("/api/v1/query", {"query": "up", "time": "yesterday"}),
    ("/api/v1/query", {"query": "one + on (shared) group_left two", "time": NOW}),
    ("/api/v1/query_range", {"query": "up", "start": "0", "end": "11001", "step": "1"}),
    ("/api/v1/query_range", {"query": "up", "start": "5", "end": "1", "step": "1"}),
    ("/api/v1/query_range", {"query": "up", "start": "0", "end": "1", "step": "0"}),
    ("/api/v1/query_range", {"query": "up", "start": "0", "end": "1", "step": "x"}),
    ("/api/v1/query_range", {"query": "up[5m]", "start": "0", "end": "1", "step": "1"}),
    ("/api/v1/query_range", {"query": '"a"', "start": "0", "end": "1", "step": "1"}),
    ("/api/v1/series", {}),
    ("/api/v1/series", {"match[]": "{"}),
]


@pytest.mark.parametrize(("path", "parameters"), BAD, ids=str)
def test_errors_are_those_of_the_real_server(embedded: Any, real: Any, path: str, parameters: dict[str, str]) -> None:
    """A wrong request gets the same status and kind of error from both."""
    expected, got = (server.get(path, **parameters) for server in (real, embedded))
    assert (expected[0], expected[1]["errorType"]) == (got[0], got[1]["errorType"])


def test_11_000_steps_are_answered(embedded: Any) -> None:
    """The limit of points is the real server's."""
    status, body = embedded.get("/api/v1/query_range", query="vector(1)", start="0", end="11000", step="1")
    assert (200, 11001) == (status, len(body["data"]["result"][0]["values"]))


def test_parameters_may_come_in_the_body(embedded: Any) -> None:
    """A POST with a form is the same as a GET."""
    form = urllib.parse.urlencode({"query": "one", "time": NOW}).encode()
    status, body = post(f"{embedded.url}/api/v1/query", form)
    assert (200, embedded.get("/api/v1/query", query="one", time=NOW)[1]) == (status, json.loads(body))


def test_rfc_3339_times_and_duration_steps_are_understood(embedded: Any) -> None:
    """Both notations of times and steps give the same answer."""
    seconds = embedded.get("/api/v1/query_range", query="one", start=NOW, end="1700003060", step="30")
    written = embedded.get(
        "/api/v1/query_range", query="one", start="2023-11-14T23:03:20Z", end="2023-11-15T00:04:20+01:00", step="30s"
    )
    assert seconds == written


def test_limit_cuts_and_says_so(embedded: Any) -> None:
    """A limited answer carries a warning."""
    _, body = embedded.get("/api/v1/query", query="db_pool_connections", time=NOW, limit="2")
    assert (2, ["results truncated due to limit"]) == (len(body["data"]["result"]), body["warnings"])


def test_lookback_can_be_set(embedded: Any) -> None:
    """A shorter look back finds nothing between two samples."""
    at = {"time": "1700003009", "query": "one"}
    assert 1 == len(embedded.get("/api/v1/query", **at)[1]["data"]["result"])
    assert [] == embedded.get("/api/v1/query", lookback_delta="5s", **at)[1]["data"]["result"]


def test_slow_query_is_given_up(embedded: Any) -> None:
    """The timeout of a request ends its evaluation."""
    status, body = embedded.get(
        "/api/v1/query", query="max_over_time(rate(http_request_duration_seconds_bucket[5m])[1h:1s])", time=NOW,
        timeout="1ms",
    )  # fmt: skip
    assert (503, "timeout") == (status, body["errorType"])


def test_build_says_that_it_is_no_real_server(embedded: Any) -> None:
    """The version has the real line's number and a mark."""
    data = embedded.get("/api/v1/status/buildinfo")[1]["data"]
    assert data["version"].startswith("3.")
    assert "embedded" in data["version"]


def test_unknown_path_is_404(embedded: Any) -> None:
    """What is not served is not found, in plain text as on the real server."""
    with pytest.raises(urllib.error.HTTPError) as caught, urllib.request.urlopen(f"{embedded.url}/api/v1/nope"):
        pass
    with caught.value as error:
        assert 404 == error.code


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"garbage", {}, 400),
        (b"", {"Content-Type": "application/x-protobuf;proto=io.prometheus.write.v2.Request"}, 415),
    ],
    ids=["not Snappy", "version 2"],
)
def test_wrong_write_is_refused(embedded: Any, body: bytes, headers: dict[str, str], status: int) -> None:
    """A write that cannot be read changes nothing and says so."""
    assert status == post(f"{embedded.url}/api/v1/write", body, **headers)[0]


def test_body_without_a_sane_length_is_refused(embedded: Any) -> None:
    """A length that is no number or too large ends the connection."""
    host = urllib.parse.urlsplit(embedded.url).netloc
    connection = http.client.HTTPConnection(host, timeout=5)
    connection.putrequest("POST", "/api/v1/write")
    connection.putheader("Content-Length", "99999999999")
    connection.endheaders()
    assert 413 == connection.getresponse().status
    connection.close()


def _start(tmp_path: Path, config: object, *more: str) -> tuple[Process, str]:
    path, port = tmp_path / "metrics.json", free_port()
    path.write_text(config if isinstance(config, str) else json.dumps(config))
    process = Process.start(
        "metrics",
        [sys.executable, "-m", "runbook_lib.lab.metrics", "--port", str(port), "--config", str(path), *more],
        log_path=tmp_path / "log",
        cwd=Path(__file__).parents[3],
        die_with_parent=True,
    )
    return process, f"http://127.0.0.1:{port}"


def _ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/-/ready", timeout=2) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def _ask(url: str, path: str, **parameters: str) -> Any:
    with urllib.request.urlopen(f"{url}{path}?{urllib.parse.urlencode(parameters)}", timeout=10) as response:
        return json.load(response)["data"]


@pytest.mark.parametrize("binary", ["", "prometheus"], ids=["embedded", "prometheus"])
def test_one_configuration_starts_either_server(tmp_path: Path, page: Any, binary: str) -> None:
    """Scrapes, rules, a changed file and the end by a signal work alike on both."""
    if binary and not shutil.which(binary):
        pytest.skip("no prometheus on PATH")
    page.text = '# TYPE h histogram\nh_bucket{le="1"} 3\nh_bucket{le="+Inf"} 4\na{pod="x"} 7\n'
    config = {
        "scrape_interval_seconds": 0.2,
        "static_targets": [{"url": page.url, "labels": {"job": "page", "pod": "own"}}],
        "rules": [{"alert": "Seven", "expr": "a == 7", "for_seconds": 0.2, "labels": {"severity": "page"}}],
    }
    more = ["--prometheus", str(shutil.which(binary))] if binary else []
    process, url = _start(tmp_path, config, *more)
    try:
        process.wait_until(lambda: _ready(url), 30)
        wait_for(lambda: any(alert["state"] == "firing" for alert in _ask(url, "/api/v1/alerts")["alerts"]))
        (alert,) = _ask(url, "/api/v1/alerts")["alerts"]
        wanted = {"alertname": "Seven", "severity": "page", "job": "page", "pod": "own", "exported_pod": "x"}
        assert {**wanted, "instance": page.address} == alert["labels"]
        (target,) = _ask(url, "/api/v1/targets")["activeTargets"]
        assert ("up", page.url) == (target["health"], target["scrapeUrl"])
        assert "4" == _ask(url, "/api/v1/query", query='h_bucket{le="+Inf"}')["result"][0]["value"][1]
        assert "histogram" == _ask(url, "/api/v1/metadata", metric="h")["h"][0]["type"]
        (tmp_path / "metrics.json").write_text(json.dumps({**config, "rules": [], "static_targets": []}))
        wait_for(lambda: _ask(url, "/api/v1/query", query="up")["result"] == [])
        assert [] == _ask(url, "/api/v1/alerts")["alerts"]
    finally:
        process.signal(signal.SIGTERM)
        code = process.wait(20)
        process.stop()
    assert 0 == code


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ("{", ["metrics.json", "JSON"]),
        ({"scrape_intervall_seconds": 1}, ["scrape_intervall_seconds", "Did you mean 'scrape_interval_seconds'"]),
        ({"scrape_interval_seconds": 0}, ["scrape_interval_seconds", "more than 0"]),
        ({"scrape_interval_seconds": "2s"}, ["scrape_interval_seconds", "seconds"]),
        ({"static_targets": [{"url": "ftp://x", "labels": {"job": "a"}}]}, ["static_targets[0].url", "http"]),
        ({"static_targets": [{"url": "http://x/", "labels": {}}]}, ["static_targets[0].labels", "job"]),
        ({"static_targets": {}}, ["static_targets", "list"]),
        ({"kubernetes": {"kubeconfig": "k"}}, ["kubernetes.namespace"]),
        ({"rules": [{"alert": "A", "expr": "rate(up)"}]}, ["alert A", "matrix"]),
        ({"rules": [{"alert": "A"}]}, ["rules[0].expr"]),
    ],
    ids=str,
)
def test_wrong_configuration_ends_with_file_and_key(tmp_path: Path, config: object, words: list[str]) -> None:
    """The process does not start; the message says where and what."""
    process, _ = _start(tmp_path, config)
    assert 1 == process.wait(20)
    log = process.log_tail()
    assert [] == [word for word in words if word not in log]


def test_taken_port_is_said(tmp_path: Path, embedded: Any) -> None:
    """A port in use ends the start with the reason."""
    port = str(urllib.parse.urlsplit(embedded.url).port)
    process, _ = _start(tmp_path, {}, "--port", port)
    assert 1 == process.wait(20)
    assert "in use" in process.log_tail()
