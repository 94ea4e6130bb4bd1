"""``runbook records``: the archive of all runs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from runbook_lib.cli.output import Json, columns, emit, line

if TYPE_CHECKING:
    from runbook_lib.record import archive as archives
    from runbook_lib.record.index import Entry

app = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help="The archive of all runs.")

Archive = Annotated[str, typer.Option("--archive", help="Archive; default: outputs beside runbook.toml.")]
Run = Annotated[str, typer.Argument(help="Run id, its beginning, or: last")]


def archive_of(given: str) -> archives.Archive:
    """The archive as given, or ``outputs`` beside the catalogue."""
    from runbook_lib import catalog
    from runbook_lib.record.archive import Archive as Records
    from runbook_lib.record.folder import local_archive

    return Records(local_archive(given) if given else catalog.find().parent / "outputs")


@app.command("list")
def list_records(archive: Archive = "", limit: Annotated[int, typer.Option(help="At most so many.")] = 20,
                 as_json: Json = False) -> None:  # fmt: skip
    """Records, newest first."""
    _show(archive_of(archive).entries(limit=limit), as_json)


@app.command("search")
def search(text: Annotated[str, typer.Argument(help="Words that a record holds.")], archive: Archive = "",
           as_json: Json = False) -> None:  # fmt: skip
    """Records that hold all the words."""
    _show(archive_of(archive).search(text), as_json)


@app.command("show")
def show(run: Run, archive: Archive = "", as_json: Json = False) -> None:
    """What one run found, planned and did."""
    from runbook_lib.record.record import Record

    record = Record.read(archive_of(archive).find(run))
    if as_json:
        emit(record.to_json())
        return
    line((record.path / "summary.md").read_text(encoding="utf-8") if record.sealed else f"{record.run_id}: running")


@app.command("report")
def report(run: Run, archive: Archive = "") -> None:
    """Path of the record's page, to open in a browser."""
    from runbook_lib.errors import RecordError

    page = archive_of(archive).find(run) / "report.html"
    if not page.is_file():
        raise RecordError(f"{page}: the run has no page; put a dead run in order with: runbook records recover")
    line(page)


@app.command("verify")
def verify(
    run: Annotated[
        str, typer.Argument(help="Run id, its beginning, last, or a folder; nothing: the whole archive.")
    ] = "",
    archive: Archive = "",
    as_json: Json = False,
) -> None:
    """Derive every digest of a record again, offline; exit 7 names each file and event that does not fit."""
    from runbook_lib.record.verify import verify as check
    from runbook_lib.record.verify import verify_archive

    found = archive_of(archive) if not Path(run).is_dir() or archive else None
    problems, told = [], []
    if run:
        checked = check(found.find(run) if found else Path(run))
        problems, told = list(checked.problems), [f"{checked.run_id}: {checked.events} events, {checked.status}"]
    elif found is not None:
        whole = verify_archive(found.root)
        problems, told = [one for each in whole for one in each.problems], [f"{found.root}: {len(whole)} records"]
    if as_json:
        emit({"good": not problems, "problems": [str(problem) for problem in problems]})
    else:
        for text in (*told, *map(str, problems)):
            line(text)
        line("good" if not problems else "NOT GOOD")
    sys.exit(7 if problems else 0)


@app.command("recover")
def recover(archive: Archive = "", as_json: Json = False) -> None:
    """Seal the records of runs that died, and list every action whose outcome is unknown."""
    from runbook_lib.record.recover import recover_archive

    done = recover_archive(archive_of(archive).root)
    if as_json:
        emit({"recovered": [{"path": str(one.path), "status": one.status, "open": one.open_intents} for one in done]})
        return
    for one in done:
        line(f"{one.path.name}: {one.status}" + "".join(f"\n  unknown: plan {plan}" for plan in one.open_intents))
    line(f"{len(done)} records put in order")


def _show(entries: tuple[Entry, ...], as_json: bool) -> None:
    if as_json:
        emit({"records": [entry.to_json() for entry in entries]})
        return
    columns(
        ((e.started[:19], e.run_id, e.service, e.environment, e.status, e.verdict, e.cause) for e in entries),
        ("STARTED", "RUN", "SERVICE", "WHERE", "STATUS", "VERDICT", "CAUSE"),
    )
