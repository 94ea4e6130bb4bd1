"""``runbook records reconcile``: find out what became of an action whose answer was lost."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from runbook_lib.cli.output import Json, emit, line


def reconcile(
    run: Annotated[str, typer.Argument(help="Run id, its beginning, or: last")],
    archive: Annotated[str, typer.Option("--archive", help="Archive; default: outputs beside runbook.toml.")] = "",
    outcome: Annotated[str, typer.Option("--outcome", help="applied or rejected: you have looked and know.")] = "",
    because: Annotated[str, typer.Option("--because", help="How you know; stands in the record.")] = "",
    as_json: Json = False,
) -> None:
    """Read the target of a run's unknown actions and close them with a new record; nothing is sent again."""
    from runbook_lib import catalog
    from runbook_lib.cli.where import archive_of
    from runbook_lib.record.record import Record
    from runbook_lib.run.reconcile import reconcile as close

    found = archive_of(archive)
    done = close(Record.read(found.find(run)), found.root, catalog.load(), claim=outcome, because=because)
    if as_json:
        emit({"record": str(done.path), "closed": done.closed, "outcomes": [one.to_json() for one in done.outcomes]})
    else:
        for one in done.outcomes:
            line(f"{one.plan[7:19]} {one}")
        line(f"record: {done.path}")
    sys.exit(0 if done.closed else 6)
