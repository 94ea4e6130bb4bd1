"""``runbook drift``: whether what a runbook names still exists."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from runbook_lib.cli.output import Json, emit, line

app = typer.Typer(rich_markup_mode=None)


@app.command("drift")
def drift(
    names: Annotated[list[str] | None, typer.Argument(help="Runbooks; default: all of them.")] = None,
    service: Annotated[str, typer.Option("--service", "-s", help="A service of the catalogue.")] = "",
    environment: Annotated[str, typer.Option("--environment", "-e", help="An environment of it.")] = "lab",
    page: Annotated[Path | None, typer.Option("--page", help="The markdown file that it was imported from.")] = None,
    as_json: Json = False,
) -> None:
    """Ask for every query, place, permission, release, page and link of a runbook; exit 1 when one has drifted."""
    from runbook_lib import catalog
    from runbook_lib.authoring.drift import drift as check
    from runbook_lib.headless import notebooks
    from runbook_lib.model import CheckStatus

    known = catalog.load()
    home = known.path.resolve().parent
    about = known.service(service or next(iter(known.services), ""))
    where = known.environment(environment)
    paths = [notebooks.find(name, home) for name in names] if names else list(notebooks.names(home).values())
    found = {path: check(path, about, where, page=page) for path in paths}
    if as_json:
        emit({"runbooks": {path.stem: [one.to_json() for one in checks] for path, checks in found.items()}})
    else:
        for path, checks in found.items():
            line(path.stem)
            for one in checks:
                if one.status is not CheckStatus.PASSED:
                    line(f"  {one}")
            line(f"  {sum(one.status is CheckStatus.PASSED for one in checks)} of {len(checks)} are there")
    gone = any(checks.having(CheckStatus.FAILED) for checks in found.values())
    untold = any(checks.having(CheckStatus.UNKNOWN) for checks in found.values())
    sys.exit(1 if gone else 5 if untold else 0)
