"""Releases and the schema by the shipped notebooks, in one lab and in this order: each test goes on where one ended."""

from __future__ import annotations

import base64
import getpass
import gzip
import json
import time
from pathlib import Path
from typing import Any

import pytest

from runbook_lib.lab import cluster
from runbook_lib.lab.release import DEPLOYMENT, NAMESPACE
from tests.conftest import Practice

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

QUICK = ("-p", "probe_seconds=2", "-p", "window_minutes=10")
BACK = ("-p", "release=v1", "-p", "because=the next release is a day away", "-p", "window_minutes=5")
SECRETS = f"/api/v1/namespaces/{NAMESPACE}/secrets"
DEPLOYMENTS = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/{DEPLOYMENT}"
MERGE = "application/merge-patch+json"


@pytest.fixture
def cluster_admin(practice: Practice) -> Any:
    """The lab's API server as its administrator sees it."""
    with cluster.Cluster(practice.folder / "kubeconfig") as made:
        yield made


def carried_out(
    practice: Practice, told: dict[str, Any], runbook: str, *words: str, by: str = "", patch: pytest.MonkeyPatch
) -> dict[str, Any]:
    """Approve the last plan that a run told of, as somebody, and run a runbook with it."""
    plan, archive = told["plans"][-1]["digest"], f"{practice.folder}/outputs"
    with patch.context() as person:
        if by:
            person.setenv("RUNBOOK_ACTOR", by)
        done = practice.command("approve", told["run_id"], "--plan", plan, "--archive", archive, "--json")
    assert 0 == done.returncode, done.stderr
    return practice.run(runbook, *words, "--apply", "--approval", json.loads(done.stdout)["approval"])


def status_of(told: dict[str, Any]) -> dict[str, str]:
    """Name to status of every check of a run."""
    return {one["name"]: one["status"] for one in told["checks"]}


def incomplete(told: dict[str, Any]) -> list[str]:
    """Clauses of the rollout that do not hold; whether latency holds is the machine's business here."""
    clauses = [one for one in told["checks"] if one["group"] == "rollout"]
    assert clauses
    return [f"{one['name']}: {one['observed']}" for one in clauses if one["status"] != "passed"]


def refused_by(outcome: dict[str, Any]) -> list[str]:
    """Names of the guards that refused."""
    return [guard["name"] for guard in outcome["guards"] if not guard["passed"]]


def test_what_is_live_is_remembered_as_good(practice: Practice) -> None:
    """The gate passes on a healthy lab, and calls its revision good."""
    deadline = time.monotonic() + 300
    while (told := practice.run("validate", "-p", "window_minutes=2"))["exit_code"] and time.monotonic() < deadline:
        practice.wait(below=0.2)
    assert 0 == told["exit_code"]


def test_what_stands_against_a_release_fails_the_run(practice: Practice, cluster_admin: Any) -> None:
    """A tag that is not in the registry, and a quota without room for one pod more: both are told, nothing is sent."""
    path = f"/api/v1/namespaces/{NAMESPACE}/resourcequotas"
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "full"}, "spec": {"hard": {"pods": "3"}}}
    used = {"status": {"hard": {"pods": "3"}, "used": {"pods": "3"}}}
    cluster_admin.request("POST", path, quota)
    try:
        # The emulator has no controller that counts.
        cluster_admin.request("PATCH", f"{path}/full/status", used, MERGE)
        told = practice.run("deploy", "-p", "image_tag=v9", *QUICK)
    finally:
        cluster_admin.request("DELETE", f"{path}/full")
    wanted = {"image in the registry": "failed", "room for a pod more": "failed", "CI passed": "unknown"}
    assert (wanted, 1) == ({name: status_of(told)[name] for name in wanted}, told["exit_code"])


def test_denied_verb_is_named(practice: Practice) -> None:
    """With the reader's credentials the preflight names each verb that deploying and its undo lack."""
    catalogue = practice.folder / "environment.toml"
    text = catalogue.read_text(encoding="utf-8")
    catalogue.write_text(text.replace("deployer.kubeconfig", "reader.kubeconfig"), encoding="utf-8")
    try:
        told = practice.run("preflight")
    finally:
        catalogue.write_text(text, encoding="utf-8")
    failed = {name for name, status in status_of(told).items() if status == "failed"}
    assert ({"create secrets", "patch deployments/scale"} <= failed, 1) == (True, told["exit_code"]), failed


def test_contract_release_goes_out_after_an_emergency_scale(
    practice: Practice, cluster_admin: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The scaled count is held by another manager: it is given back on request; the rename is told before."""
    scaled = f"{DEPLOYMENTS}/scale?fieldManager=kubectl"
    cluster_admin.request("PATCH", scaled, {"spec": {"replicas": 4}}, MERGE)
    words = ("-p", "image_tag=v4", "-p", "on_conflict=take_back", *QUICK)
    told = practice.run("deploy", *words)
    assert "failed" == status_of(told)["renaming-column"]
    assert "4 now, 3 wanted; it is taken back" in told["plans"][0]["warnings"][0]
    good = carried_out(practice, told, "deploy", *words, patch=monkeypatch)
    assert (["applied"], []) == ([one["outcome"] for one in good["outcomes"]], incomplete(good))
    assert 3 == good["outcomes"][0]["read_back"]["replicas"]


def test_rollback_over_a_rename_is_refused(practice: Practice) -> None:
    """The older release does not know the schema: refused before any approval, and it says where to go."""
    refused = practice.run("rollback", "-p", "revision=1", *QUICK, "--apply")
    assert ("refused", 4) == (refused["outcomes"][0]["outcome"], refused["exit_code"])
    assert ["the schema fits the release"] == refused_by(refused["outcomes"][0])
    assert "runbook run database_rollback" in refused["outcomes"][0]["reason"]


def test_schema_returns_in_two_steps_by_two_people(practice: Practice, monkeypatch: pytest.MonkeyPatch) -> None:
    """The service is stopped, then the tool's SQL is run, each once and by a second person, on a restored backup."""
    told = practice.run("database_rollback", *BACK)
    assert {"v1": "failed", "v2": "failed", "v3": "failed", "v4": "passed"} == {
        name.removeprefix("release "): status for name, status in status_of(told).items() if name.startswith("release ")
    }
    assert "passed" == status_of(told)["restored on trial"]
    requester = getpass.getuser()
    alone = carried_out(practice, told, "database_rollback", *BACK, by=requester, patch=monkeypatch)
    assert "needs a second person" in alone["outcomes"][0]["reason"]
    stopped = carried_out(practice, told, "database_rollback", *BACK, by="grace", patch=monkeypatch)
    assert ("stop_service", "applied", "held") == (
        stopped["plans"][-1]["kind"], stopped["outcomes"][0]["outcome"], stopped["verification"]["status"]
    )  # fmt: skip
    told = practice.run("database_rollback", *BACK)
    assert "RENAME COLUMN amount_cents TO total_cents" in told["plans"][0]["diff"]
    undone = carried_out(practice, told, "database_rollback", *BACK, by="grace", patch=monkeypatch)
    assert ("migrate_down", "applied", {"newest": "3"}) == (
        undone["plans"][-1]["kind"], undone["outcomes"][0]["outcome"], undone["outcomes"][0]["read_back"]
    )  # fmt: skip
    assert "held" == undone["verification"]["status"]


def test_stuck_release_is_unlocked_onto_the_good_one(
    practice: Practice, cluster_admin: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Helm operation that died leaves the release pending; the way out starts the release that fits the schema."""
    pending(cluster_admin, after=2)
    told = practice.run("rollback", "-p", "revision=1", *QUICK)
    assert ("unlock_release", "acme/api:v1") == (told["plans"][0]["kind"], told["plans"][0]["to"]["image"])
    back = carried_out(practice, told, "rollback", "-p", "revision=1", *QUICK, patch=monkeypatch)
    assert (["applied"], []) == ([one["outcome"] for one in back["outcomes"]], incomplete(back))


def test_records_replay_to_the_same_end(practice: Practice) -> None:
    """The records of a deployment and of an undone migration tell the same without any network."""
    for runbook in ("deploy", "database_rollback"):
        newest = max((practice.folder / "outputs").glob(f"*/*/*/*-{runbook}-*"), key=lambda path: path.stat().st_mtime)
        done = practice.command("records", "replay", str(newest))
        assert 0 == done.returncode, f"{Path(newest).name}: {done.stdout} {done.stderr}"


def pending(admin: cluster.Cluster, *, after: int) -> None:
    """Leave a revision as a Helm does that was killed long ago, after the newest one."""
    found = admin.request("GET", f"{SECRETS}/sh.helm.release.v1.api-release.v{after}")
    release = json.loads(gzip.decompress(base64.b64decode(base64.b64decode(found["data"]["release"]))))
    release["version"] = after + 1
    release["info"] |= {"status": "pending-upgrade", "last_deployed": "2026-01-01T00:00:00Z"}
    data = base64.b64encode(base64.b64encode(gzip.compress(json.dumps(release).encode()))).decode()
    labels = {**found["metadata"]["labels"], "status": "pending-upgrade", "version": str(after + 1)}
    name = f"sh.helm.release.v1.api-release.v{after + 1}"
    made = {"metadata": {"name": name, "labels": labels}, "type": found["type"], "data": {"release": data}}
    admin.request("POST", SECRETS, {"apiVersion": "v1", "kind": "Secret", **made})
