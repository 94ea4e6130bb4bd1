"""``runbook coverage``: alerts without a runbook, runbooks without an alert, and when each was last proven."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path
from typing import Annotated

import typer

from runbook_lib.cli.output import Json, columns, emit, line

app = typer.Typer(rich_markup_mode=None)


@app.command("coverage")
def coverage(
    rules: Annotated[list[Path], typer.Argument(help="Rule files of Prometheus, or PrometheusRule objects.")],
    config: Annotated[
        Path | None, typer.Option("--config", help="hook.toml with routes; default: beside runbook.toml.")
    ] = None,
    archive: Annotated[str, typer.Option("--archive", help="Archive; default: outputs beside runbook.toml.")] = "",
    as_json: Json = False,
) -> None:
    """Hold alerts and runbooks against each other; exit 1 when an alert leads nowhere."""
    from runbook_lib.authoring import coverage as of
    from runbook_lib.cli.where import catalog_folder
    from runbook_lib.headless import notebooks

    home = catalog_folder()
    known = notebooks.names(home)
    table = config or (home / "hook.toml" if home else None)
    found = of.coverage(of.rules(rules), _routes(table), known, last_proven(archive))
    if as_json:
        emit(found.to_json())
    else:
        columns(sorted(found.covered.items()), ("ALERT", "RUNBOOK"))
        for alert in found.without_runbook:
            line(f"{alert}: no runbook; name one in its annotation runbook, or in routes of hook.toml")
        for alert, name in found.broken.items():
            line(f"{alert}: names {name}, which does not exist")
        for name in found.without_alert:
            line(f"{name}: no alert leads to it")
        for name, when in found.proven.items():
            line(f"{name}: last proven {when[:10] or 'never'}")
    sys.exit(0 if found.complete else 1)


def last_proven(archive: str = "") -> dict[str, str]:
    """Runbook to the time of its last run that came to its end; empty when there is no archive."""
    from runbook_lib.authoring.coverage import PROVEN
    from runbook_lib.cli.where import archive_of
    from runbook_lib.errors import RunbookError

    try:
        entries = archive_of(archive).entries()
    except RunbookError:
        return {}
    found: dict[str, str] = {}
    for entry in entries:
        if entry.status in PROVEN:
            found.setdefault(entry.runbook, entry.started)
    return found


def _routes(table: Path | None) -> dict[str, str]:
    from runbook_lib.errors import CatalogError

    if table is None or not table.is_file():
        return {}
    try:
        routes = tomllib.loads(table.read_text(encoding="utf-8")).get("routes", {})
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CatalogError(f"is not TOML: {error}", file=str(table)) from error
    return {str(alert): str(name) for alert, name in routes.items()}
