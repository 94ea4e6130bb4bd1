"""``runbook doctor``: the checks of the preflight runbook, without a notebook."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Annotated

import typer

from runbook_lib.cli.output import Json, emit, line, log
from runbook_lib.cli.terminal import say, waiting
from runbook_lib.model import Check, CheckStatus

app = typer.Typer(rich_markup_mode=None)

#: Letters of the sign and the status at the beginning of a check's line.
_WORD = 9


@app.command("doctor")
def doctor(
    service: Annotated[
        str, typer.Option("--service", "-s", help="A service of the catalogue; default: the first.")
    ] = "",
    environment: Annotated[str, typer.Option("--environment", "-e", help="Where; default: the first one.")] = "",
    as_json: Json = False,
) -> None:
    """Every system, permission, metric and tool, each failing line with its fix. Keeps a record like any run."""
    from runbook_lib import catalog, plugins
    from runbook_lib.cli.run import MEANINGS
    from runbook_lib.run import Run

    for problem in plugins.broken():
        log(f"left out: {problem}")
    known = catalog.load()
    service, environment = service or next(iter(known.services), ""), environment or next(iter(known.environments), "")
    run = Run.start("preflight", service=service, environment=environment, minutes=15)
    with waiting(f"asking what {service} in {environment} needs"):
        checks = run.preflight()
    closing = run.close()
    failed = checks.having(CheckStatus.FAILED)
    # A required check that failed is 1; one that could not be read leaves the answer unknown, 5.
    exit_code = 0 if checks.passed else 1 if failed else 5
    if as_json:
        emit({"passed": checks.passed, "checks": [check.to_json() for check in checks]})
    else:
        for check in merged(checks):
            word, rest = str(check)[:_WORD], str(check)[_WORD:]
            say(word, {"passed": "ok", "failed": "error"}.get(check.status, str(check.status)), rest)
        line(f"record: {closing.record}")
        line(f"exit {exit_code}: {MEANINGS[exit_code]}")
    sys.exit(exit_code)


def merged(checks: Iterable[Check]) -> Iterator[Check]:
    """Checks of one group with the same result and fix as one: a system that is down is told once."""
    for _, same in itertools.groupby(checks, lambda one: (one.group, one.status, one.observed, one.fix)):
        alike = list(same)
        yield replace(alike[0], name=", ".join(check.name for check in alike)) if alike[0].fix else alike[0]
        yield from () if alike[0].fix else alike[1:]
