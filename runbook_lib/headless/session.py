"""One headless run from its first byte on disk to its seal."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from runbook_lib import catalog
from runbook_lib.errors import CatalogError, ParameterError, RecordError
from runbook_lib.headless import document, kernel
from runbook_lib.headless.ending import Judgement, judge
from runbook_lib.headless.execution import Ending, Execution, Limits, cell_name
from runbook_lib.headless.notebooks import describe
from runbook_lib.headless.parameters import Parameters, Value
from runbook_lib.headless.stop import StopRequest
from runbook_lib.model import Window
from runbook_lib.record.anchors import anchor
from runbook_lib.record.folder import RecordFolder, new_run_id
from runbook_lib.record.genesis import genesis
from runbook_lib.record.record import Record
from runbook_lib.record.signature import signer
from runbook_lib.record.status import Status
from runbook_lib.secrets import Redactor

if TYPE_CHECKING:
    from runbook_lib.model import Environment, Objective, Service

NOTEBOOK = "notebook.ipynb"
# Source to the slow import behind its client: together more than a second, which passes while the runner loads.
DRIVERS = {
    "prometheus": "httpx",
    "kubernetes": "kubernetes.client",
    "postgres": "psycopg",
    "redis": "redis",
}


def _silent(_cell: str, _status: str) -> None:
    return


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be run, checked.

    Args:
        runbook: name of the runbook.
        notebook: its file; None when only its content is known.
        parameters: the notebook's declaration.
        values: every parameter's value.
        catalog: the service catalogue; None when there is none.
        archive: path or address of the archive.
        apply: whether approved plans may be applied.
        approval: path of an approval; empty when there is none.
        replay: folder of a record to answer from; None to ask the systems themselves.
        resume: folder of the run that this one goes on from; None to begin from nothing.
        alert: ``{name, fired_at}`` of the alert that started the run.
        kernel_name: name of the kernel.
        limits: deadlines.
        out: where a copy of the filled notebook is put; None for no copy.
        progress: told the id of a cell and its status.
    """

    runbook: str
    notebook: Path | None
    parameters: Parameters
    values: Mapping[str, Value]
    catalog: Path | None = None
    archive: str = ""
    apply: bool = False
    approval: str = ""
    replay: Path | None = None
    resume: Path | None = None
    alert: Mapping[str, Any] | None = None
    kernel_name: str = kernel.NATIVE
    limits: Limits = field(default_factory=Limits)
    out: Path | None = None
    progress: Callable[[str, str], None] = _silent

    @property
    def service(self) -> str:
        """Name of the service; empty when the runbook has no such parameter."""
        return str(self.values.get("service", ""))

    @property
    def environment(self) -> str:
        """Name of the environment; empty when the runbook has no such parameter."""
        return str(self.values.get("environment", ""))


@dataclass(frozen=True, slots=True)
class RunResult:
    """How a run ended.

    Args:
        run_id: name of the run.
        status: see ``record.status.Status``.
        verdict: the run's conclusion.
        exit_code: for the shell.
        reason: one sentence; empty when there is nothing to say.
        record: folder of the sealed record.
    """

    run_id: str
    status: Status
    verdict: str
    exit_code: int
    reason: str
    record: Path

    def to_json(self) -> dict[str, Any]:
        """The object that ``runbook run --json`` prints.

        Raises:
            RecordError: the record cannot be read back.
        """
        return Record.read(self.record).to_json()


class Session:
    """A run that was begun; used as a context, so that the kernel is gone whatever happens.

    Args:
        request: what to run.
        stop: tells when the run must end early.
    """

    def __init__(self, request: Request, stop: StopRequest) -> None:
        self.request, self._stop = request, stop
        # A kernel that is not installed is wrong use: it is refused before anything is written.
        kernel.command(request.kernel_name)
        archive = request.archive or default_archive(request.catalog)
        self._sign = signer(_signing_key(request.catalog))
        self._redactor = _redactor(request)
        self.record = RecordFolder.create(
            archive, new_run_id(request.runbook), genesis=_genesis(request, archive), redactor=self._redactor
        )
        self._kernel = kernel.Kernel.start(request.kernel_name, variables=self._variables(archive))
        self._ending = Ending(Status.UNKNOWN, "the run was given up before its first cell")
        self._notebook: Mapping[str, Any] | None = None
        self._sealed = False

    def _variables(self, archive: str) -> dict[str, str]:
        request = self.request
        return {
            "RUNBOOK_RECORD": str(self.record.path),
            "RUNBOOK_RUN_ID": self.record.run_id,
            "RUNBOOK_MODE": "headless",
            "RUNBOOK_APPLY": "1" if request.apply else "0",
            "RUNBOOK_APPROVAL": request.approval,
            "RUNBOOK_CATALOG": str(request.catalog or ""),
            "RUNBOOK_ENVIRONMENT": request.environment,
            "RUNBOOK_ARCHIVE": archive,
            "RUNBOOK_REPLAY": str(request.replay or ""),
            "RUNBOOK_RESUME": str(request.resume or ""),
            "RUNBOOK_PRELOAD": ",".join(_preload(request)),
        }

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._kernel.end()
        if error is not None and not self._sealed:
            # The runner itself failed. What is known is kept; a record that cannot be sealed says so by having no seal.
            self._ending = Ending(Status.UNKNOWN, f"the runner failed: {type(error).__name__}: {error}"[:500])
            with suppress(RecordError):
                self.finish()
        self.record.release()

    def run(self, notebook: dict[str, Any]) -> Ending:
        """Run the cells; the notebook is filled in and saved into the record.

        Args:
            notebook: in nbformat 4's shape.
        """
        self._notebook = notebook
        name_cells(notebook)
        saver = document.Document(notebook, lambda data: self.record.write(NOTEBOOK, data))
        execution = Execution(
            self._kernel,
            self.record,
            redactor=self._redactor,
            limits=self.request.limits,
            stop=self._stop,
            progress=self.request.progress,
        )
        try:
            self._ending = execution.run(notebook["cells"], saver.grown)
        finally:
            execution.close(orderly=self._ending.status in {Status.SUCCEEDED, Status.FAILED})
            self._kernel.end()
            saver.save()
        return self._ending

    def finish(self) -> RunResult:
        """Judge the run from its record and seal it; the kernel is gone.

        Raises:
            RecordError: the record cannot be sealed.
        """
        self._kernel.end()
        judged: Judgement = judge(Record.read(self.record.path), self._ending)
        self._sealed = True
        path = self.record.seal(
            judged.status, judged.verdict, reason=judged.reason, exit_code=judged.exit_code, sign=self._sign
        )
        if self.request.out is not None and self._notebook is not None:
            try:
                document.replace(self.request.out, document.content(self._notebook))
            except OSError as error:
                raise RecordError(f"{self.request.out}: cannot be written: {error.strerror}") from error
        if self.request.catalog is not None and self.request.replay is None:
            anchor(path, catalog.load(self.request.catalog))
        return RunResult(self.record.run_id, judged.status, judged.verdict, judged.exit_code, judged.reason, path)


def name_cells(notebook: Mapping[str, Any]) -> None:
    """Give every cell an id that says where it stands, where it has none or a random one."""
    for number, cell in enumerate(notebook["cells"], start=1):
        if "injected-parameters" in cell["metadata"].get("tags", ()):
            cell["id"] = "injected-parameters"
        elif not cell.get("id"):
            cell["id"] = f"cell-{number}"
        assert cell_name(cell)


def default_archive(found: Path | None) -> str:
    """The archive of this process: ``RUNBOOK_ARCHIVE``, the catalogue's, or ``outputs`` beside it or in this folder."""
    named = os.environ.get("RUNBOOK_ARCHIVE", "")
    return named or (catalog.load(found).archive if found else str(Path.cwd() / "outputs"))


def find_catalog(notebook: Path | None) -> Path | None:
    """The nearest catalogue of this folder or of the notebook's; None when there is none."""
    named = os.environ.get("RUNBOOK_CATALOG", "")
    if named:
        return Path(named)
    for place in (Path.cwd(), *([notebook.parent] if notebook else [])):
        try:
            return catalog.find(place)
        except CatalogError:
            continue
    return None


def _preload(request: Request) -> list[str]:
    if request.catalog is None or not request.environment:
        return []
    endpoints = _environment(request, request.catalog).endpoints
    asked = [] if request.replay else [module for source, module in DRIVERS.items() if source in endpoints]
    return ["runbook_lib.run", "runbook_lib.charts", *asked]


def _environment(request: Request, found: Path) -> Environment:
    return catalog.load(found).environment(request.environment, offline=request.replay is not None)


def _signing_key(found: Path | None) -> Path | None:
    key = catalog.load(found).signing_key if found else None
    if key is not None and not key.is_file():
        # Refused before anything is written: a record that cannot be sealed as asked is worth little.
        raise CatalogError(f"{key} is not there", file=str(found), key="records.signing_key")
    return key


def _redactor(request: Request) -> Redactor:
    from runbook_lib.run.systems import learn_secrets

    redactor = Redactor()
    if request.catalog is not None and request.environment:
        learn_secrets(_environment(request, request.catalog), redactor)
    return redactor


def _genesis(request: Request, archive: str) -> dict[str, Any]:
    from runbook_lib.actions import identity

    actor, known_by = identity()
    facts: dict[str, Any] = {
        "title": describe(request.notebook).title if request.notebook else request.runbook,
        "service": request.service,
        "environment": request.environment,
        "mode": "replay" if request.replay else "headless",
        "apply": request.apply,
        "actor": {"name": actor, "known_by": known_by},
        "parameters": dict(request.values),
        "schema": {item.name: item.to_json() for item in request.parameters.items},
    }
    service, window = _service(request), _window(request.values)
    if service is not None:
        facts |= {"owner": service.owner, "contacts": service.contacts, "links": _links(service, window)}
        latency = _latency(service)
        facts |= {"objective": latency} if latency else {}
    if request.resume:
        earlier = Record.read(request.resume)
        facts["about"] = {"run_id": earlier.run_id, "head": earlier.events[-1].hash}
    if request.alert:
        facts["alert"] = dict(request.alert)
    return genesis(runbook=request.runbook, archive=archive, notebook=request.notebook, **facts)


def _window(values: Mapping[str, Value]) -> Window | None:
    """What the run is about to read; a window that cannot be is refused before anything is started."""
    minutes = values.get("window_minutes")
    if not isinstance(minutes, int | float):
        return None
    try:
        return Window.last(minutes)
    except ParameterError as error:
        raise ParameterError(f"parameter 'window_minutes': {error}") from None


def _links(service: Service, window: Window | None) -> dict[str, str]:
    """The service's links over the window of the run; without such a window there are none."""
    if window is None:
        return {}
    start, end = (str(round(moment.timestamp() * 1000)) for moment in (window.start, window.end))
    return {name: link.replace("{from}", start).replace("{to}", end) for name, link in service.links.items()}


def _service(request: Request) -> Service | None:
    if request.catalog is None or not request.service:
        return None
    return catalog.load(request.catalog).service(request.service)


def _latency(service: Service) -> Objective | None:
    return next((one for one in service.objectives.values() if one.kind == "latency"), None)
