"""``runbook records handover``: what the next person on call takes over."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

import typer

from runbook_lib.cli.output import Json, emit, line


def handover(
    hours: Annotated[float, typer.Option(help="How far back the records reach, hours.", min=0.1, max=24 * 31)] = 12,
    service: Annotated[str, typer.Option(help="Only this service.")] = "",
    archive: Annotated[str, typer.Option("--archive", help="Archive; default: outputs beside runbook.toml.")] = "",
    as_json: Json = False,
) -> None:
    """What was done, what waits for approval, what is open and how to undo it, from the records of the last hours."""
    from runbook_lib.cli.where import archive_of
    from runbook_lib.model.times import parse_rfc3339, utc_now
    from runbook_lib.record.record import Record
    from runbook_lib.record.views import handover as gather
    from runbook_lib.record.views import sheet

    first = utc_now() - timedelta(hours=hours)
    recent = [one.path for one in archive_of(archive).entries() if parse_rfc3339(one.started) >= first]
    records = [one for one in map(Record.read, recent) if service in {"", one.run.get("service", "")}]
    if as_json:
        emit(gather(records).to_json())
    else:
        line(sheet(records, hours=hours).rstrip())
