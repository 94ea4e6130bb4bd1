"""Run a runbook headlessly: check, start, drive through papermill, judge, seal."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from runbook_lib import catalog as catalogues
from runbook_lib.errors import CatalogError, ParameterError, UsageError
from runbook_lib.headless.execution import Limits
from runbook_lib.headless.kernel import NATIVE
from runbook_lib.headless.lean import without_grammar
from runbook_lib.headless.parameters import Parameters, Value
from runbook_lib.headless.session import Request, RunResult, Session, find_catalog
from runbook_lib.headless.stop import StopRequest
from runbook_lib.record.record import Record
from runbook_lib.record.recover import is_alive

Progress = Callable[[str, str], None]


def execute(
    notebook: Path,
    parameters: Mapping[str, Any] | None = None,
    *,
    environment: str = "",
    catalog: Path | None = None,
    archive: str = "",
    apply: bool = False,
    approval: str = "",
    replay: Path | None = None,
    resume: Path | None = None,
    alert: Mapping[str, Any] | None = None,
    out: Path | None = None,
    kernel_name: str = NATIVE,
    limits: Limits | None = None,
    watch_parent: bool = True,
    progress: Progress = lambda _cell, _status: None,
    begun: Callable[[Path], None] | None = None,
) -> RunResult:
    """Run a notebook to its end and seal the record of it.

    Whatever stops it - an error, a signal, a deadline, a dead kernel - the result and the record say so. Signals
    are handled while this runs in the main thread.

    Args:
        notebook: the runbook.
        parameters: name to value, as text or typed; checked before anything is started.
        environment: where to run; sets the parameter of that name.
        catalog: the service catalogue; the nearest one when omitted.
        archive: path or ``file://`` address of the archive; ``outputs`` beside the catalogue when empty.
        apply: whether approved plans may be applied.
        approval: path of an approval; also the parameter of that name when the runbook has one.
        replay: folder of a record to answer from; None to ask the systems themselves.
        resume: folder of a run of the same runbook to go on from: its parameters hold where none is given, and what it
            changed is looked at and never sent again.
        alert: ``{name, fired_at}`` of the alert that started the run.
        out: a file that must not exist yet, for a copy of the filled notebook.
        kernel_name: name of the kernel; ``python3`` is this Python.
        limits: deadlines.
        watch_parent: end when the process that started this one is gone.
        progress: told the id of a cell and its status, ``running`` first.
        begun: told the folder of the record before the first cell runs.

    Raises:
        UsageError: notebook, parameters, service, environment, kernel or paths are wrong; nothing was started and no
            record was begun.
        RecordError: the record could not be begun, written or sealed.
    """
    notebook = notebook.resolve()
    declared = Parameters.read(notebook)
    known = {item.name for item in declared.items}
    kept = _resumed(notebook, resume, known) if resume else {}
    values = declared.check({**kept, **_given(known, declared.where, parameters or {}, environment, approval)})
    found = catalog or find_catalog(notebook)
    _known(found, values, offline=replay is not None)
    if out is not None and (out.exists() or not out.parent.is_dir()):
        raise UsageError(f"{out}: {'exists already' if out.exists() else 'its folder does not exist'}")
    if replay is not None and apply:
        raise UsageError("a replay never applies anything")
    request = Request(
        runbook=notebook.stem,
        notebook=notebook,
        parameters=declared,
        values=values,
        catalog=found.resolve() if found else None,
        archive=archive,
        apply=apply,
        approval=str(Path(approval).resolve()) if approval else "",
        replay=replay.resolve() if replay else None,
        resume=resume.resolve() if resume else None,
        alert=alert,
        kernel_name=kernel_name,
        limits=limits or Limits(),
        out=out,
        progress=progress,
    )
    with StopRequest(watch_parent=watch_parent) as stop, Session(request, stop) as session:
        if begun is not None:
            begun(session.record.path)
        # The kernel boots while the executor is imported.
        _drive(notebook, declared, values, session)
        return session.finish()


def prepare() -> None:
    """Import now what a run will need, so that the next one begins at once."""
    for name in ("nbformat", "papermill.execute", "runbook_lib.run.systems"):
        importlib.import_module(name)


def _resumed(notebook: Path, folder: Path, known: set[str]) -> dict[str, Any]:
    """The parameters of a run that is to be resumed, once it is sure that it may be."""
    record = Record.read(folder)
    if not record.sealed and is_alive(folder):
        raise UsageError(f"{record.run_id} still goes on; a run is resumed when it has ended")
    if record.run.get("runbook") != notebook.stem:
        raise UsageError(f"{record.run_id} is a run of {record.run.get('runbook')}, not of {notebook.stem}")
    kept = dict(record.run.get("parameters") or {})
    return {name: value for name, value in kept.items() if name in known - {"approval"}}


def _given(known: set[str], where: str, given: Mapping[str, Any], environment: str, approval: str) -> dict[str, Any]:
    merged = dict(given)
    for name, value in (("environment", environment), ("approval", approval)):
        if value and name in known:
            if merged.setdefault(name, value) != value:
                raise ParameterError(f"{name} is given twice: {merged[name]!r} and {value!r}")
        elif value and name == "environment":
            raise ParameterError(f"{where} has no parameter 'environment'")
    return merged


def _known(found: Path | None, values: Mapping[str, Value], *, offline: bool) -> None:
    """Refuse an unknown service or environment before a kernel is started for it."""
    named = {name: str(values[name]) for name in ("service", "environment") if name in values}
    if not named:
        return
    if found is None:
        raise CatalogError(f"no {catalogues.FILE_NAME} near the notebook or this folder; make one with: runbook init .")
    known = catalogues.load(found)
    if "service" in named:
        known.service(named["service"])
    if "environment" in named:
        known.environment(named["environment"], offline=offline)


def _drive(notebook: Path, declared: Parameters, values: Mapping[str, Value], begun: Session) -> None:
    with without_grammar():
        import nbformat
        from papermill.exceptions import PapermillExecutionError
        from papermill.execute import execute_notebook

    # Given as content: papermill would fill braces in a path with parameters.
    content = nbformat.reads(notebook.read_text(encoding="utf-8"), as_version=4)  # type: ignore[no-untyped-call]
    defaults = {item.name: item.default for item in declared.items}
    changed = {name: value for name, value in values.items() if value != defaults[name]}
    try:
        execute_notebook(
            content,
            None,
            parameters=changed,
            engine_name="runbook",
            kernel_name=NATIVE,
            language="python",
            progress_bar=False,
            run=begun,
        )
    except PapermillExecutionError:
        # A cell raised: the record has it already, and the result says so.
        return
