"""Notebooks that a person saves, archived: each saved state goes into the record of its run, which is sealed at last.

The kernel begins the record and writes down what it reads and does; a closed tab or a killed browser loses none of it.
What only the front end knows, the notebook with its outputs, comes here with each save.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from runbook_lib import catalog
from runbook_lib.errors import RunbookError
from runbook_lib.headless import document, workbook
from runbook_lib.headless.notebooks import describe
from runbook_lib.headless.session import NOTEBOOK
from runbook_lib.record.anchors import anchor
from runbook_lib.record.folder import PARTIAL, RecordFolder, local_archive
from runbook_lib.record.record import Record
from runbook_lib.record.settled import settled
from runbook_lib.record.signature import signer
from runbook_lib.run.attach import ARCHIVE, CATALOG
from runbook_lib.run.header import links
from runbook_lib.run.systems import learn_secrets
from runbook_lib.secrets import Redactor

ACTOR = "saved"


def on_save(model: Mapping[str, Any], os_path: str, **_: Any) -> None:
    """What the notebook server calls after it wrote a file; never raises, for that would fail the save itself."""
    if model.get("type") != "notebook":
        return
    try:
        for path in unsealed(Path(os_path)):
            told = archive_saved(path, Path(os_path))
            if told is not None:
                _tell(f"the record is sealed: {told}")
    except (RunbookError, OSError, ValueError, KeyError) as error:
        _tell(f"{os_path} could not be archived: {type(error).__name__}: {error}")


def seal_left(folder: Path) -> tuple[list[Path], list[Path]]:
    """Seal every finished run of the notebooks in a folder, once their server has ended.

    Args:
        folder: where the working notebooks are.

    Returns:
        Records that were sealed, and those of runs that did not come to their end.
    """
    done, left = [], []
    for notebook in sorted(folder.glob("*.ipynb")):
        for path in unsealed(notebook):
            try:
                sealed = archive_saved(path, notebook, last=True)
            except (RunbookError, OSError, ValueError, KeyError) as error:
                _tell(f"{path} could not be sealed: {error}")
                sealed = None
            if sealed is None:
                left.append(path)
            else:
                done.append(sealed)
    return done, left


def unsealed(notebook: Path) -> list[Path]:
    """Records of runs of a notebook that are still being written, the newest last."""
    root = local_archive(os.environ[ARCHIVE])
    found = (path for path in root.glob(f"????/??/??/*{PARTIAL}") if _saved_as(path) == str(notebook.resolve()))
    return sorted(found)


def archive_saved(path: Path, notebook: Path, *, last: bool = False) -> Path | None:
    """Put a saved notebook into the record of its run; seal it when the run is over.

    Args:
        path: the record.
        notebook: the file that was saved.
        last: whether no further save will come.

    Returns:
        The sealed record; None while the run goes on or its last outputs are not saved yet.

    Raises:
        RecordError: the record cannot be written or sealed.
    """
    known, record = catalog.load(Path(os.environ[CATALOG])), Record.read(path)
    redactor = _redactor(known, record)
    folder = RecordFolder.open(path, redactor=redactor)
    try:
        content = json.loads(notebook.read_text(encoding="utf-8"))
        if not record.run.get("parameters"):
            folder.journal.append("note", {"what": "run", **_facts(content, notebook, known, record)}, actor=ACTOR)
        folder.write(NOTEBOOK, document.content(_clean(content, redactor)))
        if not record.last("verdict") or not (last or _complete(content, record)):
            return None
        record = Record.read(path)
        sign = signer(known.signing_key)
        return anchor(folder.seal(settled(record), record.verdict, actor=ACTOR, sign=sign), known)
    finally:
        with suppress(RunbookError, OSError):
            folder.release()


def _tell(text: str) -> None:
    sys.stderr.write(f"runbook: {text}\n")
    sys.stderr.flush()


def _saved_as(path: Path) -> str:
    try:
        return str(Record.read(path).run.get("saved_as", ""))
    except RunbookError:
        return ""


def _redactor(known: catalog.Catalog, record: Record) -> Redactor:
    redactor = Redactor()
    learn_secrets(known.environment(str(record.run["environment"]), offline=True), redactor)
    return redactor


def _facts(content: Mapping[str, Any], notebook: Path, known: catalog.Catalog, record: Record) -> dict[str, Any]:
    """What the kernel does not know of its run: the parameters, the title, whom to call."""
    service = known.service(str(record.run["service"]))
    facts: dict[str, Any] = {"title": describe(notebook).title, "owner": service.owner, "contacts": service.contacts}
    facts["parameters"] = workbook.values_of(content["cells"], str(notebook))
    window = record.run.get("window")
    if window:
        from runbook_lib.model import Window

        facts["links"] = links(service.links, Window.from_json(window))
    return facts


def _clean(content: dict[str, Any], redactor: Redactor) -> dict[str, Any]:
    """The notebook without secrets and without widgets, which nothing can show once their kernel is gone."""
    content.get("metadata", {}).pop("widgets", None)
    for cell in content["cells"]:
        for output in cell.get("outputs", ()):
            pictures = {mime: value for mime, value in output.get("data", {}).items() if mime == "image/png"}
            output.update(redactor.data(output))
            # Base64 of a picture holds no text, and is slow to look through.
            if pictures:
                output["data"].update(pictures)
            output.get("data", {}).pop("application/vnd.jupyter.widget-view+json", None)
        cell["source"] = redactor.data(cell["source"])
    return content


def _complete(content: Mapping[str, Any], record: Record) -> bool:
    """Whether the cell that ended the run has its output in the saved state."""
    cell = next((event.cell for event in reversed(record.events) if event.kind == "verdict"), "")
    return any(one.get("id") == cell and one.get("outputs") for one in content["cells"])
