"""The whole lab comes up, survives being killed, breaks for real, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import psycopg
import pytest

from runbook_lib import catalog
from runbook_lib.errors import LabError, UsageError
from runbook_lib.lab import state as states
from runbook_lib.lab import supervisor
from runbook_lib.lab.faults import registry
from runbook_lib.lab.history import MARK
from runbook_lib.lab.status import get_json
from runbook_lib.model.rights import ROLES

pytestmark = [pytest.mark.lab, pytest.mark.slow, pytest.mark.timeout(300)]

UP = "import sys; from pathlib import Path; from runbook_lib.lab import supervisor; supervisor.up(Path(sys.argv[1]))"
KEYS = {
    "state",
    "postgres_url",
    "redis_url",
    "kubeconfig",
    "prometheus_url",
    "service_url",
    "dependency_url",
    "grafana_url",
    "datadog_url",
    "github_url",
    "slack_url",
    "pagerduty_url",
}


#: What the shared lab told while it started.
PHASES: list[tuple[str, str]] = []


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """A running lab with five minutes of history; what ``up`` returned."""
    directory = tmp_path_factory.mktemp("lab") / "lab"
    try:
        yield supervisor.up(
            directory, prometheus="embedded", seconds_of_history=300, progress=lambda *told: PHASES.append(told)
        )
    finally:
        supervisor.down(directory)
        assert {} == states.strays(directory)


def folder(lab: dict[str, Any]) -> Path:
    """The lab's folder."""
    return Path(lab["directory"])


def query(lab: dict[str, Any], promql: str) -> list[dict[str, Any]]:
    """The result of one instant query."""
    path = f"/api/v1/query?{urlencode({'query': promql})}"
    found: list[dict[str, Any]] = get_json(lab["prometheus_url"], path)["data"]["result"]
    return found


def sessions(lab: dict[str, Any]) -> dict[str, int]:
    """State -> number of the sessions of faults that PostgreSQL has."""
    with psycopg.connect(lab["postgres_url"], connect_timeout=5) as connection:
        rows = connection.execute(
            "SELECT state, count(*) FROM pg_stat_activity WHERE application_name = 'report-worker' GROUP BY state"
        ).fetchall()
    return dict(rows)


def test_status_names_every_address_and_component(lab: dict[str, Any]) -> None:
    """Status holds the addresses of the design, and each component's kind, version and state."""
    assert KEYS <= lab.keys()
    assert {"running"} == {part["state"] for part in lab["components"].values()}
    assert {"real", "emulated"} == {part["kind"] for part in lab["components"].values()}
    assert all(part["version"] for part in lab["components"].values())


def test_service_answers_with_the_release_of_the_chart(lab: dict[str, Any]) -> None:
    """The balancer's address serves the image tag that Helm installed."""
    assert "v1" == get_json(lab["service_url"], "/api/v1/status")["version"]


def test_private_files_are_private(lab: dict[str, Any]) -> None:
    """Nobody else may read the state, the kubeconfigs, the environment or a secret."""
    kubeconfigs = ("kubeconfig", *(f"{role}.kubeconfig" for role in ROLES))
    names = ("lab.json", *kubeconfigs, "environment.toml")
    paths = [folder(lab) / name for name in names] + list((folder(lab) / "secrets").iterdir())
    assert {0o600} == {stat.S_IMODE(path.stat().st_mode) for path in paths}


def test_no_secret_stands_on_a_command_line(lab: dict[str, Any]) -> None:
    """No process of the lab shows a credential to the other users of the machine."""
    secrets = [path.read_bytes() for path in (folder(lab) / "secrets").iterdir()]
    pids = states.process_tree(states.processes(folder(lab)))
    lines = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in pids if Path(f"/proc/{pid}").exists()]
    assert [] == [line for line in lines for secret in secrets if secret in line]


def test_environment_is_one_that_the_catalogue_accepts(lab: dict[str, Any], tmp_path: Path) -> None:
    """The written endpoints pass the catalogue's own checks, with secrets by name."""
    text = (Path(__file__).parents[2] / "runbook.toml").read_text(encoding="utf-8")
    file = tmp_path / "runbook.toml"
    file.write_text(text.replace(".lab/environment.toml", str(folder(lab) / "environment.toml")))
    endpoints = catalog.load(file).environment("lab").endpoints
    assert {"prometheus", "postgres", "redis", "kubernetes", "grafana", "datadog", "slack"} <= endpoints.keys()
    assert endpoints["postgres"].secrets["password"].startswith("file:")


def test_history_is_marked_and_healthy(lab: dict[str, Any]) -> None:
    """Minutes before the start there are samples, marked as backfilled, with requests and without a breach."""
    assert query(lab, f"count_over_time({MARK}[10m]) > 15")
    assert query(lab, 'sum(rate(http_request_duration_seconds_count{service="api"}[1m] offset 3m)) > 10')
    assert [] == query(lab, f"{MARK} == 1")


def test_datadog_answers_from_the_metrics_store(lab: dict[str, Any]) -> None:
    """A Datadog query of the lab returns the server's own connection limit, with Datadog's unit."""
    secrets = folder(lab) / "secrets"
    headers = {
        "DD-API-KEY": (secrets / "datadog_api_key").read_text(),
        "DD-APPLICATION-KEY": (secrets / "datadog_app_key").read_text(),
    }
    now = int(time.time())
    parameters = {"from": now - 120, "to": now, "query": "avg:postgresql.max_connections{env:production}"}
    answer = httpx.get(f"{lab['datadog_url']}/api/v1/query", params=parameters, headers=headers, timeout=10).json()
    assert {40.0} == {value for _, value in answer["series"][0]["pointlist"]}
    assert "connection" == answer["series"][0]["unit"][0]["name"]


def test_grafana_proxies_the_metrics_store(lab: dict[str, Any]) -> None:
    """Grafana's data source proxy gives the store's own answer."""
    headers = {"Authorization": f"Bearer {(folder(lab) / 'secrets' / 'grafana_token').read_text()}"}
    path = f"{lab['grafana_url']}/api/datasources/proxy/uid/prometheus/api/v1/query"
    found, deadline = "", time.monotonic() + 30
    # A pod counts from its first scrape on, which may still be to come.
    while found != "3" and time.monotonic() < deadline:
        answer = httpx.get(path, params={"query": 'count(up{job="api"})'}, headers=headers, timeout=10).json()
        found = answer["data"]["result"][0]["value"][1]
    assert "3" == found


def test_start_tells_each_phase(lab: dict[str, Any]) -> None:
    """Whoever waits for a lab hears of each phase when it begins and when it ended."""
    assert "running" == lab["state"]
    assert [(phase, word) for phase in ("processes", "pods", "history") for word in ("running", "ok")] == PHASES


def test_up_leaves_a_running_lab_alone(lab: dict[str, Any]) -> None:
    """A second ``up`` returns the lab that is there, with the same processes."""
    again = supervisor.up(folder(lab))
    assert [part.get("pid") for part in lab["components"].values()] == [
        part.get("pid") for part in again["components"].values()
    ]


def test_two_labs_run_side_by_side(lab: dict[str, Any], tmp_path: Path) -> None:
    """A second lab in another folder has ports of its own, and its end does not touch the first."""
    other = supervisor.up(tmp_path / "other", prometheus="embedded", seconds_of_history=0)
    try:
        assert "v1" == get_json(other["service_url"], "/api/v1/status")["version"]
    finally:
        supervisor.down(tmp_path / "other")
    assert "running" == supervisor.status(folder(lab))["state"]


@pytest.mark.parametrize(
    ("name", "state"),
    [
        pytest.param("long_query", "active", id="active"),
        pytest.param("idle_in_transaction", "idle in transaction", id="idle"),
    ],
)
def test_database_fault_is_there_and_goes(lab: dict[str, Any], name: str, state: str) -> None:
    """The fault's sessions are real rows of pg_stat_activity in the announced state, and heal ends them."""
    registry.apply(folder(lab), name, {})
    try:
        assert {state} == sessions(lab).keys()
    finally:
        healed = registry.heal(folder(lab))
    assert {"healed": [name]} == healed
    assert {} == sessions(lab)


def test_fault_cannot_be_applied_twice(lab: dict[str, Any]) -> None:
    """A fault that is there already is refused, and the state still knows it."""
    registry.apply(folder(lab), "slow_dependency", {"seconds": "0.3"})
    try:
        with pytest.raises(UsageError, match="is there already"):
            registry.apply(folder(lab), "slow_dependency", {})
        assert 0.3 == get_json(lab["dependency_url"], "/admin/delay")["seconds"]
    finally:
        registry.heal(folder(lab))
    assert 0.005 == get_json(lab["dependency_url"], "/admin/delay")["seconds"]


def test_stopped_database_comes_back_with_its_rows(lab: dict[str, Any]) -> None:
    """After postgres_down the server refuses, status says degraded, and heal brings server and rows back."""
    registry.apply(folder(lab), "postgres_down", {})
    try:
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(lab["postgres_url"], connect_timeout=2)
        assert "degraded" == supervisor.status(folder(lab))["state"]
    finally:
        registry.heal(folder(lab))
    with psycopg.connect(lab["postgres_url"], connect_timeout=5) as connection:
        assert (50_000,) == connection.execute("SELECT count(*) FROM customers").fetchone()
    assert "running" == supervisor.status(folder(lab))["state"]


def test_killed_up_is_cleaned_by_the_next_one(tmp_path: Path) -> None:
    """A SIGKILL in the middle of ``up`` leaves processes; the next ``up`` ends them and starts a whole lab."""
    directory = tmp_path / "lab"
    with subprocess.Popen([sys.executable, "-c", UP, str(directory)], start_new_session=True) as child:
        deadline = time.monotonic() + 60
        while "controlplane" not in states.processes(directory) and time.monotonic() < deadline:
            time.sleep(0.05)
        os.kill(child.pid, signal.SIGKILL)
    left = states.strays(directory)
    assert left
    try:
        supervisor.up(directory, prometheus="embedded", seconds_of_history=0)
        assert not set(left) & set(states.strays(directory))
        assert json.loads((directory / "lab.json").read_text())["state"] == "running"
    finally:
        supervisor.down(directory)
    assert {} == states.strays(directory)


def test_failed_start_names_the_component_and_stops_the_rest(tmp_path: Path) -> None:
    """A component that ends is named with the end of its log, and nothing keeps running."""
    broken = tmp_path / "prometheus"
    broken.write_text("#!/bin/sh\necho disk is full >&2\nexit 1\n")
    broken.chmod(0o755)
    phases: list[tuple[str, str]] = []
    with pytest.raises(LabError, match="metrics"):
        supervisor.up(
            tmp_path / "lab", prometheus=str(broken), seconds_of_history=0, progress=lambda *told: phases.append(told)
        )
    assert [("processes", "running"), ("processes", "error")] == phases
    assert {} == states.strays(tmp_path / "lab")
    assert "failed" == supervisor.status(tmp_path / "lab")["state"]


def test_unknown_prometheus_is_refused(tmp_path: Path) -> None:
    """A binary that is not there is wrong use, before anything starts."""
    with pytest.raises(UsageError, match="is no program"):
        supervisor.up(tmp_path / "lab", prometheus="/nonexistent/prometheus")
    assert not (tmp_path / "lab").exists()
