"""What a run is started from, bound by the first event of its journal."""

from __future__ import annotations

import importlib.metadata
import platform
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from runbook_lib.errors import UnknownNameError
from runbook_lib.model import Objective, Window
from runbook_lib.model.canonical import digest, digest_bytes
from runbook_lib.record.chain import archive_head
from runbook_lib.record.folder import local_archive

#: Distributions whose versions a reader of the record wants to see.
_SHOWN = ("runbook-lib", "papermill", "nbclient", "ipykernel", "pandas", "plotly", "kubernetes", "psycopg", "redis")


#: What may be said about a run at its start, beside what is found out here. docs/record-format.md has the shapes.
FACTS: Mapping[str, str] = {
    "title": "the runbook's title",
    "service": "the service it is about",
    "environment": "where it runs",
    "mode": "headless, interactive, plain (another executor) or replay",
    "systems": "source to its settings in the catalogue, without secrets: where the evidence came from",
    "credentials": "source to the names of the credentials that it had, never their values or places",
    "apply": "whether approved plans may be applied",
    "actor": "{name, known_by}: who started it, and how that is known",
    "parameters": "the values of the run by name; secrets are never among them",
    "schema": "types and defaults of the parameters; only the digest is kept",
    "window": "what the evidence is about: a Window or {start, end}",
    "objective": "what the evidence is held against: an Objective",
    "owner": "the owning team",
    "contacts": "role to address",
    "links": "name to address, with the window filled in",
    "about": "{run_id, head}: an earlier record that this run is about, such as the one it reconciles",
    "saved_as": "the notebook that a person works in; its saved states are archived",
    "alert": "{name, fired_at}: the alert that started the run",
}


def genesis(*, runbook: str, archive: str | Path, notebook: Path | None = None, **facts: Any) -> dict[str, Any]:
    """The data of ``run.started``.

    Args:
        runbook: name of the runbook.
        archive: where records go; its last sealed record is bound.
        notebook: the runbook's file, whose digest and git revision are bound.
        facts: see ``FACTS``.

    Raises:
        UnknownNameError: a fact that nobody knows.
    """
    for name in facts:
        if name not in FACTS:
            raise UnknownNameError("fact about a run", name, FACTS)
    if "schema" in facts:
        facts["parameters_schema"] = digest(facts.pop("schema"))
    return {
        **{name: _as_json(value) for name, value in facts.items()},
        "runbook": runbook,
        "runbook_digest": digest_bytes(notebook.read_bytes()) if notebook and notebook.is_file() else "",
        "git_revision": git_revision(notebook.parent) if notebook else "",
        "packages_digest": packages_digest(),
        "versions": versions(),
        "previous": dict(archive_head(local_archive(archive))),
    }


def versions() -> dict[str, str]:
    """Version of Python and of each installed distribution that matters, by name."""
    found = {"python": platform.python_version()}
    for name in _SHOWN:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def packages_digest() -> str:
    """Digest of the names and versions of everything installed, read from the folders' names alone."""
    names = {
        entry.name for place in sys.path if place and Path(place).is_dir() for entry in Path(place).glob("*.dist-info")
    }
    return digest(sorted(names))


def git_revision(folder: Path) -> str:
    """Revision of the checkout that ``folder`` lies in, read from its files; empty outside of one."""
    for place in (folder, *folder.absolute().parents):
        git = place / ".git"
        if git.is_dir():
            return _resolve(git, "HEAD")
    return ""


def _resolve(git: Path, name: str, depth: int = 4) -> str:
    try:
        text = (git / name).read_text(encoding="utf-8").strip()
    except OSError:
        return _packed(git, name)
    if not text.startswith("ref: "):
        return text
    return _resolve(git, text.removeprefix("ref: "), depth - 1) if depth else ""


def _packed(git: Path, name: str) -> str:
    try:
        lines = (git / "packed-refs").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line.split()[0] for line in lines if line.endswith(f" {name}")), "")


def _as_json(value: Any) -> Any:
    if isinstance(value, Window):
        return value.to_json()
    if isinstance(value, Objective):
        return {
            "name": value.name,
            "kind": value.kind,
            "text": str(value),
            "target": value.target,
            "threshold_seconds": value.threshold_seconds,
            "window_days": value.window_days,
        }
    return value
