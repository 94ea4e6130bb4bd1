"""A fleet on a real dask scheduler with two real workers, each a process of its own on loopback."""

from __future__ import annotations

import importlib.util
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runbook_lib.errors import UsageError
from runbook_lib.fleet import dask, dask_worker
from runbook_lib.fleet.orphan import put_in_order
from runbook_lib.fleet.prepare import prepared
from runbook_lib.fleet.targets import Target
from runbook_lib.record.folder import RecordFolder, new_run_id
from runbook_lib.record.genesis import genesis
from runbook_lib.record.record import Record
from runbook_lib.record.verify import verify

from .cluster import Cluster, words
from .test_fleet import begin, by_number, finished, notebook, wait_for

if importlib.util.find_spec("distributed") is None:
    pytest.skip("the extra dask is not installed", allow_module_level=True)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A scheduler with two workers."""
    made = Cluster(tmp_path_factory.mktemp("dask"))
    try:
        made.work(2)
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def mixed(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """Two good runs and one that raises."""
    folder = tmp_path_factory.mktemp("mixed")
    return folder, finished(begin(folder, "good", "raises", "good", words=words(cluster)))


def test_every_target_has_a_verified_record_of_its_own(mixed: tuple[Path, dict[str, Any]]) -> None:
    """In the archive given, with the exit codes that the other engines give."""
    folder, told = mixed
    assert ["succeeded", "failed", "succeeded"] == [one["status"] for one in by_number(told)]
    assert [0, 1, 0] == [one["exit_code"] for one in by_number(told)]
    assert [True] * 3 == [verify(one["record"]).good for one in told["results"]]
    assert {folder / "archive"} == {Path(one["record"]).parents[3] for one in told["results"]}
    assert 1 == told["exit_code"]


def test_a_worker_that_dies_leaves_an_interrupted_record_and_another_does_the_run(tmp_path: Path) -> None:
    """The run had made no intent, so it may be done again; the first record stays and is named."""
    cluster = Cluster(tmp_path)
    try:
        cluster.work(1)
        process = begin(tmp_path, "waits once", words=words(cluster))
        wait_for((tmp_path / "waited").exists)
        cluster.work(1)
        cluster.workers[0].kill()
        told = finished(process)
    finally:
        cluster.close()
    (result,) = told["results"]
    assert ("succeeded", 0) == (result["status"], told["exit_code"])
    first, second = sorted((tmp_path / "archive").glob("[0-9]*/*/*/*"), key=lambda one: one.stat().st_ctime)
    assert ["interrupted", "succeeded"] == [str(Record.read(one).status) for one in (first, second)]
    assert [True, True] == [verify(one).good for one in (first, second)]
    assert first.name in result["reason"]


def test_a_scheduler_that_dies_ends_the_fleet(tmp_path: Path) -> None:
    """Its run is recorded as interrupted and sealed, what waited says why it was not started, and nothing hangs."""
    cluster = Cluster(tmp_path)
    try:
        cluster.work(1)
        process = begin(tmp_path, "waits", "good", words=words(cluster, "--at-once", "1"))
        wait_for((tmp_path / "waits0").exists)
        cluster.scheduler.kill()
        told = finished(process)
        (worker,) = cluster.workers
        wait_for(lambda: worker.poll() is not None)
    finally:
        cluster.close()
    first, second = by_number(told)
    assert (1, "interrupted", "not_started") == (told["exit_code"], first["status"], second["status"])
    assert f"the scheduler {cluster.address} is gone" in second["reason"]
    assert verify(first["record"]).good
    assert Record.read(first["record"]).sealed


def test_ctrl_c_ends_the_runs_on_their_workers(cluster: Cluster, tmp_path: Path) -> None:
    """Their records are sealed as interrupted; what was not started says so."""
    process = begin(tmp_path, "waits", "good", words=words(cluster, "--at-once", "1"))
    wait_for((cluster.folder / "waits0").exists)
    process.send_signal(signal.SIGINT)
    told = finished(process)
    assert 130 == told["exit_code"]
    assert ["interrupted", "not_started"] == [one["status"] for one in by_number(told)]
    assert verify(by_number(told)[0]["record"]).good


def test_a_worker_with_another_notebook_does_nothing(cluster: Cluster, tmp_path: Path) -> None:
    """What the fleet was checked against is what runs."""
    from distributed import Client

    path = notebook(tmp_path)
    task = {"notebook": str(path), "digests": {str(path): "another"}}
    with Client(cluster.address, set_as_default=False) as client:
        (worker,) = list(client.scheduler_info()["workers"])[:1]
        known = client.run(dask_worker.describe, workers=[worker])[worker]["id"]
        told = client.submit(dask_worker.run, task, "run", "fleet", known, workers=[worker]).result()
        again = client.submit(dask_worker.run, task, "run", "fleet", known, workers=[worker], pure=False).result()
    assert (2, True) == (told["result"]["exit_code"], "another file" in told["result"]["reason"])
    assert "refused" in again


def test_a_scheduler_that_does_not_answer_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is started, with its address."""
    monkeypatch.setattr(dask, "_CONNECT_SECONDS", 0.5)
    with pytest.raises(UsageError, match=r"tcp://127\.0\.0\.1:1: no scheduler"):
        dask.Workers("tcp://127.0.0.1:1", [])


def test_engine_and_scheduler_belong_together(tmp_path: Path) -> None:
    """Neither is guessed from the other."""
    with pytest.raises(UsageError, match="belong together"):
        prepared("dask", notebook(tmp_path), [], None)


def test_a_run_that_had_made_an_intent_is_not_done_again(tmp_path: Path) -> None:
    """Its request may have been sent; its record is sealed all the same."""
    folder = RecordFolder.create(
        tmp_path, new_run_id("many"), genesis=genesis(runbook="many", archive=tmp_path, parameters={})
    )
    folder.journal.append("action.intent", {"plan": "sha256:1"})
    folder.release()
    orphan = put_in_order(tmp_path, Target("t", {}), "2026-01-01T00:00:00Z", str(folder.path), "gone")
    assert (False, "unknown") == (orphan.repeatable, orphan.result["status"])
    assert verify(orphan.result["record"]).good
