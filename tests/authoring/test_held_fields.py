"""A release after ``kubectl scale``: drift tells what the next revision will do, and each Helm does exactly that."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runbook_lib.authoring.held_fields import held_fields
from runbook_lib.clients._tape import LiveTape
from runbook_lib.lab.cluster import Cluster
from runbook_lib.lab.release import CHART, DEPLOYMENT, NAMESPACE, Helm
from runbook_lib.model import Check, CheckStatus, Endpoint, Environment, Service, Window
from runbook_lib.run.systems import Systems
from tests.clients.conftest import emulator, kubeconfig_of_cluster  # noqa: F401 - fixtures

PROGRAMS = {"sdk": "", "helm 3": "RUNBOOK_TEST_HELM3", "helm 4": "RUNBOOK_TEST_HELM4"}
SCALE = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/{DEPLOYMENT}/scale"
WORKLOAD = {"release": "api-release", "namespace": NAMESPACE, "deployment": DEPLOYMENT, "chart": str(CHART)}


@pytest.fixture(params=PROGRAMS)
def helm(
    request: pytest.FixtureRequest,
    kubeconfig_of_cluster: Path,  # noqa: F811 - the fixture
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Helm]:
    """A release with three pods, by the SDK or the ``helm`` command of a major version, as the only Helm here."""
    program = os.environ.get(PROGRAMS[request.param], "")
    if request.param != "sdk" and not program:
        pytest.skip(f"no {request.param} ({PROGRAMS[request.param]})")
    Helm(kubeconfig_of_cluster).uninstall()
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    if program:
        (bin_folder / "helm").symlink_to(Path(program).resolve())
        monkeypatch.setenv("PATH", f"{bin_folder}{os.pathsep}{os.environ['PATH']}")
        monkeypatch.setattr(Helm, "backend", "command")
    elif shutil.which("helm"):
        pytest.skip("a helm command is on PATH and goes before the SDK")
    made = Helm(kubeconfig_of_cluster)
    made.install({"image": {"tag": "v1"}, "replicaCount": 3})
    yield made
    monkeypatch.undo()
    made.uninstall()


def told(helm: Helm) -> list[Check]:
    """What drift says of the release."""
    endpoint = Endpoint("kubernetes", {"kubeconfig": str(helm.kubeconfig), "namespace": NAMESPACE})
    service = Service("api", "the API", "Platform", {}, {}, {}, (), {}, (), {}, WORKLOAD)
    environment = Environment("test", "", (), {}, {"kubernetes": endpoint})
    systems = Systems(service, environment, Window.last(5), LiveTape())
    try:
        return list(held_fields(systems))
    finally:
        systems.close()


def replicas(helm: Helm) -> int:
    """Pods that the deployment asks for now."""
    with Cluster(helm.kubeconfig) as cluster:
        return int(cluster.deployment()["spec"]["replicas"])


def scaled(helm: Helm, count: int) -> None:
    """What ``kubectl scale`` sends."""
    change = {"spec": {"replicas": count}}
    with Cluster(helm.kubeconfig) as cluster:
        cluster.request("PATCH", f"{SCALE}?fieldManager=kubectl", change, "application/merge-patch+json")


def test_emergency_scale_is_told_before_the_next_revision(helm: Helm) -> None:
    """Nothing is told of a release as Helm left it; after a scale the field, its holder, and what comes of it."""
    assert [CheckStatus.PASSED] == [check.status for check in told(helm)]
    scaled(helm, 5)
    (check,) = told(helm)
    assert (CheckStatus.FAILED, f"deployment/{DEPLOYMENT} .spec.replicas") == (check.status, check.name)
    assert check.observed.startswith("held by kubectl (scale): 5 now, 3 in the release")
    assert 5 == replicas(helm), "drift changed something"
    upgrade: dict[str, Any] = {"image": {"tag": "v2"}, "replicaCount": 3}
    if "sets it back without a word" in check.observed:
        helm.upgrade(upgrade)
        assert 3 == replicas(helm)
    else:
        with pytest.raises(Exception, match="conflict"):
            helm.upgrade(upgrade)
        assert 5 == replicas(helm)


def test_scale_to_what_the_release_says_is_no_drift(helm: Helm) -> None:
    """A count that the next revision would set anyway stands against nothing."""
    scaled(helm, 5)
    scaled(helm, 3)
    assert [CheckStatus.PASSED] == [check.status for check in told(helm)]
