"""A fleet whose archive is in a bucket of a real S3 server: run on this machine, and on workers that are another."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest

from runbook_lib.record.archive import Archive
from runbook_lib.record.verify import verify, verify_archive
from tests.record.bucket import Server, serve

from .cluster import Cluster, words
from .test_fleet import begin, by_number, finished

pytest.importorskip("obstore", reason="the extra s3 is not installed")
KEYS = {"AWS_ACCESS_KEY_ID": "AKIAEXAMPLEEXAMPLE00", "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMIexamplekeyEXAMPLE00"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for all tests; each has a bucket of its own."""
    with serve(tmp_path_factory.mktemp("s3") / "log") as running:
        yield running


@pytest.mark.parametrize("engine", ["auto", "dask"])
def test_records_and_page_of_a_fleet_with_a_bucket(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: str
) -> None:
    """Every record is in the bucket and verifies there; the page here links to copies; the chain is whole."""
    if engine == "dask" and importlib.util.find_spec("distributed") is None:
        pytest.skip("the extra dask is not installed")
    shared = {**KEYS, "AWS_ENDPOINT_URL": server.url, "AWS_REGION": "eu-central-1"}
    here, elsewhere = (
        {**shared, "RUNBOOK_STATE": str(tmp_path / "here")},
        {**shared, "RUNBOOK_STATE": str(tmp_path / "there")},
    )
    url = server.bucket(f"fleet-{engine}")
    if engine == "dask":
        (tmp_path / "dask").mkdir()
        cluster = Cluster(tmp_path / "dask", elsewhere)
        try:
            cluster.work(1)
            told = finished(begin(tmp_path, "good", "raises", words=words(cluster), archive=url, more=here))
        finally:
            cluster.close()
    else:
        told = finished(begin(tmp_path, "good", "raises", archive=url, more=here))
    assert ["succeeded", "failed"] == [one["status"] for one in by_number(told)]
    assert [True, True] == [verify(one["record"]).good for one in told["results"]]
    assert [True, True] == [Path(one["record"]).is_relative_to(tmp_path / "here") for one in told["results"]]
    for name, value in {**shared, "RUNBOOK_STATE": str(tmp_path / "third")}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    assert {one["run_id"] for one in told["results"]} == {one.run_id for one in Archive(url).entries()}
    with Archive(url).as_stored() as folder:
        assert [] == [problem for checked in verify_archive(folder) for problem in checked.problems]
