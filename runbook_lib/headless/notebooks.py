"""Where runbooks are found, and what each says of itself; reads notebooks as JSON, starts nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runbook_lib import plugins
from runbook_lib.errors import NotebookError, UnknownNameError

_PACKAGED = Path(__file__).parent.parent / "_notebooks"
_CHECKOUT = Path(__file__).parent.parent.parent / "notebooks"


@dataclass(frozen=True, slots=True)
class Runbook:
    """What a notebook says of itself.

    Args:
        name: its file name without the ending.
        path: the notebook.
        title: its first heading.
        sections: bold word of the title cell (``Meaning``, ``Impact`` ...) to its text.
        actions: kinds of action it may plan; empty means that it changes nothing.
        scenarios: lab scenarios that prove it.
    """

    name: str
    path: Path
    title: str
    sections: Mapping[str, str]
    actions: tuple[str, ...]
    scenarios: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data."""
        return {
            "name": self.name,
            "path": str(self.path),
            "title": self.title,
            "sections": dict(self.sections),
            "actions": list(self.actions),
            "scenarios": list(self.scenarios),
        }


def folders(catalog_folder: Path | None = None) -> tuple[Path, ...]:
    """Where runbooks are looked for: beside the catalogue first, then those of installed packages, then our own."""
    own = [catalog_folder / "notebooks"] if catalog_folder else []
    candidates = [*own, *_installed(), _PACKAGED, _CHECKOUT]
    return tuple(dict.fromkeys(folder.resolve() for folder in candidates if folder.is_dir()))


def _installed() -> Iterator[Path]:
    """Folders that other packages bring, in the order of their names; one that is broken hides none of the others."""
    return (plugin.value for plugin in plugins.runbooks() if not plugin.problem)


def names(catalog_folder: Path | None = None) -> dict[str, Path]:
    """Runbook name to notebook; the first folder that has a name wins."""
    found: dict[str, Path] = {}
    for folder in folders(catalog_folder):
        for path in sorted(folder.glob("*.ipynb")):
            found.setdefault(path.stem, path)
    return found


def find(name: str, catalog_folder: Path | None = None) -> Path:
    """The notebook of a runbook, by its name or by a path that ends in ``.ipynb``.

    Raises:
        UnknownNameError: there is no such runbook; carries the nearest name.
    """
    if name.endswith(".ipynb") and Path(name).is_file():
        return Path(name).resolve()
    known = names(catalog_folder)
    wanted = name.replace("-", "_").removesuffix(".ipynb")
    if wanted not in known:
        raise UnknownNameError("runbook", name, known)
    return known[wanted]


def named_in(text: str) -> str:
    """The runbook that an annotation names: ``runbook://high-latency``, a name, or the end of an address."""
    last = re.sub(r"[?#].*$", "", text.strip()).rstrip("/").rpartition("/")[2]
    name = last.removesuffix(".md").removesuffix(".ipynb").removesuffix(".html").replace("-", "_").lower()
    return name if re.fullmatch(r"[a-z][a-z0-9_]{0,60}", name) else ""


def cells(path: Path) -> list[dict[str, Any]]:
    """The cells of a notebook.

    Raises:
        NotebookError: the file is no notebook.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))["cells"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise NotebookError(f"{path} is not a notebook: {type(error).__name__}") from error
    if not isinstance(found, list):
        raise NotebookError(f"{path} is not a notebook: its cells are no list")
    return found


def describe(path: Path) -> Runbook:
    """What the notebook at ``path`` says of itself.

    Raises:
        NotebookError: the file is no notebook.
    """
    first = next((_source(cell) for cell in cells(path) if cell.get("cell_type") == "markdown"), "")
    meta = json.loads(path.read_text(encoding="utf-8")).get("metadata", {}).get("runbook", {})
    title = next((line.removeprefix("# ").strip() for line in first.splitlines() if line.startswith("# ")), path.stem)
    return Runbook(
        name=path.stem,
        path=path,
        title=title,
        sections=dict(_sections(first)),
        actions=tuple(meta.get("actions", ())),
        scenarios=tuple(meta.get("scenarios", ())),
    )


def _source(cell: Mapping[str, Any]) -> str:
    source = cell.get("source", "")
    return source if isinstance(source, str) else "".join(source)


def _sections(markdown: str) -> Iterator[tuple[str, str]]:
    # A section is a paragraph that begins with its name in bold: "**Meaning.** Users wait ..."
    for paragraph in markdown.split("\n\n"):
        name, closed, text = paragraph.strip().removeprefix("**").partition("**")
        if paragraph.strip().startswith("**") and closed:
            yield name.strip(" .:"), " ".join(text.split()).lstrip(". ")
