"""``runbook import``: a markdown runbook becomes a notebook."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from runbook_lib.cli.output import Json, emit, line

if TYPE_CHECKING:
    from runbook_lib.authoring.importing import Imported

app = typer.Typer(rich_markup_mode=None)

_WORDS = {
    "step": "steps",
    "check": "checks",
    "plan": "plans behind the guard",
    "parameter": "parameters",
    "catalogue": "entries of the catalogue",
    "title": "statements of the title",
    "text": "not understood, kept as text",
}


@app.command("import")
def import_(
    page: Annotated[Path, typer.Argument(help="A markdown file.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="The notebook; an imported one is merged.")
    ] = None,
    service: Annotated[str, typer.Option("--service", "-s", help="Service in the catalogue to compare with.")] = "api",
    catalogue: Annotated[
        Path | None, typer.Option("--catalogue", help="New file for what the page says about the service (TOML).")
    ] = None,
    as_json: Json = False,
) -> None:
    """Turn a markdown runbook into a notebook. Nothing in it is run; what was edited by hand stays."""
    from runbook_lib.authoring import cells
    from runbook_lib.authoring.importing import import_page, runbook_name
    from runbook_lib.cli.where import usual_place
    from runbook_lib.errors import UsageError

    name = output.stem if output else runbook_name(page)
    target = output or Path("notebooks") / f"{name}.ipynb"
    if target.suffix != ".ipynb" or not target.parent.is_dir():
        raise UsageError(f"{target}: the notebook must end in .ipynb and lie in a folder that exists")
    if catalogue is not None and catalogue.exists():
        raise UsageError(f"{catalogue} exists; name a new file, and copy what you need from it into runbook.toml")
    done = import_page(page, name, target if target.exists() else None, place=(service, usual_place()[1]))
    _replace(target, cells.text(done.content))
    if catalogue is not None:
        catalogue.write_text(done.draft.facts.toml(service), encoding="utf-8")
    missing = _missing(done, service)
    if as_json:
        emit({"notebook": str(target), **done.to_json(), "not_in_catalogue": missing})
    else:
        _told(target, done, missing, bool(catalogue))


def _told(target: Path, done: Imported, missing: list[str], written: bool) -> None:
    lost = done.draft.lost()
    line(f"{target}: {len(done.draft.instructions)} statements of the page, {len(lost)} lost")
    for number in lost:
        line(f"  line {number} became nothing: carry it over by hand")
    for became, words in _WORDS.items():
        if count := done.counts.get(became, 0):
            line(f"  {count:3} {words}")
    for one in done.draft.instructions:
        if one.became == "text":
            line(f"  line {one.line}, not understood: {' '.join(one.text.split())[:100]}")
        elif one.by_hand:
            line(f"  line {one.line}, by hand ({one.by_hand}): {' '.join(one.text.split())[:80]}")
    for number in done.draft.secrets:
        line(f"  line {number} looked like a secret and was redacted; take it out of the page, too")
    merge = done.merge
    merged = {
        "edited by hand, kept": merge.kept,
        "the page says otherwise by now": merge.conflicts,
        "taken out by hand, left out": merge.removed,
        "written by hand, kept": merge.added,
    }
    for words, names in merged.items():
        if names:
            line(f"  {words}: {', '.join(names)}")
    if missing and not written:
        line(f"  not in the catalogue, or otherwise there: {', '.join(missing)}; see: --catalogue FILE")
    line(f"next: runbook lint {target} && runbook run {target}")


def _missing(done: Imported, service: str) -> list[str]:
    """What the catalogue does not say yet; everything when there is no catalogue."""
    import tomllib

    from runbook_lib import catalog
    from runbook_lib.authoring.facts import differences
    from runbook_lib.errors import CatalogError

    try:
        known = tomllib.loads(catalog.find().read_text(encoding="utf-8")).get("services", {}).get(service, {})
    except (CatalogError, tomllib.TOMLDecodeError):
        known = {}
    return differences(done.draft.facts, known)


def _replace(target: Path, text: str) -> None:
    from runbook_lib.headless.document import replace

    replace(target, text.encode())
