"""Every notebook on a real API server under its role: the audit log shows each verb that the role grants, and no other.

It takes minutes, for a release goes out, its migration is undone and the service returns; so it runs with
``make test-cluster`` only.
"""

from __future__ import annotations

import getpass
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from runbook_lib.clients import _helm
from runbook_lib.clients._tape import LiveTape
from runbook_lib.clients.helm import HelmClient
from runbook_lib.lab import supervisor
from runbook_lib.lab.cluster import Cluster
from runbook_lib.lab.release import CHART, DEPLOYMENT, NAMESPACE
from runbook_lib.lab.status import send_json
from runbook_lib.model import Endpoint, Evidence, Window
from runbook_lib.model.rights import ROLES, Right, granted
from tests.conftest import Practice

pytestmark = [
    pytest.mark.slow,
    pytest.mark.lab,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(
        os.environ.get("RUNBOOK_TEST_CONTROL_PLANE") != "real", reason="roles on a real cluster: make test-cluster"
    ),
]

#: Requests per second that three pods carry and one does not.
BUSY_RATE = 60.0
QUICK = ("-p", "probe_seconds=2", "-p", "window_minutes=10")
BACK = ("-p", "release=v1", "-p", "because=the next release is a day away", "-p", "window_minutes=5")
READ_ONLY = ("preflight", "high_latency", "validate", "verify_fix", "slo_report", "escalate")


@contextmanager
def acting_as(practice: Practice, role: str) -> Iterator[None]:
    """The runbooks reach the cluster with the credentials of a role."""
    file = practice.folder / "environment.toml"
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace("deployer.kubeconfig", f"{role}.kubeconfig"), encoding="utf-8")
    try:
        yield
    finally:
        file.write_text(text, encoding="utf-8")


def approved(practice: Practice, told: dict[str, Any], runbook: str, *words: str, by: str = "grace") -> tuple[str, ...]:
    """Approve the last plan that a run told of, as somebody; the words that carry it out."""
    assert told["plans"], f"{runbook} has no plan: {json.dumps(told)[:2000]}"
    plan, archive = told["plans"][-1]["digest"], f"{practice.folder}/outputs"
    with pytest.MonkeyPatch.context() as person:
        person.setenv("RUNBOOK_ACTOR", by)
        done = practice.command("approve", told["run_id"], "--plan", plan, "--archive", archive, "--json")
    assert 0 == done.returncode, done.stderr
    return (runbook, *words, "--apply", "--approval", json.loads(done.stdout)["approval"])


def carried_out(practice: Practice, runbook: str, *words: str) -> None:
    """Plan, approve and apply; it must have been applied."""
    told = practice.run(*approved(practice, practice.run(runbook, *words), runbook, *words))
    assert ["applied"] == [one["outcome"] for one in told["outcomes"]], told["outcomes"]


def restored(practice: Practice) -> None:
    """Somebody scales the service down below its load; the runbook finds it and its plan brings the pods back."""
    with Cluster(practice.folder / "kubeconfig") as cluster:
        wanted = cluster.deployment()["spec"]["replicas"]
        place = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/{DEPLOYMENT}/scale?fieldManager=kubectl"
        cluster.request("PATCH", place, {"spec": {"replicas": 1}}, "application/merge-patch+json")
    send_json("PUT", practice.status["load_url"], "/rate", {"rate": BUSY_RATE})
    try:
        assert practice.wait(above=0.25), "one pod carries the load"
        words = ("high_latency", "-p", "window_minutes=5")
        told = practice.interrupted(*approved(practice, practice.run(*words), *words), after="action.outcome")
    finally:
        send_json("PUT", practice.status["load_url"], "/rate", {"rate": supervisor.RATE})
    assert [("applied", wanted)] == [(one["outcome"], one["read_back"]["replicas"]) for one in told["outcomes"]]
    assert practice.wait(below=0.2, seconds=300)


def free(practice: Practice) -> None:
    """Take the lock away, as if nobody had ever held it: the next role makes it."""
    place = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases"
    with Cluster(practice.folder / "kubeconfig") as cluster:
        cluster.request("DELETE", f"{place}?fieldSelector=metadata.name%3Drunbook-api")


def revised(practice: Practice) -> None:
    """Every Helm that is here makes some revisions; together more than the ten that Helm keeps."""
    named = [os.environ.get(name, "") for name in ("RUNBOOK_TEST_HELM4", "RUNBOOK_TEST_HELM3")]
    backends: list[_helm.Backend] = [_helm.Sdk(), *(_helm.Command(program) for program in named if program)]
    settings = {"kubeconfig": str(practice.folder / "deployer.kubeconfig"), "namespace": NAMESPACE}
    values = str(practice.folder / "values-prod.yaml")
    for backend in backends:
        client = HelmClient(
            endpoint=Endpoint("kubernetes", settings, {}),
            workload={"release": "api-release", "chart": str(CHART), "values": values},
            tape=LiveTape(),
            window=Window.last(5),
            environment="lab",
            backend=backend,
        )
        for _ in range(12 // len(backends)):
            history = client.history()
            assert isinstance(history, Evidence), history
            newest = history.table.records()[-1]["revision"]
            client.upgrade({"image": {"tag": "v1"}}, from_revision=newest)
        client.rollback(newest, from_revision=newest + 1)
        client.close()


def reads(practice: Practice) -> None:
    """Every runbook that only investigates."""
    for runbook in READ_ONLY:
        practice.run(runbook)


def acts(practice: Practice) -> None:
    """An investigation, and two changes of the scale: the lock is made, and taken again."""
    practice.run("validate")
    for _ in range(2):
        restored(practice)


def deploys(practice: Practice) -> None:
    """A release goes out, its schema and then its revision go back, and more revisions come than Helm keeps."""
    carried_out(practice, "deploy", "-p", "image_tag=v4", *QUICK)
    for _ in ("stop_service", "migrate_down"):
        assert getpass.getuser() != "grace"
        carried_out(practice, "database_rollback", *BACK)
    carried_out(practice, "rollback", "-p", "revision=1", *QUICK)
    revised(practice)


#: What each role is there for. A release needs what is left of the error budget, so it comes before the pods are taken.
WORK: Mapping[str, Callable[[Practice], None]] = {"reader": reads, "deployer": deploys, "actor": acts}


@pytest.fixture(scope="module")
def healthy(practice: Practice) -> Practice:
    """The lab, once its service is as it should be."""
    deadline = time.monotonic() + 300
    while practice.run("validate", "-p", "window_minutes=2")["exit_code"]:
        assert time.monotonic() < deadline, "the lab does not become healthy"
    return practice


def seen(audit: Path, user: str) -> tuple[set[Right], set[Right]]:
    """What a user did by the audit log, and what the API server forbade."""
    used, denied = set[Right](), set[Right]()
    for line in audit.read_text(encoding="utf-8").splitlines():
        event = json.loads(line)
        what = event.get("objectRef") or {}
        if event["user"]["username"] != user or what.get("resource", "selfsubjectaccessreviews").startswith("selfs"):
            continue
        right = Right(what.get("apiGroup", ""), what["resource"], what.get("subresource", ""), event["verb"])
        forbidden = event.get("annotations", {}).get("authorization.k8s.io/decision") == "forbid"
        (denied if forbidden else used).add(right)
    return used, denied


@pytest.mark.parametrize("role", WORK)
def test_role_grants_what_is_used(healthy: Practice, role: str, record_property: Callable[[str, object], None]) -> None:
    """No verb is granted and never used, and none is used that is not granted."""
    assert WORK.keys() == ROLES.keys()
    free(healthy)
    with acting_as(healthy, role):
        WORK[role](healthy)
    does, denied = seen(healthy.folder / "kubernetes" / "audit.jsonl", f"runbook-{role}")
    grants = set(granted(role))
    record_property("verbs granted", f"{role}: {len(grants)} ({', '.join(map(str, sorted(grants)))})")
    record_property("verbs used", f"{role}: {len(does & grants)} of {len(grants)}, denied {len(denied)}")
    assert ([], []) == (sorted(map(str, grants - does)), sorted(map(str, denied | (does - grants))))
