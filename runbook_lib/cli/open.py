"""``runbook open``: JupyterLab on one runbook or one earlier run, with its notebook archived at every save."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from runbook_lib.cli.output import line

if TYPE_CHECKING:
    from collections.abc import Mapping

app = typer.Typer(rich_markup_mode=None)

HOOK = "runbook_lib.headless.saved.on_save"
#: A killed browser loses at most so much of what its cells showed, seconds; the record loses nothing.
AUTOSAVE_SECONDS = 10
#: What JupyterLab asks other machines for by itself, and what nobody needs here, is off.
SETTINGS: Mapping[str, Mapping[str, object]] = {
    "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False},
    "@jupyterlab/docmanager-extension:plugin": {"autosaveInterval": AUTOSAVE_SECONDS},
    "@jupyterlab/extensionmanager-extension:plugin": {"enabled": False},
}
#: Nobody builds JupyterLab here: each page would start node to see whether somebody had to.
PAGE: Mapping[str, bool] = {"buildAvailable": False, "buildCheck": False}


@app.command("open")
def open_(
    name: Annotated[str, typer.Argument(help="A name from: runbook list; a run id, its beginning, or: last")],
    parameter: Annotated[list[str] | None, typer.Option("-p", "--parameter", help="name=value, kept as typed.")] = None,
    environment: Annotated[str, typer.Option("--environment", "-e", help="Where to run.")] = "",
    actor: Annotated[str, typer.Option(help="Who you are; default: RUNBOOK_ACTOR, or the system's user.")] = "",
    archive: Annotated[str, typer.Option("--out", help="Archive; default: outputs beside runbook.toml.")] = "",
    port: Annotated[int, typer.Option(help="0 takes a free one.")] = 0,
    browser: Annotated[bool, typer.Option(help="Open a browser.")] = True,
) -> None:
    """Work on a runbook, or look at a run, in JupyterLab; every save is archived, the end of a run seals its record."""
    from runbook_lib import actions, catalog
    from runbook_lib.cli.where import archive_of
    from runbook_lib.errors import UsageError
    from runbook_lib.headless.session import find_catalog
    from runbook_lib.run.attach import ARCHIVE, CATALOG, SAVES

    found = find_catalog(None)
    if found is None:
        raise UsageError(f"no {catalog.FILE_NAME} in this folder or above; make one with: runbook init .")
    root = archive_of(archive).root
    if actor:
        os.environ["RUNBOOK_ACTOR"] = actor
    os.environ |= {CATALOG: str(found.resolve()), ARCHIVE: str(root), SAVES: "1"}
    notebook = _notebook(name, parameter or [], environment, str(root))
    person, known_by = actions.identity()
    line(f"notebook  {notebook}")
    line(f"who       {person} ({known_by})")
    line("archive   every save; a run's record is sealed with the first save after its last cell")
    try:
        serve(notebook, port=port, browser=browser)
    finally:
        _finish(notebook.parent)


def _notebook(name: str, given: list[str], environment: str, archive: str) -> Path:
    """The working copy of a runbook or of a run's notebook.

    Raises:
        UnknownNameError: neither a runbook nor a run has this name; carries the nearest one.
    """
    from runbook_lib.cli.where import archive_of, catalog_folder
    from runbook_lib.errors import UnknownNameError
    from runbook_lib.headless import notebooks, workbook
    from runbook_lib.headless.parameters import assignments
    from runbook_lib.record.record import Record

    known = notebooks.names(catalog_folder())
    if name in known or name.endswith(".ipynb"):
        values = {**assignments(given), **({"environment": environment} if environment else {})}
        return workbook.prepare(notebooks.find(name, catalog_folder()), values, archive)
    try:
        record = Record.read(archive_of(archive).find(name))
    except UnknownNameError as error:
        raise UnknownNameError("runbook or run", name, known) from error
    return workbook.reopen(record, notebooks.find(str(record.run["runbook"]), catalog_folder()), archive)


def serve(notebook: Path, *, port: int, browser: bool) -> None:
    """Serve JupyterLab on this machine only, on one notebook, until it is stopped.

    Raises:
        UsageError: JupyterLab is not installed.
    """
    from runbook_lib.errors import UsageError

    try:
        from jupyterlab.labapp import LabApp
    except ImportError as error:
        raise UsageError("JupyterLab is not installed: pip install 'runbook-lib[jupyter]'") from error
    with tempfile.TemporaryDirectory(prefix="runbook-settings-") as folder:
        (Path(folder) / "overrides.json").write_text(json.dumps(SETTINGS), encoding="utf-8")
        LabApp.launch_instance(
            argv=[
                "--Application.log_level=WARN",
                "--ServerApp.ip=127.0.0.1",
                f"--ServerApp.port={port}",
                f"--ServerApp.root_dir={notebook.parent}",
                f"--ServerApp.open_browser={browser}",
                "--ServerApp.terminals_enabled=False",
                f"--ServerApp.tornado_settings={ {'page_config_data': dict(PAGE)} }",
                "--ServerApp.allow_root=True",
                f"--FileContentsManager.post_save_hook={HOOK}",
                f"--LabApp.app_settings_dir={folder}",
                f"--LabApp.default_url=/lab/tree/{notebook.name}",
                "--LabApp.news_url=",
                "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
                "--LabApp.extension_manager=readonly",
                "--LabApp.collaborative=False",
            ]
        )


def _finish(folder: Path) -> None:
    """Say what became of the runs of the notebooks that were served."""
    from runbook_lib.headless.saved import seal_left

    done, left = seal_left(folder)
    for path in done:
        line(f"record    {path}")
    for path in left:
        line(f"record    {path}: the run did not come to its end; put it in order with: runbook records recover")
