"""A runbook copied ready for a person: with its parameters, in a folder of its own, as a notebook that can be saved."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from runbook_lib.headless import document
from runbook_lib.headless.parameters import TAG, Parameters, Value
from runbook_lib.model.times import utc_now
from runbook_lib.record.folder import local_archive
from runbook_lib.record.record import Record

#: Folder in the archive for notebooks that a person works in; their saved states go into the records.
WORKING = "working"
INJECTED = "injected-parameters"


def prepare(notebook: Path, given: Mapping[str, Any], archive: str) -> Path:
    """Copy a runbook with its parameters filled in.

    Args:
        notebook: the runbook.
        given: parameter to value, as text or typed; checked.
        archive: the copy is made in a folder of it.

    Returns:
        The copy.

    Raises:
        UsageError: a parameter is not known or not of its type.
        NotebookError: the runbook cannot be read.
    """
    declared = Parameters.read(notebook)
    values = declared.check(given)
    content = json.loads(notebook.read_text(encoding="utf-8"))
    defaults = {item.name: item.default for item in declared.items}
    changed = {name: value for name, value in values.items() if value != defaults[name]}
    _inject(content["cells"], changed)
    return _write(content, notebook.stem, archive)


def reopen(record: Record, notebook: Path, archive: str) -> Path:
    """Copy the notebook of an earlier run, filled as it was saved; the runbook itself when none was saved.

    Args:
        record: the run.
        notebook: its runbook.
        archive: the copy is made in a folder of it.

    Returns:
        The copy, whose first cell says which run it shows.
    """
    saved = record.path / "notebook.ipynb"
    if not saved.is_file():
        declared = {item.name for item in Parameters.read(notebook).items}
        given = record.run.get("parameters", {})
        return prepare(notebook, {name: given[name] for name in given if name in declared}, archive)
    content = json.loads(saved.read_text(encoding="utf-8"))
    cause = next((str(one["title"]) for one in record.findings), "no finding")
    told = f"**Run {record.run_id}**: {record.status}, verdict {record.verdict}: {cause}. "
    note = f"{told}What follows is its notebook as it was saved; running it begins a new run."
    content["cells"].insert(0, {"cell_type": "markdown", "id": "earlier-run", "metadata": {}, "source": note})
    return _write(content, str(record.run.get("runbook", notebook.stem)), archive)


def values_of(cells: list[dict[str, Any]], where: str) -> dict[str, Value]:
    """The parameters of a working notebook: what is declared, and what the injected cell sets.

    Raises:
        NotebookError: the notebook declares none.
        UsageError: the injected cell sets one that is not known, or not of its type.
    """
    declared = Parameters.of([cell for cell in cells if INJECTED not in _tags(cell)], where)
    given: dict[str, Any] = {}
    for cell in cells:
        if INJECTED in _tags(cell):
            for statement in ast.parse("".join(cell["source"])).body:
                if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
                    given[statement.targets[0].id] = ast.literal_eval(statement.value)
    return declared.check(given)


def _inject(cells: list[dict[str, Any]], changed: Mapping[str, Value]) -> None:
    if not changed:
        return
    at = next(i for i, cell in enumerate(cells) if TAG in _tags(cell))
    source = "# Parameters of this run\n" + "\n".join(f"{name} = {value!r}" for name, value in changed.items())
    cell = {"cell_type": "code", "id": INJECTED, "metadata": {"tags": [INJECTED]}, "source": source}
    cells.insert(at + 1, {**cell, "outputs": [], "execution_count": None})


def _tags(cell: Mapping[str, Any]) -> list[str]:
    found: list[str] = cell.get("metadata", {}).get("tags", [])
    return found


def _write(content: Mapping[str, Any], name: str, archive: str) -> Path:
    folder = local_archive(archive) / WORKING
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / f"{name}-{utc_now():%Y%m%dT%H%M%SZ}.ipynb"
    number = 1
    while path.exists():
        number += 1
        path = path.with_name(f"{name}-{utc_now():%Y%m%dT%H%M%SZ}-{number}.ipynb")
    document.replace(path, document.content(content))
    return path
