"""``runbook records``: the archive of all runs."""

from __future__ import annotations

import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from runbook_lib.cli.handover import handover
from runbook_lib.cli.output import Json, columns, emit, line
from runbook_lib.cli.reconcile import reconcile
from runbook_lib.cli.where import archive_of, catalog_folder

if TYPE_CHECKING:
    from runbook_lib import catalog as catalogs
    from runbook_lib.record.diff import Difference
    from runbook_lib.record.index import Entry

app = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help="The archive of all runs.")
app.command("reconcile")(reconcile)
app.command("handover")(handover)

Archive = Annotated[str, typer.Option("--archive", help="Archive; default: outputs beside runbook.toml.")]
Run = Annotated[str, typer.Argument(help="Run id, its beginning, or: last")]


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


@app.command("postmortem")
def postmortem(run: Run, archive: Archive = "") -> None:
    """The postmortem's draft, with TODO where a person must write."""
    from runbook_lib.record.record import Record
    from runbook_lib.record.views import postmortem as draft

    line(draft(Record.read(archive_of(archive).find(run))))


@app.command("junit")
def junit(run: Run, archive: Archive = "") -> None:
    """The checks of a run as JUnit XML, for CI systems."""
    from runbook_lib.record.record import Record
    from runbook_lib.record.views import junit as xml

    line(xml(Record.read(archive_of(archive).find(run))))


@app.command("diff")
def diff(
    left: Run,
    right: Annotated[str, typer.Argument(help="The run to compare it with.")],
    archive: Archive = "",
    as_json: Json = False,
) -> None:
    """What two runs found, read and did differently; exit 1 when anything."""
    from runbook_lib.record.diff import diff as compare
    from runbook_lib.record.record import Record

    found = archive_of(archive)
    _tell(compare(Record.read(found.find(left)), Record.read(found.find(right))), as_json)


@app.command("replay")
def replay(
    run: Run,
    archive: Archive = "",
    notebook: Annotated[Path | None, typer.Option(help="The runbook; default: the one of the record's name.")] = None,
    out: Annotated[str, typer.Option("--out", help="Archive for the replay's own record; default: not kept.")] = "",
    as_json: Json = False,
) -> None:
    """Run a record's runbook again without any network, answered from the record; exit 1 when it ends differently."""
    from runbook_lib.headless.offline import refuse

    refuse()
    from runbook_lib.headless.replay import replay as again

    record, folder = archive_of(archive).find(run), catalog_folder()
    with tempfile.TemporaryDirectory() as scratch:
        found = folder / "runbook.toml" if folder else None
        done = again(record, archive=out or scratch, notebook=notebook, catalog=found)
    if not as_json:
        line(f"{done.run_id}: replayed, {done.result.verdict}" + ("; the runbook was changed since" * done.changed))
    _tell(done.differences, as_json, done.to_json())


@app.command("verify")
def verify(
    run: Annotated[
        str, typer.Argument(help="Run id, its beginning, last, or a folder; nothing: the whole archive.")
    ] = "",
    archive: Archive = "",
    signers: Annotated[
        Path | None, typer.Option(help="Trusted public keys; default: allowed_signers of the catalogue.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Derive every digest of a record again, offline; exit 7 names each file and event that does not fit."""
    from runbook_lib.record.anchors import check as against_anchors
    from runbook_lib.record.anchors import check_record as against_anchor_of
    from runbook_lib.record.signature import signature_check
    from runbook_lib.record.verify import verify as check
    from runbook_lib.record.verify import verify_archive

    found = archive_of(archive) if not Path(run).is_dir() or archive else None
    known = _catalog()
    trusted = signature_check(signers or (known.allowed_signers if known else None))
    problems, told = [], []
    if run:
        with found.as_stored(run) if found else nullcontext(Path(run)) as folder:
            checked = check(folder, check_signature=trusted)
        problems, signer = list(checked.problems), f", signed by {checked.signer}" if checked.signer else ""
        told = [f"{checked.run_id}: {checked.events} events, {checked.status}{signer}"]
        if found is not None and (place := found.find(run)).is_relative_to(found.root) and checked.status != "running":
            unlike, proven = against_anchor_of(place, found.root, known)
            problems, told = [*problems, *unlike], [*told, *proven]
    elif found is not None:
        with found.as_stored() as folder:
            whole = verify_archive(folder, check_signature=trusted)
            unlike, proven = against_anchors(found.root, folder, known)
        problems = [*(one for each in whole for one in each.problems), *unlike]
        told = [f"{found.root}: {len(whole)} records", *proven]
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
    from runbook_lib.record.anchors import anchor
    from runbook_lib.record.recover import recover_archive
    from runbook_lib.record.signature import signer

    known = _catalog()
    done = recover_archive(archive_of(archive).root, sign=signer(known.signing_key if known else None))
    failed = [one for one in done if one.problem]
    for one in [one for one in done if not one.problem][-1:]:
        anchor(one.path, known)
    if as_json:
        names = ("status", "open_intents", "problem")
        emit({"recovered": [{"path": str(one.path), **{name: getattr(one, name) for name in names}} for one in done]})
    else:
        for one in done:
            line(f"{one.path.name}: {one.problem or one.status}")
            for plan in one.open_intents:
                line(f"  unknown: plan {plan}")
        line(f"{len(done) - len(failed)} records put in order")
    sys.exit(7 if failed else 0)


@app.command("export")
def export(run: Run, to: Annotated[Path, typer.Argument(help="The zip, or a folder for it.")] = Path(),
           archive: Archive = "") -> None:  # fmt: skip
    """Write one sealed record as one zip that verifies on another machine."""
    from runbook_lib.record.export import export as bundle

    line(bundle(archive_of(archive).find(run), to))


@app.command("hold")
def hold(run: Run, reason: Annotated[str, typer.Option(help="Why it must be kept.")], archive: Archive = "") -> None:
    """Keep a record from being removed."""
    archive_of(archive).hold(run, reason)


@app.command("release")
def release(run: Run, archive: Archive = "") -> None:
    """End a hold."""
    archive_of(archive).release(run)


@app.command("remove")
def remove(
    reason: Annotated[str, typer.Option(help="Why; stands in the archive's chain for ever.")],
    run: Annotated[str, typer.Argument(help="Run id or its beginning; or use --older-than.")] = "",
    older_than: Annotated[float, typer.Option("--older-than", help="Every sealed record older than so many days.")] = 0,
    archive: Archive = "",
) -> None:
    """Remove records that are sealed and not on hold; the chain keeps who removed which, and why."""
    from runbook_lib.actions import identity
    from runbook_lib.errors import UsageError

    if bool(run) == (older_than > 0):
        raise UsageError("name either one run or --older-than DAYS")
    found = archive_of(archive)
    chosen = (found.find(run),) if run else found.expired(older_than)
    for path in chosen:
        found.remove(path, reason=reason, by=identity()[0])
        line(path.name)
    line(f"{len(chosen)} records removed")


def _catalog() -> catalogs.Catalog | None:
    """The nearest catalogue, where there is one."""
    from runbook_lib import catalog

    return catalog.load() if catalog_folder() is not None else None


def _tell(differences: tuple[Difference, ...], as_json: bool, value: dict[str, object] | None = None) -> None:
    """Print differences; exit 1 when there are any."""
    if as_json:
        emit(value or {"same": not differences, "differences": [one.to_json() for one in differences]})
    elif differences:
        columns(((one.area, one.name, one.left, one.right) for one in differences), ("AREA", "WHAT", "FIRST", "SECOND"))
    else:
        line("the same")
    sys.exit(1 if differences else 0)


def _show(entries: tuple[Entry, ...], as_json: bool) -> None:
    if as_json:
        emit({"records": [entry.to_json() for entry in entries]})
        return
    columns(
        ((e.started[:19], e.run_id, e.service, e.environment, e.status, e.verdict, e.cause) for e in entries),
        ("STARTED", "RUN", "SERVICE", "WHERE", "STATUS", "VERDICT", "CAUSE"),
    )
