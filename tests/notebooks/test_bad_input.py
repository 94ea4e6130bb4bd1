"""What is wrong with a release before it goes out, and an image that no node can pull, through the shipped notebook."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from runbook_lib.lab.release import CHART, Helm
from runbook_lib.lab.vendors import github_history
from runbook_lib.record import evidence_file
from tests.conftest import Practice
from tests.lab.controlplane.servers import start_emulator

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

QUICK = ("-p", "probe_seconds=2", "-p", "window_minutes=10", "-p", "rollout_minutes=1.5")
DEPLOY = ("deploy", "-p", "image_tag=v2", *QUICK)
CANARY = "kept-nowhere-5521"
TEMPLATE = (CHART / "templates" / "deployment.yaml").read_text(encoding="utf-8")
MIRROR = "registry.internal:5000/acme/api"


@contextmanager
def edited(path: Path, **settings: str) -> Iterator[None]:
    """The settings of a TOML file with other values, until the end of the block; texts come with their quotes."""
    text = path.read_text(encoding="utf-8")
    lines = [
        f"{key} = {settings[key]}" if (key := line.partition(" = ")[0]) in settings else line
        for line in text.splitlines()
    ]
    path.write_text("\n".join(lines), encoding="utf-8")
    try:
        yield
    finally:
        path.write_text(text, encoding="utf-8")


def quoted(path: Path) -> str:
    """A path as TOML writes it."""
    return json.dumps(str(path))


def chart_with(folder: Path, name: str, template: str) -> Path:
    """A copy of the lab's chart in which one template is another; its folder."""
    chart = folder / name
    shutil.copytree(CHART, chart)
    (chart / "templates" / "deployment.yaml").write_text(template, encoding="utf-8")
    return chart


def values_with(folder: Path, more: str) -> Path:
    """The lab's values file with more lines."""
    path = folder / "values.yaml"
    path.write_text(f"{(CHART / 'values-prod.yaml').read_text(encoding='utf-8')}\n{more}\n", encoding="utf-8")
    return path


def approved(practice: Practice, told: dict[str, Any]) -> tuple[str, str, str]:
    """Approve the last plan that a run told of; the words that carry it out."""
    plan, archive = told["plans"][-1]["digest"], f"{practice.folder}/outputs"
    done = practice.command("approve", told["run_id"], "--plan", plan, "--archive", archive, "--json")
    assert 0 == done.returncode, done.stderr
    return "--apply", "--approval", json.loads(done.stdout)["approval"]


def planning(told: dict[str, Any]) -> tuple[str, str]:
    """Status and words of the check that the change can be planned."""
    return next(
        (one["status"], one["observed"]) for one in told["checks"] if one["name"] == "the change can be planned"
    )


def test_release_name_like_an_option_starts_nothing(practice: Practice) -> None:
    """A release called like an option of Helm is wrong use: the key is named, and no record is begun."""
    with edited(practice.folder / "runbook.toml", release='"--post-renderer=id"'):
        done = practice.command("run", *DEPLOY)
    assert (2, True) == (done.returncode, "services.api.workload.release" in done.stderr), done.stderr
    assert [] == list((practice.folder / "outputs").glob("*/*/*/*"))


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        pytest.param("{{ .Values.missing.deeply.nested }}", "nil pointer", id="does-not-render"),
        pytest.param(
            TEMPLATE.replace("{{ .Values.replicaCount }}", "-1"), "spec.replicas", id="refused-by-the-cluster"
        ),
        pytest.param("{{/* nothing */}}", "renders no image of acme/api", id="without-the-image"),
    ],
)
def test_chart_that_cannot_be_applied_fails_the_run(
    practice: Practice, tmp_path: Path, template: str, reason: str
) -> None:
    """Helm's or the cluster's own words say why there is no plan, and asking for it is no success."""
    with edited(practice.folder / "environment.toml", chart=quoted(chart_with(tmp_path, "chart", template))):
        told = practice.run(*DEPLOY)
    status, words = planning(told)
    assert ("failed", True, [], 1) == (status, reason in words, told["plans"], told["exit_code"]), words


@pytest.mark.parametrize(
    ("lines", "place"),
    [
        pytest.param(
            f'config:\n  PAYMENTS_TOKEN: "{CANARY}"', "configmap/api-config.data.PAYMENTS_TOKEN", id="rendered"
        ),
        pytest.param(f'database:\n  password: "{CANARY}"', "values.database.password", id="never-used"),
    ],
)
def test_values_with_a_secret_are_refused(practice: Practice, tmp_path: Path, lines: str, place: str) -> None:
    """The place is named; the value is in no file of the record."""
    with edited(practice.folder / "environment.toml", values=quoted(values_with(tmp_path, lines))):
        told = practice.run(*DEPLOY)
    status, words = planning(told)
    assert ("failed", True, [], 1) == (status, place in words, told["plans"], told["exit_code"]), words
    files = [path for path in Path(told["record"]).rglob("*") if path.is_file()]
    assert [] == [path.name for path in files if CANARY.encode() in evidence_file.read(path)]


@pytest.mark.parametrize(
    ("message", "state"),
    [
        pytest.param("Document the order states", "CI in_progress", id="running"),
        pytest.param("Release v2-crash", "CI failure", id="failed"),
    ],
)
def test_commit_that_ci_has_not_passed_is_refused(practice: Practice, message: str, state: str) -> None:
    """The newest run of exactly the commit counts, although another one of the tag has passed."""
    commit = next(one.sha for one in github_history.commits() if one.message == message)
    told = practice.run(*DEPLOY, "-p", f"commit={commit}", "--apply")
    refused = {guard["name"]: guard["reason"] for guard in told["outcomes"][0]["guards"] if not guard["passed"]}
    assert ("refused", state) == (told["outcomes"][0]["outcome"], refused["CI passed"])


def test_plan_of_one_cluster_is_not_applied_to_another(practice: Practice, tmp_path: Path) -> None:
    """The same release at the same revision elsewhere is another target: refused, and no revision is made."""
    words = approved(practice, practice.run(*DEPLOY))
    other = start_emulator(tmp_path)
    try:
        elsewhere = Helm(other.kubeconfig)
        elsewhere.install({"image": {"tag": "v1"}})
        with edited(practice.folder / "environment.toml", kubeconfig=quoted(other.kubeconfig)):
            told = practice.run(*DEPLOY, *words)
        assert ("refused", None) == (told["outcomes"][0]["outcome"], told["outcomes"][0]["sent_at"])
        assert [1] == [row["revision"] for row in elsewhere.history()]
    finally:
        other.stop()


def test_image_that_no_node_can_pull_is_rolled_back(practice: Practice, tmp_path: Path) -> None:
    """The registry has the tag, the nodes' mirror has not: it is told at once, and the way back works."""
    with edited(practice.folder / "runbook.toml", threshold_seconds="30"):  # latency is the machine's business here
        deadline = time.monotonic() + 300
        while (told := practice.run("validate", "-p", "window_minutes=2"))["exit_code"] and time.monotonic() < deadline:
            time.sleep(2)
        assert 0 == told["exit_code"]
        values = values_with(tmp_path, f"image:\n  repository: {MIRROR}")
        with edited(practice.folder / "environment.toml", values=quoted(values)):
            told = practice.run(*DEPLOY)
            assert f"{MIRROR}:v2" == told["plans"][0]["to"]["image"]
            bad = practice.run(*DEPLOY, *approved(practice, told))
        assert ("applied", "not_held") == (bad["outcomes"][0]["outcome"], bad["verification"]["status"])
        assert "ImagePull" in bad["verification"]["sentence"], bad["verification"]
        back = bad["plans"][-1]
        assert ("rollback", "acme/api:v1", True) == (back["kind"], back["to"]["image"], back["to"]["recorded_good"])
        told = practice.run("rollback", *QUICK, *approved(practice, bad))
        rollout = [one["name"] for one in told["checks"] if one["group"] == "rollout" and one["status"] != "passed"]
        assert ("applied", []) == (told["outcomes"][0]["outcome"], rollout)
