"""``runbook approve``: allow one exact plan of a run, once, for a short time."""

from __future__ import annotations

from typing import Annotated

import typer

from runbook_lib.cli.output import Json, emit, line
from runbook_lib.cli.records import Archive, archive_of

app = typer.Typer(rich_markup_mode=None)


@app.command("approve")
def approve(
    run: Annotated[str, typer.Argument(help="Run id, its beginning, or: last")],
    plan: Annotated[str, typer.Option("--plan", help="Digest of the plan you have read.")],
    minutes: Annotated[float, typer.Option(help="How long the approval may be used.")] = 15,
    archive: Archive = "",
    as_json: Json = False,
) -> None:
    """Approve one exact plan of a run; prints the command that applies it."""
    from runbook_lib import actions
    from runbook_lib.errors import UnknownNameError
    from runbook_lib.model import Plan
    from runbook_lib.record.record import Record

    found = archive_of(archive)
    record = Record.read(found.find(run))
    known = {str(one["digest"]): one for one in record.plans}
    wanted = plan if plan.startswith("sha256:") else f"sha256:{plan}"
    # A short digest could mean another plan tomorrow: an approval names the whole of it.
    if wanted not in known:
        raise UnknownNameError("plan", plan, known, str(record.path))
    approved = Plan.from_json(known[wanted])
    path = actions.grant(approved, found.root / "ledger" / "granted", minutes=minutes)
    values = {name: value for name, value in record.run.get("parameters", {}).items() if name != "approval"}
    words = " ".join(f"-p {name}={value}" for name, value in values.items())
    command = f"runbook run {record.run.get('runbook', '')} {words} --apply --approval {path}"
    if as_json:
        emit({"approval": str(path), "plan": approved.digest, "command": command})
        return
    line(f"approved for {minutes:g} minutes: {approved.effect}")
    line(f"way back: {approved.way_back}")
    line(f"apply it with:\n  {command}")
