"""The papermill engine ``runbook``: papermill reads, fills in parameters and drives; what really happened is ours.

Papermill's own bookkeeping says ``completed`` of cells that never ran once a kernel dies or a deadline passes, so none
of it is used here.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nbclient.exceptions import DeadKernelError
from nbformat import from_dict
from papermill.engines import Engine
from papermill.iorw import LocalHandler, papermill_io

from runbook_lib.errors import DeadlineError, RunbookError
from runbook_lib.headless import document, session
from runbook_lib.headless.execution import Ending, Limits
from runbook_lib.headless.parameters import Parameters
from runbook_lib.headless.stop import StopRequest
from runbook_lib.record.status import Status

_INJECTED = "injected-parameters"


class RunbookEngine(Engine):  # type: ignore[misc]
    """Runs a notebook as a runbook: with a record, deadlines, and a truthful end."""

    @classmethod
    def execute_notebook(
        cls,
        nb: Any,
        kernel_name: str,
        output_path: str | None = None,
        progress_bar: bool | dict[str, Any] = False,  # noqa: ARG003 - papermill's call; a record needs no bar
        log_output: bool = False,  # noqa: ARG003
        autosave_cell_every: int = 30,  # noqa: ARG003
        run: session.Session | None = None,
        **options: Any,
    ) -> Any:
        """What papermill calls once the parameters are filled in.

        Args:
            nb: the notebook.
            kernel_name: name of the kernel.
            output_path: where papermill will put the filled notebook.
            progress_bar: not used.
            log_output: not used.
            autosave_cell_every: not used; the journal holds everything as it comes.
            run: the run that ``headless.execute`` began; begun here when papermill was called directly.
            options: papermill's: ``input_path``, ``start_timeout``, ``execution_timeout`` (seconds) ...

        Raises:
            UsageError: the notebook or its parameters are wrong; no kernel was started.
            DeadKernelError: the kernel died; papermill ends with 138.
            DeadlineError: a cell or the run took too long.
            SystemExit: a signal ended the run, with that signal's exit code.
        """
        if run is not None:
            _execute(nb, run)
            return _errors_alone(nb)
        _write_whole(output_path)
        with StopRequest() as stop, session.Session(_request(nb, kernel_name, options), stop) as begun:
            ending = _execute(nb, begun)
            result = begun.finish()
        for cell in nb["cells"]:
            # Papermill reads outputs by attribute.
            if cell["cell_type"] == "code":
                cell["outputs"] = [_node(output) for output in cell["outputs"]]
        nb["metadata"]["papermill"]["record"] = str(result.record)
        if output_path:
            papermill_io.write(document.content(nb).decode(), output_path)
        _raise(ending)
        return nb


def _execute(nb: Any, run: session.Session) -> Ending:
    facts = nb["metadata"]["papermill"]
    began = datetime.now(UTC)
    for cell in nb["cells"]:
        cell["metadata"]["papermill"] = {"status": "pending", "exception": None, "duration": None}
        if cell["cell_type"] == "code":
            cell["outputs"], cell["execution_count"] = [], None
    facts |= {"start_time": began.isoformat(), "end_time": None, "exception": None, "run_id": run.record.run_id}
    ending = run.run(nb)
    ended = datetime.now(UTC)
    facts |= {"end_time": ended.isoformat(), "duration": (ended - began).total_seconds()}
    facts["exception"] = ending.status is not Status.SUCCEEDED
    return ending


def _errors_alone(nb: Any) -> Any:
    """A copy for papermill, which looks for errors in it and then makes text of it twice, for no file."""
    cells = [
        {**cell, "outputs": [output for output in cell["outputs"] if output["output_type"] == "error"]}
        if cell["cell_type"] == "code"
        else cell
        for cell in nb["cells"]
    ]
    return from_dict({**nb, "cells": cells})  # type: ignore[no-untyped-call]


def _node(output: dict[str, Any]) -> Any:
    return from_dict(output)  # type: ignore[no-untyped-call]


def _request(nb: Any, kernel_name: str, options: dict[str, Any]) -> session.Request:
    source = options.get("input_path")
    path = Path(source) if isinstance(source, str) and Path(source).is_file() else None
    declared = Parameters.of([cell for cell in nb["cells"] if not _injected(cell)], str(path or "the notebook"))
    values = declared.check(nb["metadata"]["papermill"].get("parameters") or {})
    found = session.find_catalog(path)
    limits = Limits(
        start_seconds=float(options.get("start_timeout") or Limits().start_seconds),
        cell_seconds=float(options.get("execution_timeout") or Limits().cell_seconds),
    )
    return session.Request(
        runbook=path.stem if path else "notebook",
        notebook=path,
        parameters=declared,
        values=values,
        catalog=found,
        approval=str(values.get("approval", "")),
        kernel_name=kernel_name,
        limits=limits,
    )


def _injected(cell: Any) -> bool:
    return _INJECTED in cell["metadata"].get("tags", ())


def _raise(ending: Ending) -> None:
    """End papermill's call as the run ended; an error output of a cell is left to papermill's own report."""
    if ending.status is Status.INTERRUPTED:
        raise SystemExit(ending.exit_code or 130)
    if ending.status is Status.TIMED_OUT:
        raise DeadlineError(ending.reason)
    if ending.status is Status.KERNEL_DIED:
        raise DeadKernelError(ending.reason)
    if ending.error in {"SystemExit", "exit"}:
        # Papermill takes a clean exit of a cell for success, though the cells behind it never ran.
        raise RunbookError(f"the notebook ended itself: {ending.reason}")


class _WholeFile(LocalHandler):  # type: ignore[misc]
    """Papermill's local files, replaced whole instead of torn."""

    def write(self, buf: str, path: str) -> None:
        document.replace(Path(path), buf.encode())


def _write_whole(output_path: str | None) -> None:
    # Papermill itself writes the file once more after the engine; its handlers are chosen by the path's beginning.
    if output_path and output_path != "-" and "://" not in output_path:
        papermill_io.register(output_path, _WholeFile())
