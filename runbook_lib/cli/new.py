"""``runbook new``: begin a runbook in the shape that every notebook has."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from runbook_lib.cli.output import line

app = typer.Typer(rich_markup_mode=None)


@app.command("new")
def new(
    name: Annotated[str, typer.Argument(help="Words joined by _, such as queue_backlog.")],
    plan: Annotated[str, typer.Option(help="What it may plan: propose, scale; nothing when left out.")] = "",
    folder: Annotated[Path, typer.Option("--dir", help="Where it is put.")] = Path("notebooks"),
) -> None:
    """Begin a runbook: it keeps every rule and runs as it is; nothing that exists is overwritten."""
    from runbook_lib.authoring.cells import text
    from runbook_lib.authoring.skeleton import PLANS, skeleton
    from runbook_lib.cli.where import usual_place
    from runbook_lib.errors import UnknownNameError, UsageError

    if not re.fullmatch(r"[a-z][a-z0-9_]{0,60}", name):
        near = "_".join(re.findall(r"[a-z0-9]+", name.lower())).lstrip("0123456789_")
        hint = f" Did you mean {near!r}?" if near else ""
        raise UsageError(f"a runbook's name is made of small letters, digits and _, not {name!r}.{hint}")
    if plan not in PLANS:
        raise UnknownNameError("plan", plan, [known for known in PLANS if known])
    path = folder / f"{name}.ipynb"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text(skeleton(name, plan, place=usual_place())))
    except FileExistsError as error:
        raise UsageError(f"{path} exists; choose another name") from error
    line(f"{path}: write down meaning, impact and owner, then: runbook lint {path} && runbook run {path}")
