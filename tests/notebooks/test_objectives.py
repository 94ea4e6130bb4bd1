"""The report on the objectives and the checklist after a fix, on the lab."""

from __future__ import annotations

import json
import time
import urllib.parse
import urllib.request

import pytest

from tests.conftest import Practice

OBJECTIVE_SECONDS = 0.2

FAILED = 'sum(rate(http_request_duration_seconds_count{service="api",code=~"5.."}[20s]))'

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def fails(practice: Practice, *, seconds: float = 60) -> bool:
    """Wait until the metrics have more than one failed request per second; whether they came to it."""
    address = f"{practice.status['prometheus_url']}/api/v1/query?query={urllib.parse.quote(FAILED)}"
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with urllib.request.urlopen(address, timeout=3) as answer:
            found = json.load(answer)["data"]["result"]
        if found and float(found[0]["value"][1]) > 1:
            return True
        time.sleep(2)
    return False


def test_report_of_a_healthy_time(practice: Practice) -> None:
    """Ten healthy minutes keep both objectives, exit 0."""
    assert practice.wait(below=OBJECTIVE_SECONDS)
    told = practice.run("slo_report", "-p", "window_minutes=10")
    assert ("healthy", 0) == (told["verdict"], told["exit_code"])
    assert 2 == sum("of the error budget of 30 days is left" in one["title"] for one in told["ruled_out"])


def test_report_of_a_month_without_data_is_unknown(practice: Practice) -> None:
    """A month of which the store holds a few minutes is no month without a failure: exit 5."""
    told = practice.run("slo_report")
    assert ("unknown", 5) == (told["verdict"], told["exit_code"])


def test_checklist_passes_when_all_is_well(practice: Practice) -> None:
    """Every line holds once the window is past whatever happened before."""
    deadline = time.monotonic() + 300
    while (told := practice.run("verify_fix", "-p", "window_minutes=2"))["exit_code"] and time.monotonic() < deadline:
        time.sleep(15)
    assert [] == [check for check in told["checks"] if check["status"] != "passed"]
    assert 0 == told["exit_code"]


def test_checklist_fails_while_requests_fail(practice: Practice) -> None:
    """A release that answers with errors fails the error rate and the burn rate; the exit code is a gate."""
    assert 0 == practice.command("lab", "fault", "error_release").returncode
    try:
        assert fails(practice)
        told = practice.run("verify_fix", "-p", "window_minutes=2")
    finally:
        practice.command("lab", "heal")
    assert {"error rate", "burn rate"} <= {one["name"] for one in told["checks"] if one["status"] == "failed"}
    assert 1 == told["exit_code"]
