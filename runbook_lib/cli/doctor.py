"""``runbook doctor``: the checks of the preflight runbook, without a notebook."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from runbook_lib.cli.output import Json, emit, line, log

app = typer.Typer(rich_markup_mode=None)


@app.command("doctor")
def doctor(
    service: Annotated[str, typer.Option("--service", "-s", help="A service of the catalogue.")] = "",
    environment: Annotated[str, typer.Option("--environment", "-e", help="An environment of it.")] = "lab",
    as_json: Json = False,
) -> None:
    """Every system, permission, metric and tool, each failing line with its fix. Keeps a record like any run."""
    from runbook_lib import catalog, plugins
    from runbook_lib.run import Run

    for problem in plugins.broken():
        log(f"left out: {problem}")
    known = catalog.load()
    run = Run.start("preflight", service=service or next(iter(known.services), ""), environment=environment, minutes=15)
    checks = run.preflight()
    run.close()
    if as_json:
        emit({"passed": checks.passed, "checks": [check.to_json() for check in checks]})
    else:
        for check in checks:
            line(check)
    failed = checks.having(checks.items[0].status.FAILED) if len(checks) else ()
    # A required check that failed is 1; one that could not be read leaves the answer unknown, 5.
    sys.exit(0 if checks.passed else 1 if failed else 5)
