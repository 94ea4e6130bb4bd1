"""The fleet as a Job: what the cluster makes of it, and what its pod's command does."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from runbook_lib.record.archive import Archive
from runbook_lib.record.record import Record
from runbook_lib.record.verify import verify
from tests.lab.controlplane.servers import ApiServer, start_either
from tests.record.bucket import Server, serve

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples" / "cluster"
CONFIG, JOB = yaml.safe_load_all((EXAMPLES / "fleet-jobs.yaml").read_text(encoding="utf-8"))
(CONTAINER,) = JOB["spec"]["template"]["spec"]["containers"]
TARGETS = CONFIG["data"]["targets.csv"].splitlines()
JOBS = "/apis/batch/v1/namespaces/production/jobs"
KEYS = {"AWS_ACCESS_KEY_ID": "AKIAEXAMPLEEXAMPLE00", "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMIexamplekeyEXAMPLE00"}


@pytest.fixture(scope="module", params=["emulated", "real"])
def cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """An API server with the namespace and accounts of the examples: the emulator, and a real one where there is."""
    server = start_either(request.param, tmp_path_factory.mktemp("cluster"))
    server.json("POST", "/api/v1/namespaces", {"metadata": {"name": "production"}})
    for account in (one for one in roles() if one["kind"] == "ServiceAccount"):
        server.json("POST", "/api/v1/namespaces/production/serviceaccounts", account)
    yield server
    server.stop()


def roles() -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((EXAMPLES / "roles.yaml").read_text(encoding="utf-8")))


def test_the_api_server_takes_it_as_it_is(cluster: ApiServer) -> None:
    """A dry run with strict fields is accepted, and what comes back holds every field that was sent."""
    asked = "?dryRun=All&fieldValidation=Strict"
    made = cluster.json("POST", JOBS + asked, JOB)
    cluster.json("POST", f"/api/v1/namespaces/production/configmaps{asked}", CONFIG)
    assert [] == missing(JOB["spec"], made["spec"])


@pytest.mark.parametrize(
    "change", [{"completionmode": "Indexed"}, {"backoffLimitPerIndex": "none"}], ids=["unknown field", "wrong type"]
)
def test_the_api_server_would_refuse_a_mistake(cluster: ApiServer, change: dict[str, Any]) -> None:
    """What the dry run is for: a field that is misspelt or of another type is not taken."""
    wrong = copy.deepcopy(JOB)
    wrong["spec"].update(change)
    answer = cluster.request(
        "POST",
        f"{JOBS}?dryRun=All&fieldValidation=Strict",
        body=json.dumps(wrong).encode(),
        headers={"content-type": "application/json"},
    )
    assert 400 == answer.status_code


def test_the_controllers_make_a_pod_for_each_target(cluster: ApiServer) -> None:
    """Real controllers give the pods their numbers, two at a time, under the reader's account."""
    if cluster.kind != "real":
        pytest.skip("the emulator's Jobs have no indexes")
    cluster.json("POST", JOBS, JOB)
    limit = time.monotonic() + 60
    pods: list[Any] = []
    while len(pods) < JOB["spec"]["parallelism"] and time.monotonic() < limit:
        pods = cluster.json("GET", "/api/v1/namespaces/production/pods")["items"]
        time.sleep(0.2)
    indexes = {pod["metadata"]["annotations"]["batch.kubernetes.io/job-completion-index"] for pod in pods}
    assert {"0", "1"} == indexes
    assert {"runbook-reader"} == {pod["spec"]["serviceAccountName"] for pod in pods}
    assert all("JOB_COMPLETION_INDEX" in {one["name"] for one in pod["spec"]["containers"][0]["env"]} for pod in pods)


def missing(sent: Any, found: Any, place: str = "spec") -> list[str]:
    """Where what was sent is not in what came back."""
    if isinstance(sent, dict):
        return [one for key, value in sent.items() for one in missing(value, (found or {}).get(key), f"{place}.{key}")]
    if isinstance(sent, list) and len(sent) == len(found or ()):
        return [one for n, pair in enumerate(zip(sent, found, strict=True)) for one in missing(*pair, f"{place}[{n}]")]
    return [] if sent == found else [f"{place}: {sent!r} became {found!r}"]


def test_it_fits_its_parts() -> None:
    """As many indexes as targets, the account of roles.yaml, each service in the catalogue, every volume mounted."""
    spec = JOB["spec"]["template"]["spec"]
    assert len(TARGETS) == JOB["spec"]["completions"]
    assert spec["serviceAccountName"] in {one["metadata"]["name"] for one in roles() if one["kind"] == "ServiceAccount"}
    assert all(f"[services.{line.split(',')[0]}." in CONFIG["data"]["runbook.toml"] for line in TARGETS)
    assert {one["name"] for one in spec["volumes"]} == {one["name"] for one in CONTAINER["volumeMounts"]}
    assert CONFIG["metadata"]["name"] == spec["volumes"][0]["configMap"]["name"]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A real S3 server."""
    pytest.importorskip("obstore", reason="the extra s3 is not installed")
    with serve(tmp_path_factory.mktemp("s3") / "log") as running:
        yield running


def test_the_command_of_a_pod_leaves_its_record_in_the_bucket(
    store: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Run as the container's is, with the number of its pod, on systems that do not answer: a result, not a failure."""
    for name, text in CONFIG["data"].items():
        (tmp_path / name).write_text(text.replace("https://kubernetes.default.svc", "https://127.0.0.1:1"))
    url = store.bucket("runbook-records")
    (script,) = CONTAINER["args"]
    script = script.replace("/etc/runbook", str(tmp_path)).replace("s3://runbook-records", url)
    variables = {
        **KEYS,
        "AWS_ENDPOINT_URL": store.url,
        "AWS_REGION": "eu-central-1",
        "RUNBOOK_CATALOG": str(tmp_path / "runbook.toml"),
        "RUNBOOK_STATE": str(tmp_path / "state"),
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    index = {"JOB_COMPLETION_INDEX": "1", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        [*CONTAINER["command"], script],
        cwd=tmp_path,
        env={**os.environ, **index},
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
    assert 0 == done.returncode, done.stderr
    told = json.loads(done.stdout)
    assert ("billing", "production") == (told["service"], told["environment"])
    monkeypatch.setenv("RUNBOOK_STATE", str(tmp_path / "another machine"))
    (entry,) = Archive(f"{url}/fleet").entries()
    with Archive(f"{url}/fleet").as_stored() as folder:
        (record,) = (one.parent for one in folder.glob("*/*/*/*/seal.json"))
        assert verify(record).good
        assert entry.run_id == Record.read(record).run_id == told["run_id"]
