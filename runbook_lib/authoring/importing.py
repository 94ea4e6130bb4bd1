"""Import a markdown runbook; import it again and keep what was edited by hand."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runbook_lib.authoring import cells, compose
from runbook_lib.authoring.cells import Cell
from runbook_lib.authoring.draft import Draft, read
from runbook_lib.errors import NotebookError, UsageError

#: What an imported notebook remembers of its page, under ``metadata.runbook``.
IMPORTED = "imported"


@dataclass(slots=True)
class Merge:
    """What an import did to a notebook that was there.

    Args:
        kept: cells that were edited by hand; they stay as they are.
        conflicts: those of them that the page says otherwise by now.
        removed: cells that were taken out by hand; they stay out.
        added: cells that were written by hand; they stay where they stood.
        parameters: parameters that were added to a parameters cell that was edited by hand.
    """

    kept: list[str] = field(default_factory=list)
    conflicts: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    added: list[str] = field(default_factory=list)
    parameters: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Imported:
    """A page as a notebook.

    Args:
        content: the notebook.
        draft: what was understood, and what was not.
        merge: what happened to edits by hand; empty for a new notebook.
    """

    content: Mapping[str, Any]
    draft: Draft
    merge: Merge

    @property
    def counts(self) -> dict[str, int]:
        """How many instructions became what."""
        return dict(Counter(one.became for one in self.draft.instructions))

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data, as ``runbook import --json`` prints."""
        return {
            "instructions": len(self.draft.instructions),
            "lost": list(self.draft.lost()),
            "became": self.counts,
            "by_hand": [_listed(one) for one in self.draft.instructions if one.by_hand],
            "not_understood": [_listed(one) for one in self.draft.not_understood()],
            "redacted_lines": self.draft.secrets,
            "kept": self.merge.kept,
            "conflicts": self.merge.conflicts,
            "removed": self.merge.removed,
            "added": self.merge.added,
        }


def runbook_name(path: Path) -> str:
    """The name of a runbook from the name of its file: ``api-service-runbook.md`` becomes ``api_service``."""
    words = re.findall(r"[a-z0-9]+", path.stem.lower())
    kept = [word for word in words if word not in {"runbook", "sop", "playbook"}] or words or ["runbook"]
    return "_".join(kept)


def import_page(
    page: Path, name: str, existing: Path | None = None, *, place: tuple[str, str] = ("api", "lab")
) -> Imported:
    """Make a notebook of a page, or bring an imported one up to date with it. Nothing of the page is run.

    Args:
        page: a markdown file.
        name: of the runbook.
        existing: the notebook that an earlier import made, with its edits; None when there is none.
        place: service and environment that a run is about when nothing else is said.

    Raises:
        UsageError: the page cannot be read, or the notebook was not made by an import.
    """
    try:
        text = page.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{page}: cannot be read as text: {error}") from error
    draft = read(text, where=str(page))
    made = compose.build(draft, name, place)
    merge, rows = Merge(), [cell.to_json() for cell in made]
    metadata: dict[str, Any] = {"actions": draft.kinds, "scenarios": ["none"]}
    if existing is not None:
        before = _notebook(existing)
        rows = _merged(made, before, merge)
        edited = before["metadata"]["runbook"]
        metadata = {**metadata, **{key: edited[key] for key in ("scenarios",) if key in edited}}
    metadata[IMPORTED] = {
        "page": page.name,
        "digest": digest(text),
        "cells": {cell.id: digest(cell.source) for cell in made},
        "instructions": [_listed(one) for one in draft.instructions],
    }
    return Imported({**cells.notebook((), metadata), "cells": rows}, draft, merge)


def _merged(made: Sequence[Cell], before: Mapping[str, Any], merge: Merge) -> list[dict[str, Any]]:
    remembered: Mapping[str, str] = before["metadata"]["runbook"][IMPORTED]["cells"]
    old = {str(cell.get("id", "")): cell for cell in before["cells"]}
    rows: list[dict[str, Any]] = []
    for cell in made:
        if cell.id in old:
            rows.append(_one(cell, old[cell.id], remembered, merge))
        elif cell.id in remembered:
            merge.removed.append(cell.id)
        else:
            rows.append(cell.to_json())
    _keep_own(rows, before, remembered, merge)
    return rows


def _one(cell: Cell, old: Mapping[str, Any], remembered: Mapping[str, str], merge: Merge) -> dict[str, Any]:
    """A cell that is there already: made anew, unless a person has edited it."""
    source = "".join(old["source"])
    if digest(source) == remembered.get(cell.id, digest(source)) and cell.id in remembered:
        return cell.to_json()
    if source == cell.source:
        return cell.to_json()
    merge.kept.append(cell.id)
    if digest(cell.source) != remembered.get(cell.id):
        merge.conflicts.append(cell.id)
    if cell.tag == "parameters":
        source = _with_new_parameters(source, cell.source, merge)
    return {**cell.to_json(), "source": source.splitlines(keepends=True), "metadata": old.get("metadata", {})}


def _with_new_parameters(edited: str, made: str, merge: Merge) -> str:
    """The edited parameters with those added that the page needs by now."""
    known = set(re.findall(r"^(\w+)\s*:", edited, re.MULTILINE))
    new = [line for line in made.splitlines() if line.partition(":")[0] not in known]
    merge.parameters += [line.partition(":")[0] for line in new]
    return "\n".join((edited.rstrip("\n"), *new))


def _keep_own(
    rows: list[dict[str, Any]], before: Mapping[str, Any], remembered: Mapping[str, str], merge: Merge
) -> None:
    """Put cells that a person wrote, or edited before their part of the page went, behind the cell they followed."""
    previous = ""
    for cell in before["cells"]:
        name = str(cell.get("id", ""))
        present = {row["id"] for row in rows}
        edited = digest("".join(cell["source"])) != remembered.get(name)
        if name not in present and edited:
            place = next((index + 1 for index, row in enumerate(rows) if row["id"] == previous), len(rows) - 1)
            rows.insert(place, dict(cell))
            (merge.kept if name in remembered else merge.added).append(name)
            present.add(name)
        if name in present:
            previous = name


def _notebook(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if IMPORTED in found["metadata"]["runbook"]:
            return found
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise NotebookError(f"{path} is not a notebook of ours: {type(error).__name__}") from error
    raise UsageError(f"{path} was not made by an import; give another name with -o")


def _listed(one: Any) -> dict[str, Any]:
    told = {"line": one.line, "text": one.text, "became": one.became}
    return {**told, "by_hand": one.by_hand} if one.by_hand else told


def digest(text: str) -> str:
    """What a text is recognised by."""
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()
