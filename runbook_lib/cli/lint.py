"""``runbook lint``: hold notebooks to the rules of a runbook; also a pre-commit hook."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from runbook_lib.cli.output import Json, emit, line

app = typer.Typer(rich_markup_mode=None)


@app.command("lint")
def lint(
    notebooks: Annotated[list[Path] | None, typer.Argument(help="Notebooks; default: every runbook there is.")] = None,
    as_json: Json = False,
) -> None:
    """Hold notebooks to the rules; exit 1 with one line for each rule that is broken. Nothing is run."""
    from runbook_lib.authoring.lint import lint as check
    from runbook_lib.cli.where import catalog_folder
    from runbook_lib.headless import notebooks as known

    paths = notebooks or list(known.names(catalog_folder()).values())
    found = [problem for path in paths for problem in check(path, scenarios=_scenarios())]
    if as_json:
        emit({"notebooks": [str(path) for path in paths], "problems": [problem.to_json() for problem in found]})
    else:
        for problem in found:
            line(problem)
        line(f"{len(paths)} notebooks, {len(found)} problems")
    sys.exit(1 if found else 0)


def _scenarios() -> frozenset[str]:
    from runbook_lib.lab.faults import registry

    return frozenset(fault.name for fault in registry.all_faults())
