"""``runbook list`` and ``runbook show``."""

from __future__ import annotations

from typing import Annotated

import typer

from runbook_lib.cli.output import Json, columns, emit, line, log
from runbook_lib.cli.where import catalog_folder

app = typer.Typer(rich_markup_mode=None)


@app.command("list")
def list_runbooks(as_json: Json = False) -> None:
    """The runbooks there are; what cannot be used is named with its reason."""
    from runbook_lib import plugins
    from runbook_lib.cli.coverage import last_proven
    from runbook_lib.errors import NotebookError
    from runbook_lib.headless import notebooks

    found, unreadable = [], []
    for path in notebooks.names(catalog_folder()).values():
        try:
            found.append(notebooks.describe(path))
        except NotebookError as error:
            unreadable.append(str(error))
    for problem in (*plugins.broken(), *unreadable):
        log(f"left out: {problem}")
    proven = last_proven()
    if as_json:
        listed = [{**runbook.to_json(), "proven": proven.get(runbook.name, "")} for runbook in found]
        emit({"runbooks": listed, "left_out": [*map(str, plugins.broken()), *unreadable]})
        return
    rows = ((r.name, ", ".join(r.actions) or "nothing", proven.get(r.name, "never")[:10], r.title) for r in found)
    columns(rows, ("NAME", "MAY CHANGE", "LAST PROVEN", "TITLE"))


@app.command("show")
def show_runbook(
    name: Annotated[str, typer.Argument(help="A name from: runbook list")],
    as_json: Json = False,
) -> None:
    """One runbook: meaning, parameters, what it may change."""
    from runbook_lib.headless import notebooks, parameters

    runbook = notebooks.describe(notebooks.find(name, catalog_folder()))
    known = parameters.Parameters.read(runbook.path).items
    if as_json:
        emit({**runbook.to_json(), "parameters": [parameter.to_json() for parameter in known]})
        return
    line(f"{runbook.name}: {runbook.title}")
    for section, text in runbook.sections.items():
        line(f"\n{section}\n  {text}")
    line("\nParameters")
    for parameter in known:
        line(f"  {parameter.name}: {parameter.type} = {parameter.default!r}  {parameter.description}")
    line(f"\nMay change: {', '.join(runbook.actions) or 'nothing'}")
    line(f"Proven by: runbook lab fault {' | '.join(runbook.scenarios)}" if runbook.scenarios else "Proven by: nothing")
