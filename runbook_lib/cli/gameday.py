"""``runbook gameday``: every runbook against every lab scenario, scored."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from runbook_lib.cli.output import Json, emit, line

if TYPE_CHECKING:
    from runbook_lib.authoring.gameday import Score
    from runbook_lib.lab.faults.fault import Fault

app = typer.Typer(rich_markup_mode=None)

#: How long to wait until users feel a fault, and until they feel it no more, seconds.
FELT_SECONDS, CALM_SECONDS = 60.0, 240.0


@app.command("gameday")
def gameday(
    runbooks: Annotated[str, typer.Option(help="Names, separated by commas; default: all.")] = "",
    scenarios: Annotated[str, typer.Option(help="Names from: runbook lab faults; default: all.")] = "",
    out: Annotated[Path | None, typer.Option(help="The page; default: gameday.md in the archive.")] = None,
    minutes: Annotated[int, typer.Option(help="Window of each run, minutes.", min=2, max=240)] = 15,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the lab running.")] = False,
    as_json: Json = False,
) -> None:
    """Run every runbook, applying nothing, in every scenario of the lab; exit 1 when one did not do its job."""
    from runbook_lib.authoring.gameday import page
    from runbook_lib.cli.lab import directory
    from runbook_lib.cli.where import archive_of
    from runbook_lib.lab import supervisor
    from runbook_lib.model.times import utc_now

    names, faults = _chosen(runbooks, scenarios)
    _practises()
    target = out or archive_of("").root / "gameday.md"
    place, day, scores = directory(), f"{utc_now():%Y-%m-%d %H:%M} UTC", []
    supervisor.up(place)
    try:
        for one in _scores(place, names, faults, minutes):
            scores.append(one)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(page(scores, day=day), encoding="utf-8")
            if not as_json:
                line(f"{'✓' if one.passed else '✗'} {one.scenario}, {one.runbook}: {one.told}")
    finally:
        if not keep:
            supervisor.down(place)
    passed = sum(one.passed for one in scores)
    if as_json:
        emit({"day": day, "page": str(target), "passed": passed, "scores": [one.to_json() for one in scores]})
    else:
        line(f"{passed} of {len(scores)} runs did what they are for\npage: {target}")
    sys.exit(0 if passed == len(scores) else 1)


def _chosen(runbooks: str, scenarios: str) -> tuple[dict[str, Path], list[Fault]]:
    from runbook_lib.cli.where import catalog_folder
    from runbook_lib.headless import notebooks
    from runbook_lib.lab.faults import registry

    known = notebooks.names(catalog_folder())
    wanted = _words(runbooks) or list(known)
    faults = [registry.get(name) for name in _words(scenarios)] or list(registry.all_faults())
    return {name: notebooks.find(name, catalog_folder()) for name in wanted}, faults


def _practises() -> None:
    """The catalogue must know the lab: what its service is called there, and where it runs.

    Raises:
        RunbookError: it has no service ``api`` or no environment ``lab``.
    """
    from runbook_lib import catalog

    known = catalog.load()
    known.service("api")
    known.environment("lab")


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _scores(place: Path, names: dict[str, Path], faults: Sequence[Fault], minutes: int) -> Iterator[Score]:
    """Break, run each runbook, heal; one scenario after the other."""
    from runbook_lib.authoring.gameday import NOTHING
    from runbook_lib.cli.demo import latency_reaches
    from runbook_lib.lab.faults import registry

    for fault in faults:
        latency_reaches(CALM_SECONDS, above=False)
        healthy = fault.name == NOTHING
        try:
            registry.apply(place, fault.name, {})
            felt = not healthy and latency_reaches(FELT_SECONDS) is not None
            for name, notebook in names.items():
                yield _run(name, notebook, fault, minutes, felt=felt)
        finally:
            registry.heal(place)


def _run(name: str, notebook: Path, fault: Fault, minutes: int, *, felt: bool) -> Score:
    from runbook_lib.authoring.gameday import score
    from runbook_lib.headless.parameters import Parameters
    from runbook_lib.headless.runner import execute
    from runbook_lib.headless.stop import SIGNALS
    from runbook_lib.record.record import Record
    from runbook_lib.record.verify import verify

    known = {parameter.name for parameter in Parameters.read(notebook).items}
    given = {"service": "api", "window_minutes": str(minutes)}
    began = time.monotonic()
    result = execute(notebook, {key: value for key, value in given.items() if key in known}, environment="lab")
    if result.exit_code in SIGNALS.values():
        # A person stopped the run, and with it the day: the scenario is healed and the lab goes down.
        sys.exit(result.exit_code)
    record = Record.read(result.record)
    return score(
        {**result.to_json(), "runbook": name},
        scenario=fault.name,
        cause=fault.cause,
        felt=felt,
        broken_cells=[cell.name for cell in record.cells if cell.status not in {"ok", "not_run"}],
        faults_of_record=[str(problem) for problem in verify(result.record).problems],
        seconds=time.monotonic() - began,
    )
