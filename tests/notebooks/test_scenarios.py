"""The shipped notebooks on the lab, with real faults: the right cause, a plan that helps, and a record that stands."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.conftest import Practice

OBJECTIVE_SECONDS = 0.2
HIGH_LATENCY = ("high_latency", "-p", "window_minutes=10")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

#: Two steps of the series that a run reads: the first sample over the objective proves nothing to it.
STEPS_SECONDS = 20.0


@pytest.fixture
def broken(practice: Practice) -> Iterator[Callable[..., None]]:
    """Breaks the lab in a named way and waits until users feel it; heals it afterwards."""

    def breaks(name: str, *parameters: str, felt: bool = True) -> None:
        assert practice.wait(below=OBJECTIVE_SECONDS, seconds=240), "the lab is not healthy before the fault"
        words = [word for parameter in parameters for word in ("-p", parameter)]
        done = practice.command("lab", "fault", name, *words)
        assert 0 == done.returncode, done.stderr
        if felt:
            assert practice.wait(above=OBJECTIVE_SECONDS)
            time.sleep(STEPS_SECONDS)
            assert practice.wait(above=OBJECTIVE_SECONDS)

    yield breaks
    healed = practice.command("lab", "heal")
    assert 0 == healed.returncode, healed.stderr


def approval(practice: Practice, told: dict[str, Any]) -> tuple[str, ...]:
    """Approve the plan of a run; the words that run the runbook again with it."""
    digest, archive = told["plans"][0]["digest"], f"{practice.folder}/outputs"
    done = practice.command("approve", told["run_id"], "--plan", digest, "--archive", archive, "--json")
    assert 0 == done.returncode, done.stderr
    return (*HIGH_LATENCY, "--apply", "--approval", json.loads(done.stdout)["approval"])


def test_healthy_service_has_no_finding(practice: Practice) -> None:
    """A healthy service gives no finding, the verdict healthy, and exit 0."""
    assert practice.wait(below=OBJECTIVE_SECONDS)
    told = practice.run(*HIGH_LATENCY)
    assert ([], "healthy", 0) == (told["findings"], told["verdict"], told["exit_code"])


def test_cpu_bound_pods_lead_to_a_scale_plan(practice: Practice, broken: Callable[..., None]) -> None:
    """Pods at their processor limit are named as the cause, and the plan is the runbook's own scale to five."""
    broken("cpu_bound")
    told = practice.run(*HIGH_LATENCY)
    assert "app.cpu_bound" == told["findings"][0]["cause"]
    assert ({"replicas": 3}, {"replicas": 5}) == (told["plans"][0]["from"], told["plans"][0]["to"])
    assert "kubectl scale deployment api-deployment --replicas=5" in told["plans"][0]["command"]
    # Two labs at once leave no processor time for more pods, so nobody waits here for the latency to fall.
    scaled = practice.interrupted(*approval(practice, told), after="action.outcome")
    assert ("applied", 5) == (scaled["outcomes"][0]["outcome"], scaled["outcomes"][0]["read_back"]["replicas"])
    assert 130 == scaled["exit_code"]


def test_missing_metrics_leave_the_verdict_unknown(practice: Practice, broken: Callable[..., None]) -> None:
    """With the metrics down the verdict is unknown, exit 5, and everything else was still read."""
    broken("metrics_down", felt=False)
    told = practice.run(*HIGH_LATENCY)
    assert ("unknown", 5) == (told["verdict"], told["exit_code"])
    assert "prometheus" in {gap["source"] for gap in told["gaps"]}
    assert "db.lock_contention" in {one["cause"] for one in told["ruled_out"]}


def test_preflight_passes_on_the_lab(practice: Practice) -> None:
    """Every needed check passes on a healthy lab."""
    told = practice.run("preflight")
    assert ("healthy", 0) == (told["verdict"], told["exit_code"])
    assert {"systems", "service", "permissions", "metrics", "tools"} == {check["group"] for check in told["checks"]}


def test_preflight_names_a_database_that_is_down(practice: Practice, broken: Callable[..., None]) -> None:
    """A database that does not answer fails the preflight with a fix, and is never counted as healthy."""
    broken("postgres_down", felt=False)
    told = practice.run("preflight")
    assert told["exit_code"] in {1, 5}
    lines = [check for check in told["checks"] if check["name"] == "postgres"]
    assert ["unknown"] == [check["status"] for check in lines]
    assert lines[0]["fix"]
