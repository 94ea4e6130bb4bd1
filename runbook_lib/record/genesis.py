"""What a run is started from, bound by the first event of its journal."""

from __future__ import annotations

import importlib.metadata
import platform
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from runbook_lib.model import Objective, Window
from runbook_lib.model.canonical import digest, digest_bytes
from runbook_lib.record.chain import archive_head
from runbook_lib.record.folder import local_archive

#: Distributions whose versions a reader of the record wants to see.
_SHOWN = ("runbook-lib", "papermill", "nbclient", "ipykernel", "pandas", "plotly", "kubernetes", "psycopg", "redis")


def genesis(
    *,
    runbook: str,
    service: str,
    environment: str,
    mode: str,
    apply: bool,
    actor: str,
    known_by: str,
    archive: str | Path,
    parameters: Mapping[str, Any],
    notebook: Path | None = None,
    title: str = "",
    window: Window | None = None,
    objective: Objective | None = None,
    owner: str = "",
    contacts: Mapping[str, str] | None = None,
    links: Mapping[str, str] | None = None,
    schema: Mapping[str, Any] | None = None,
    alert: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The data of ``run.started``.

    Args:
        runbook: name of the runbook.
        service: the service it is about.
        environment: where it runs.
        mode: ``headless``, ``interactive`` or ``plain`` (papermill without our engine).
        apply: whether approved plans may be applied.
        actor: who started the run.
        known_by: how the actor is known: ``configuration``, ``login``, ``github-actor``, ``alert``.
        archive: where records go; its last sealed record is bound.
        parameters: the values of the run, by name; secrets are never among them.
        notebook: the runbook's file, whose digest and git revision are bound.
        title: the runbook's title.
        window: what the evidence is about.
        objective: the objective that the run holds the evidence against.
        owner: the owning team.
        contacts: role to address.
        links: name to address, with the window filled in.
        schema: the parameters' types and defaults, of which the digest is bound.
        alert: ``{name, fired_at}`` of the alert that started the run.
    """
    found: dict[str, Any] = {
        "runbook": runbook,
        "title": title,
        "service": service,
        "environment": environment,
        "mode": mode,
        "apply": apply,
        "actor": {"name": actor, "known_by": known_by},
        "parameters": dict(parameters),
        "parameters_schema": digest(dict(schema)) if schema is not None else "",
        "runbook_digest": digest_bytes(notebook.read_bytes()) if notebook and notebook.is_file() else "",
        "git_revision": git_revision(notebook.parent) if notebook else "",
        "packages_digest": packages_digest(),
        "versions": versions(),
        "window": window.to_json() if window else None,
        "objective": _objective(objective),
        "owner": owner,
        "contacts": dict(contacts or {}),
        "links": dict(links or {}),
        "previous": dict(archive_head(local_archive(archive))),
    }
    if alert:
        found["alert"] = dict(alert)
    return found


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


def _objective(objective: Objective | None) -> dict[str, Any] | None:
    if objective is None:
        return None
    return {
        "name": objective.name,
        "kind": objective.kind,
        "text": str(objective),
        "target": objective.target,
        "threshold_seconds": objective.threshold_seconds,
        "window_days": objective.window_days,
    }
