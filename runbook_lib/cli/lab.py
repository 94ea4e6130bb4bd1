"""``runbook lab``: the embedded incident lab."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from runbook_lib.cli.output import Json, columns, emit, line, log
from runbook_lib.cli.terminal import progress, waiting

app = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help="The embedded incident lab.")

Directory = Annotated[Path | None, typer.Option("--dir", help="Folder of the lab; default: $RUNBOOK_LAB or ./.lab.")]
Parameters = Annotated[list[str] | None, typer.Option("-p", help="name=value; see: runbook lab faults")]


def directory(given: Path | None = None) -> Path:
    """The lab's folder: as given, from ``RUNBOOK_LAB``, or ``.lab`` beside the catalogue or in the current folder."""
    if given:
        return given.resolve()
    if named := os.environ.get("RUNBOOK_LAB", ""):
        return Path(named).resolve()
    from runbook_lib.cli.where import catalog_folder

    return (catalog_folder() or Path.cwd()) / ".lab"


@app.command("up")
def up(
    folder: Directory = None,
    prometheus: Annotated[str, typer.Option(help="auto, embedded, or the path of a prometheus binary.")] = "auto",
    control_plane: Annotated[
        str, typer.Option(help="auto (real where its programs are), real, or emulated; see: runbook lab control-plane")
    ] = "auto",
    kubeconfig: Annotated[
        Path | None, typer.Option(help="Administrator's kubeconfig of a cluster for tests, instead of a control plane.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Start the lab and wait until it serves under load."""
    from runbook_lib.lab import supervisor

    status = supervisor.up(
        directory(folder),
        prometheus=prometheus,
        control_plane=control_plane,
        kubeconfig=kubeconfig,
        progress=progress(as_json),
    )
    if as_json:
        emit(status)
        return
    _summary(status)


@app.command("down")
def down(folder: Directory = None) -> None:
    """Stop every process of the lab."""
    from runbook_lib.lab import supervisor

    with waiting("stopping"):
        supervisor.down(directory(folder))
    log("the lab is down")


@app.command("status")
def status(folder: Directory = None, as_json: Json = False) -> None:
    """What runs, where, and whether each part is real or emulated."""
    from runbook_lib.lab import supervisor

    found = supervisor.status(directory(folder))
    if as_json:
        emit(found)
        return
    _summary(found)


@app.command("fault")
def fault(
    name: Annotated[str, typer.Argument(help="A name from: runbook lab faults")],
    parameters: Parameters = None,
    folder: Directory = None,
) -> None:
    """Break the lab, for real, in one named way."""
    from runbook_lib.headless.parameters import assignments
    from runbook_lib.lab.faults import registry

    with waiting(f"breaking: {name}"):
        told = registry.apply(directory(folder), name, assignments(parameters or []))
    emit(told)


@app.command("heal")
def heal(
    name: Annotated[str | None, typer.Argument(help="A fault; default: all of them.")] = None,
    folder: Directory = None,
) -> None:
    """Undo a fault, or all of them."""
    from runbook_lib.lab.faults import registry

    with waiting("healing"):
        told = registry.heal(directory(folder), name)
    emit(told)


@app.command("faults")
def faults(as_json: Json = False) -> None:
    """The faults there are, with parameters and the cause that each should be found as."""
    from runbook_lib.lab.faults import registry

    found = registry.all_faults()
    if as_json:
        emit({"faults": [one.to_json() for one in found]})
        return
    columns(((one.name, one.cause, one.description) for one in found), ("NAME", "CAUSE", "WHAT BREAKS"))


plane = typer.Typer(no_args_is_help=True, help="A real Kubernetes control plane for the lab, without containers.")
app.add_typer(plane, name="control-plane")


@plane.command("build")
def build() -> None:
    """Compile it with Go, once, into the user's cache: some minutes."""
    from runbook_lib.lab.realplane import programs

    log(f"building Kubernetes {programs.VERSION}; the first time this takes some minutes")
    line(programs.build())


@plane.command("find")
def find() -> None:
    """Which programs `runbook lab up --control-plane real` would start; exit 1 when there are none."""
    from runbook_lib.lab.realplane import programs

    found = programs.find()
    if found is None:
        log(f"none: build them with `runbook lab control-plane build`, or put {', '.join(programs.PARTS)} on PATH")
        raise typer.Exit(1)
    line(f"{found.source}: " + ", ".join(sorted({words[0] for words in found.commands.values()})))


def _summary(status: dict[str, Any]) -> None:
    line(f"lab: {status['state']}")
    rows = [
        (name, part.get("kind", ""), part.get("version", ""), part.get("state", ""))
        for name, part in status.get("components", {}).items()
    ]
    columns(rows, ("COMPONENT", "KIND", "VERSION", "STATE"))
    for key in ("service_url", "prometheus_url", "grafana_url"):
        if key in status:
            line(f"{key}: {status[key]}")
