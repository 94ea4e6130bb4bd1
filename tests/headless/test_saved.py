"""What a notebook's server does with each save: the record has the notebook, and is sealed when the run is over."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from runbook_lib.errors import UnknownNameError
from runbook_lib.headless import notebooks, saved, workbook
from runbook_lib.headless.parameters import Parameters
from runbook_lib.record.folder import RecordFolder
from runbook_lib.record.genesis import genesis
from runbook_lib.record.record import Record
from runbook_lib.record.verify import verify
from runbook_lib.run.attach import ARCHIVE, CATALOG

ROOT = Path(__file__).parents[2]
WIDGET = "application/vnd.jupyter.widget-view+json"


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An archive beside a catalogue whose database has a password."""
    secret = tmp_path / "password"
    secret.write_text("correct horse battery", encoding="utf-8")
    text = (ROOT / "runbook.toml").read_text(encoding="utf-8")
    text = text.replace('include = ".lab/environment.toml"\n', "")
    text += f'[environments.lab.postgres]\nhost = "127.0.0.1"\npassword = "file:{secret}"\n'
    (tmp_path / "runbook.toml").write_text(text, encoding="utf-8")
    monkeypatch.setenv(CATALOG, str(tmp_path / "runbook.toml"))
    monkeypatch.setenv(ARCHIVE, str(tmp_path / "outputs"))
    return tmp_path / "outputs"


@pytest.fixture
def working(archive: Path) -> Path:
    """The high-latency runbook, ready for a person."""
    return workbook.prepare(notebooks.find("high_latency"), {"window_minutes": "7"}, str(archive))


@pytest.fixture
def begun(archive: Path, working: Path) -> RecordFolder:
    """The record that a kernel began for it."""
    facts: dict[str, Any] = {"service": "api", "environment": "lab", "saved_as": str(working), "mode": "interactive"}
    started = genesis(runbook="high_latency", archive=archive, **facts)
    return RecordFolder.create(archive, "run-1", genesis=started, actor="kernel")


def save(working: Path, cell: str, *outputs: dict[str, Any]) -> None:
    """Save the notebook with outputs of one cell, as the server does."""
    content = json.loads(working.read_text(encoding="utf-8"))
    next(one for one in content["cells"] if one["id"] == cell)["outputs"] = list(outputs)
    working.write_text(json.dumps(content), encoding="utf-8")
    saved.on_save({"type": "notebook"}, str(working))


def shown(**data: str) -> dict[str, Any]:
    """An output."""
    return {"output_type": "display_data", "metadata": {}, "data": {"text/plain": "shown", **data}}


def only(archive: Path) -> Record:
    """The one record of the archive."""
    (journal,) = archive.glob("????/??/??/*/events.jsonl")
    return Record.read(journal.parent)


def test_copy_has_its_parameters(working: Path) -> None:
    """The working copy sets what was given and declares the rest; the template is untouched."""
    cells = json.loads(working.read_text(encoding="utf-8"))["cells"]
    values = workbook.values_of(cells, str(working))
    template = {one.name: one.default for one in Parameters.read(notebooks.find("high_latency")).items}
    assert (template | {"window_minutes": 7}) == values


def test_unknown_parameter_is_refused(archive: Path) -> None:
    """A parameter that the runbook has not is refused before anything is copied."""
    with pytest.raises(UnknownNameError, match="window_minutes"):
        workbook.prepare(notebooks.find("high_latency"), {"window_minute": "7"}, str(archive))
    assert not archive.exists()


def test_save_in_mid_run_keeps_the_notebook_and_the_parameters(
    archive: Path, working: Path, begun: RecordFolder
) -> None:
    """The record of a run that goes on has the saved notebook, without dead widgets and without the secret."""
    save(working, "latency", shown(**{WIDGET: "dead"}), shown(**{"text/html": "password correct horse battery"}))
    record = only(archive)
    kept = (record.path / "notebook.ipynb").read_text(encoding="utf-8")
    assert (False, 7, "High latency") == (
        record.sealed,
        record.run["parameters"]["window_minutes"],
        record.run["title"],
    )
    assert (False, False) == (WIDGET in kept, "correct horse battery" in kept)


def test_save_after_the_last_cell_seals(archive: Path, working: Path, begun: RecordFolder) -> None:
    """Sealed is only a state that shows the run's end; a save before its output arrived leaves the record open."""
    begun.journal.append("verdict", {"verdict": "healthy", "findings": []}, cell="record")
    begun.release()
    save(working, "latency", shown())
    assert not only(archive).sealed
    save(working, "record", shown())
    record = only(archive)
    assert (True, "healthy", []) == (record.sealed, record.verdict, list(verify(record.path).problems))


def test_end_of_the_server_seals_what_ended_and_names_the_rest(
    archive: Path, working: Path, begun: RecordFolder
) -> None:
    """A run whose tab was closed is sealed when the server ends; one that did not end is left to recovery."""
    begun.release()
    assert ([], [begun.path]) == saved.seal_left(working.parent)
    again = RecordFolder.open(begun.path)
    again.journal.append("verdict", {"verdict": "healthy", "findings": []}, cell="record")
    again.release()
    assert ([begun.path.with_suffix("")], []) == saved.seal_left(working.parent)


def test_earlier_run_is_opened_as_it_was_saved(archive: Path, working: Path, begun: RecordFolder) -> None:
    """Its copy holds the saved outputs, and says first which run it shows."""
    save(working, "latency", shown(**{"text/plain": "seen before"}))
    path = workbook.reopen(only(archive), notebooks.find("high_latency"), str(archive))
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    assert "run-1" in cells[0]["source"]
    assert "seen before" in json.dumps(cells)


def test_broken_file_fails_no_save(archive: Path, working: Path, begun: RecordFolder, capsys: Any) -> None:
    """What cannot be archived is said on stderr; the save itself went well and is not undone."""
    working.write_text("{", encoding="utf-8")
    saved.on_save({"type": "notebook"}, str(working))
    assert "could not be archived" in capsys.readouterr().err
