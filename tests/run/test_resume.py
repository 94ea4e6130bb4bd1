"""A failed run that is resumed: its finished change is looked at again and never sent a second time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from runbook_lib.errors import UsageError
from runbook_lib.headless.runner import execute
from runbook_lib.headless.session import RunResult
from runbook_lib.record.record import Record
from runbook_lib.record.verify import verify
from tests.run.conftest import Place

CELLS = (
    'service: str = "api"\nenvironment: str = "prod"\nreplicas: int = 3',
    'from runbook_lib.run import Run\nrun = Run.start("grow", service=service, environment=environment)',
    """from runbook_lib import actions
plan = actions.scale(run.kubernetes, replicas=replicas, service="api", environment="prod")
outcome = run.apply(plan)
outcome""",
    'import pathlib\nassert pathlib.Path("mended").exists(), "a later step fails"',
    "run.close()",
)


@pytest.fixture
def notebook(place: Place, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A runbook that scales and then fails until a file is there."""
    monkeypatch.chdir(place.folder)
    cells: list[dict[str, Any]] = [
        {"cell_type": "code", "id": f"cell-{number}", "source": text, "metadata": {}, "outputs": []}
        | {"execution_count": None}
        for number, text in enumerate(CELLS)
    ]
    cells[0]["metadata"] = {"tags": ["parameters"]}
    path = place.folder / "grow.ipynb"
    path.write_text(json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
    return path


@pytest.fixture
def failed(place: Place, notebook: Path) -> RunResult:
    """The run that scaled to five and failed after it."""
    result = execute(notebook, {"replicas": "5"}, archive=str(place.folder / "outputs"), apply=True)
    assert ("failed", 5) == (result.status, place.found()[0])
    (place.folder / "mended").touch()
    return result


def again(place: Place, notebook: Path, failed: RunResult) -> Record:
    result = execute(notebook, archive=str(place.folder / "outputs"), apply=True, resume=failed.record)
    assert verify(result.record).good
    return Record.read(result.record)


def resumed(record: Record) -> list[dict[str, Any]]:
    return [dict(event.data) for event in record.all("note") if event.data.get("what") == "resumed"]


def test_a_finished_change_is_looked_at_and_not_sent_again(place: Place, notebook: Path, failed: RunResult) -> None:
    """The second run has the first one's parameters, finds five replicas, sends nothing and comes to its end."""
    before = place.found()
    record = again(place, notebook, failed)
    assert (5, before) == (record.run["parameters"]["replicas"], place.found())
    assert () == record.all("action.intent")
    assert [("applied", failed.run_id)] == [(one["outcome"]["outcome"], one["run_id"]) for one in resumed(record)]
    assert failed.run_id == record.run["about"]["run_id"]
    assert all(cell.status == "ok" for cell in record.cells)


def test_a_change_that_was_undone_since_is_planned_anew(place: Place, notebook: Path, failed: RunResult) -> None:
    """When somebody scaled back in between, the record says so and the plan goes through the guarded path again."""
    path = f"/apis/apps/v1/namespaces/{place.namespace}/deployments/api-deployment/scale"
    place.api.write("PATCH", path, {"spec": {"replicas": 3}}, content_type="application/merge-patch+json")
    record = again(place, notebook, failed)
    assert ["rejected"] == [one["outcome"]["outcome"] for one in resumed(record)]
    assert (1, 5) == (len(record.all("action.intent")), place.found()[0])


def test_a_run_of_another_runbook_is_refused(place: Place, notebook: Path, failed: RunResult) -> None:
    """Only a run of the same runbook can be gone on from."""
    other = notebook.rename(notebook.with_name("shrink.ipynb"))
    with pytest.raises(UsageError, match="is a run of grow, not of shrink"):
        again(place, other, failed)
