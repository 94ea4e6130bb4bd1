"""Both back ends of Helm on the same cluster: the command (3 and 4 where there are any) and the SDK."""

from __future__ import annotations

import base64
import gzip
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from runbook_lib.clients import _helm
from runbook_lib.clients._kubernetes import ApiServer
from runbook_lib.clients.helm import HelmClient
from runbook_lib.clients.kubernetes import KubernetesClient
from runbook_lib.errors import ActionError, ActionRejectedError, OutcomeUnknownError
from runbook_lib.lab.cluster import Cluster, write_kubeconfig
from runbook_lib.lab.release import CHART, Helm
from runbook_lib.model import Evidence, Gap

NAMESPACE = "production"
WORKLOAD = {"release": "api-release", "chart": str(CHART), "values": str(CHART / "values-prod.yaml")}
PROGRAMS = {"sdk": "", "helm": "helm", "helm 3": "RUNBOOK_TEST_HELM3", "helm 4": "RUNBOOK_TEST_HELM4"}


@pytest.fixture(params=PROGRAMS)
def backend(request: pytest.FixtureRequest) -> _helm.Backend:
    """The SDK, the command on PATH, and those that the environment names."""
    if request.param == "sdk":
        return _helm.Sdk()
    program = PROGRAMS[request.param]
    program = shutil.which("helm") or "" if program == "helm" else os.environ.get(program, "")
    if not program:
        pytest.skip(f"no {request.param} ({PROGRAMS[request.param]})")
    return _helm.Command(program)


@pytest.fixture
def installed(kubeconfig_of_cluster: Path) -> Iterator[Path]:
    """A cluster where revision 1 of the release is deployed, with image v1."""
    helm = Helm(kubeconfig_of_cluster)
    helm.uninstall()
    helm.install({"image": {"tag": "v1"}})
    yield kubeconfig_of_cluster
    helm.uninstall()


@pytest.fixture
def client(make, backend, installed) -> Callable[..., HelmClient]:
    """Builds a client of the release; keyword arguments replace parts of the workload."""

    def build(**workload: Any) -> HelmClient:
        settings = {"kubeconfig": str(installed), "namespace": NAMESPACE}
        made = make(HelmClient, settings, workload={**WORKLOAD, **workload}, backend=backend)
        assert isinstance(made, HelmClient)
        return made

    return build


def images(kubeconfig: Path) -> tuple[str, int]:
    """Image and replicas that the deployment asks for now."""
    api = ApiServer(str(kubeconfig), "", connect_seconds=3, total_seconds=10)
    found = api.get(f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/api-deployment")["spec"]
    api.close()
    return found["template"]["spec"]["containers"][0]["image"], found["replicas"]


def die_half_way(kubeconfig: Path, revision: int) -> None:
    """Leave a revision as a Helm that was killed leaves it: pending."""
    place = f"/api/v1/namespaces/{NAMESPACE}/secrets/sh.helm.release.v1.api-release.v{revision}"
    api = ApiServer(str(kubeconfig), "", connect_seconds=3, total_seconds=10)
    secret = api.get(place)
    release = json.loads(gzip.decompress(base64.b64decode(base64.b64decode(secret["data"]["release"]))))
    release["info"]["status"] = secret["metadata"]["labels"]["status"] = "pending-upgrade"
    packed = base64.b64encode(gzip.compress(json.dumps(release).encode()))
    secret["data"]["release"] = base64.b64encode(packed).decode()
    api.write("PUT", place, secret)
    api.close()


def test_stuck_release_is_left_only_on_purpose(client, installed):
    """A pending revision stops upgrade and rollback; the rollback that means it brings the good revision back."""
    helm = client()
    helm.upgrade({"image": {"tag": "v2"}}, from_revision=1)
    with pytest.raises(ActionRejectedError, match="is deployed; nothing was sent"):
        helm.rollback(1, from_revision=2, pending=True)
    die_half_way(installed, 2)
    with pytest.raises(ActionRejectedError, match="pending-upgrade"):
        helm.upgrade({"image": {"tag": "v3"}}, from_revision=2)
    with pytest.raises(ActionRejectedError, match="pending-upgrade"):
        helm.rollback(1, from_revision=2)
    assert (3, "deployed") == tuple(helm.rollback(1, from_revision=2, pending=True).values())[:2]
    assert "acme/api:v1" == images(installed)[0]


def test_history_of_a_release(client):
    """The first revision is deployed, with its chart and its time."""
    result = client().history()
    assert isinstance(result, Evidence), result
    row = result.table.records()[0]
    assert (1, "deployed", True) == (row["revision"], row["status"], str(row["chart"]).startswith("api-"))
    assert isinstance(row["updated_at"], float)
    assert abs(row["updated_at"] - result.read_at.timestamp()) < 120


def test_upgrade_and_rollback(client, installed):
    """An upgrade sets the image; a rollback to a named revision sets it back, as a new revision."""
    helm = client()
    assert ("acme/api:v1", 3) == images(installed)
    assert (2, "deployed") == tuple(helm.upgrade({"image": {"tag": "v2"}}, from_revision=1).values())[:2]
    assert ("acme/api:v2", 3) == images(installed)
    assert (3, "deployed") == tuple(helm.rollback(1, from_revision=2).values())[:2]
    assert ("acme/api:v1", 3) == images(installed)
    rows = helm.history().table.records()
    assert ["superseded", "superseded", "deployed"] == [row["status"] for row in rows]


def test_no_more_revisions_are_kept_than_helm_keeps(client):
    """Beyond ten revisions each upgrade and each rollback removes the oldest, whichever Helm it is."""
    helm = client()
    for newest in range(1, 11):
        helm.upgrade({"image": {"tag": f"v{newest % 2 + 1}"}}, from_revision=newest)
    helm.rollback(11, from_revision=11)
    rows = helm.history().table.records()
    assert list(range(3, 13)) == [row["revision"] for row in rows]


def test_values_are_shown_without_secrets(client):
    """The values of a release are read, passwords in them are not."""
    helm = client()
    helm.upgrade({"image": {"tag": "v2"}, "config": {"DB_PASSWORD": "canary-helm-value"}}, from_revision=1)
    result = helm.release()
    assert isinstance(result, Evidence)
    assert "v2" == result.document["values"]["image"]["tag"]
    assert "canary" not in str(result.to_json())


def test_render_changes_nothing(client, installed):
    """The manifest of an upgrade is shown, and the release stays as it is."""
    helm = client()
    manifest = helm.render({"image": {"tag": "v9"}})
    assert "acme/api:v9" in manifest
    assert ("acme/api:v1", 1) == (images(installed)[0], len(helm.history().table))


def test_preview_shows_what_would_change(client, installed):
    """An upgrade's difference to the cluster is the image; a rollback to what is there has none."""
    helm = client()
    found = helm.preview({"image": {"tag": "v2"}})
    assert isinstance(found, Evidence), found
    assert {"-        image: acme/api:v1", "+        image: acme/api:v2"} < set(found.document["diff"].splitlines())
    assert [] == found.document["conflicts"]
    same = helm.preview(revision=1)
    assert (0, "", []) == tuple(same.document[key] for key in ("changed", "diff", "conflicts"))
    assert ("acme/api:v1", 1) == (images(installed)[0], len(helm.history().table))


def test_preview_finds_who_else_holds_a_field(client, make, installed):
    """After an emergency scale the field is named with its owner and both numbers; with the live number all is well."""
    cluster = make(KubernetesClient, {"kubeconfig": str(installed), "namespace": NAMESPACE})
    cluster.scale(replicas=5, uid=cluster.deployment().document["metadata"]["uid"], current=3)
    helm = client()
    held = {"object": "deployment/api-deployment", "field": ".spec.replicas", "manager": "runbook (scale)"}
    wanted = [{**held, "live": 5, "wanted": 3}]
    assert wanted == helm.preview({"image": {"tag": "v2"}}).document["conflicts"]
    assert wanted == helm.preview(revision=1).document["conflicts"]
    assert [] == helm.preview({"image": {"tag": "v2"}, "replicaCount": 5}).document["conflicts"]


def test_preview_of_a_broken_chart_is_a_gap(client, tmp_path):
    """A chart that does not render is a gap with Helm's own words."""
    chart = tmp_path / "chart"
    shutil.copytree(CHART, chart)
    (chart / "templates" / "broken.yaml").write_text("{{ .Values.missing.deeply.nested }}")
    found = client(chart=str(chart)).preview({"image": {"tag": "v2"}})
    assert isinstance(found, Gap)
    assert "nil pointer" in found.reason


def test_plan_against_an_older_revision_is_rejected(client, installed):
    """What was planned for another revision is not done."""
    helm = client()
    helm.upgrade({"image": {"tag": "v2"}}, from_revision=1)
    with pytest.raises(ActionRejectedError, match="at revision 2, not 1"):
        helm.upgrade({"image": {"tag": "v3"}}, from_revision=1)
    with pytest.raises(ActionRejectedError, match="at revision 2, not 1"):
        helm.rollback(1, from_revision=1)
    assert "acme/api:v2" == images(installed)[0]


def test_revision_that_does_not_exist_is_rejected(client, installed):
    """A rollback to a revision that is not there changes nothing."""
    with pytest.raises(ActionRejectedError):
        client().rollback(7, from_revision=1)
    assert "acme/api:v1" == images(installed)[0]


def test_chart_that_does_not_render_is_rejected(client, tmp_path, installed):
    """A broken template is refused before anything changes."""
    chart = tmp_path / "chart"
    shutil.copytree(CHART, chart)
    (chart / "templates" / "broken.yaml").write_text("{{ .Values.missing.deeply.nested }}")
    with pytest.raises(ActionRejectedError):
        client(chart=str(chart)).upgrade({"image": {"tag": "v2"}}, from_revision=1)
    assert "acme/api:v1" == images(installed)[0]


def test_scaled_deployment_meets_the_next_upgrade(client, make, installed, backend):
    """After an emergency scale Helm 3 sets the chart's number silently; Helm 4 fails on the owner, or takes it back."""
    cluster = make(KubernetesClient, {"kubeconfig": str(installed), "namespace": NAMESPACE})
    uid = cluster.deployment().document["metadata"]["uid"]
    cluster.scale(replicas=5, uid=uid, current=3)
    helm = client()
    version = _helm.Command.version(backend) if isinstance(backend, _helm.Command) else backend.version()
    if version.startswith("v3"):
        helm.upgrade({"image": {"tag": "v2"}}, from_revision=1)
        assert ("acme/api:v2", 3) == images(installed)
        return
    with pytest.raises(ActionError, match="replicas") as raised:
        helm.upgrade({"image": {"tag": "v2"}}, from_revision=1)
    assert not isinstance(raised.value, ActionRejectedError | OutcomeUnknownError)
    failed = helm.history().table.records()[-1]
    assert (2, "failed") == (failed["revision"], failed["status"])
    helm.upgrade({"image": {"tag": "v2"}}, from_revision=2, force_conflicts=True)
    assert ("acme/api:v2", 3) == images(installed)


@pytest.mark.parametrize(
    "change", [{"release": "--post-renderer=x"}, {"release": "A_b"}, {"release": "a" * 54}, {"chart": "-x"}]
)
def test_names_are_checked(client, change):
    """A name that could be read as an option, or is none, never reaches Helm."""
    with pytest.raises(ActionRejectedError):
        client(**change).upgrade({}, from_revision=1)


def test_server_is_told(client, backend):
    """Which Helm answers is evidence."""
    found = client().server()
    assert isinstance(found, Evidence)
    assert (backend.name, True) == (found.document["backend"], found.document["version"].startswith("v"))


def test_missing_release_is_a_gap(client):
    """A release that is not there is a gap."""
    assert isinstance(client(release="no-such-release").history(), Gap)


def test_reader_without_secrets_is_told_the_right(make, backend, installed, tmp_path):
    """Whoever may not list Secrets gets a gap that names the right and the role, before Helm asks for one."""
    kubeconfig = tmp_path / "kubeconfig"
    with Cluster(installed) as cluster:
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "no-secrets"}}
        cluster.apply(f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts", account)
        write_kubeconfig(kubeconfig, "no-secrets", cluster.service_account_token("no-secrets"), installed)
    helm = make(HelmClient, {"kubeconfig": str(kubeconfig), "namespace": NAMESPACE}, workload=WORKLOAD, backend=backend)
    for found in (helm.history(), helm.release(), helm.preview(revision=1)):
        assert isinstance(found, Gap)
        assert "denied" == found.kind
        assert "list secrets in production is not allowed" in found.reason
        assert "runbook roles deployer" in found.reason


def test_dead_cluster_rejects_a_write(make, backend, tmp_path, dead_port):
    """Where no cluster answers nothing was changed."""
    path = tmp_path / "kubeconfig"
    path.write_text(
        '{"apiVersion": "v1", "kind": "Config", "current-context": "c", "users": [{"name": "u", "user": {}}],'
        ' "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],'
        f' "clusters": [{{"name": "c", "cluster": {{"server": "http://127.0.0.1:{dead_port}"}}}}]}}'
    )
    helm = make(HelmClient, {"kubeconfig": str(path)}, workload=WORKLOAD, backend=backend)
    assert isinstance(helm.history(), Gap)
    with pytest.raises(ActionRejectedError, match="nothing was sent"):
        helm.rollback(1, from_revision=2)


def test_values_merge_as_helm_merges_files():
    """Tables are merged key by key; everything else is replaced."""
    base = {"a": {"b": 1, "c": [1, 2]}, "d": 1}
    assert {"a": {"b": 2, "c": [3]}, "d": 1, "e": None} == _helm.merged(base, {"a": {"b": 2, "c": [3]}, "e": None})
