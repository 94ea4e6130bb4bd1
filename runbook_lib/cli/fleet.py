"""``runbook fleet``: one runbook over many services and environments."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from runbook_lib.cli.output import Json, columns, emit, line, log
from runbook_lib.cli.terminal import is_terminal

if TYPE_CHECKING:
    from runbook_lib.fleet.results import Fleet

app = typer.Typer(rich_markup_mode=None)


@app.command("fleet")
def fleet(
    name: Annotated[str, typer.Argument(help="A name from: runbook list; or the path of a notebook.")],
    targets: Annotated[Path | None, typer.Option("--targets", help="TOML or CSV file of targets.")] = None,
    service_glob: Annotated[
        str, typer.Option("--service-glob", help="Services of the catalogue, such as 'api*'.")
    ] = "",
    environment: Annotated[list[str] | None, typer.Option("--environment", "-e", help="With --service-glob.")] = None,
    parameter: Annotated[list[str] | None, typer.Option("-p", "--parameter", help="name=value, for all.")] = None,
    at_once: Annotated[
        int, typer.Option("--at-once", help="Runs at a time; default: one a processor or worker's thread.")
    ] = 0,
    stop_after: Annotated[int, typer.Option("--stop-after", help="Start no more after so many failed runs.")] = 0,
    archive: Annotated[str, typer.Option("--out", help="Archive; default: outputs beside runbook.toml.")] = "",
    engine: Annotated[str, typer.Option("--engine", help="auto, fork, spawn or dask.")] = "auto",
    scheduler: Annotated[str, typer.Option("--scheduler", help="Address of dask's scheduler: tcp://HOST:PORT.")] = "",
    as_json: Json = False,
) -> None:
    """Run a runbook on many targets: one process and one record each, one page over all. Never applies anything."""
    from runbook_lib import catalog as catalogues
    from runbook_lib.cli.where import catalog_folder
    from runbook_lib.errors import UsageError
    from runbook_lib.fleet import targets as sources
    from runbook_lib.fleet.prepare import prepared
    from runbook_lib.fleet.run import Dispatch, Plan
    from runbook_lib.headless import notebooks
    from runbook_lib.headless.parameters import Parameters, assignments
    from runbook_lib.headless.session import default_archive, find_catalog
    from runbook_lib.record.folder import local_archive

    if (targets is None) == (not service_glob):
        raise UsageError("say what to run on, in one way: --targets FILE or --service-glob PATTERN")
    if at_once < 0 or stop_after < 0:
        raise UsageError("--at-once and --stop-after take numbers from 0 on")
    notebook = notebooks.find(name, catalog_folder())
    place = find_catalog(notebook)
    found = place.resolve() if place else None
    known = catalogues.load(found) if found else None
    if targets is not None:
        given = sources.from_file(targets)
    elif known is not None:
        given = sources.from_catalog(known, service_glob, environment or [])
    else:
        raise UsageError("--service-glob needs a catalogue; make one with: runbook init .")
    where = str(targets or (known and known.path))
    chosen = sources.check(given, Parameters.read(notebook), assignments(parameter or []), known, where=where)
    place_of_records = archive or default_archive(found)
    plan = Plan(
        runbook=notebook.stem,
        notebook=notebook,
        targets=chosen,
        catalog=found,
        archive=local_archive(place_of_records),
        address=place_of_records if place_of_records.startswith("s3://") else "",
        at_once=at_once,
        stop_after=stop_after,
    )
    screen = Screen(len(chosen), quiet=as_json)
    where_to = prepared(engine, notebook, chosen, found, scheduler=scheduler)
    try:
        done = Dispatch(plan, where_to, screen.told).run()
    finally:
        where_to.close()
        screen.close()
    emit(done.to_json()) if as_json else _summary(done)
    sys.exit(done.exit_code)


class Screen:
    """Tells on stderr how it goes: a line for each target that ends; on a terminal also what is under way.

    Args:
        total: number of targets.
        quiet: tell nothing.
    """

    def __init__(self, total: int, *, quiet: bool) -> None:
        self._total, self._quiet = total, quiet
        self._terminal = is_terminal(sys.stderr) and not quiet
        self._running: dict[str, str] = {}
        self._ended = 0

    def told(self, target: str, message: Mapping[str, Any]) -> None:
        """Take a message of a run."""
        if message["status"] == "ended":
            self._ended += 1
            self._running.pop(target, None)
            result = message["result"]
            verdict = result.reason if result.failed else f"{result.verdict} {result.cause}"
            self._clear()
            if not self._quiet:
                log(f"  {self._ended:>{len(str(self._total))}}/{self._total} {target}: {verdict.strip()}")
        elif message["status"] == "lost":
            self._running.pop(target, None)
        elif message["status"] in {"started", "running"}:
            self._running[target] = str(message.get("cell", ""))
        self._draw()

    def close(self) -> None:
        """Leave a clean line."""
        self._clear()

    def _clear(self) -> None:
        if self._terminal:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()

    def _draw(self) -> None:
        if not self._terminal or not self._running:
            return
        now = ", ".join(f"{target} {cell}".strip() for target, cell in self._running.items())
        width = shutil.get_terminal_size().columns
        sys.stderr.write(f"\r\x1b[K{f'  {self._ended}/{self._total} {now}'[: max(width - 1, 1)]}")
        sys.stderr.flush()


def _summary(done: Fleet) -> None:
    rows = (
        (one.target, one.status if one.failed else one.verdict, one.exit_code, one.reason or one.title, one.run_id)
        for one in done.worst_first
    )
    columns(((*row[:3], row[3][:80], row[4]) for row in rows), ("TARGET", "VERDICT", "EXIT", "FOUND", "RUN"))
    line(f"page: {done.path / 'fleet.html'}")
    line(f"exit {done.exit_code}")
