"""Runs the cells of a notebook one after another and says truthfully how each of them, and the run, ended."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from runbook_lib.headless._kernel import LOST_ERROR
from runbook_lib.headless.channels import Channels, Message
from runbook_lib.headless.kernel import Kernel
from runbook_lib.headless.outputs import CellOutputs
from runbook_lib.headless.stop import StopRequest
from runbook_lib.record.folder import RecordFolder
from runbook_lib.record.status import Status
from runbook_lib.secrets import Redactor

# After a cell's answer its last output is on its way; when nothing more comes for this long, it was lost.
QUIET_SECONDS = 3.0
_TICK_SECONDS = 0.1
# From asking to forcing: interrupt, then terminate, then kill. A signal to the runner leaves two seconds in all.
SIGNAL_GRACE_SECONDS = (1.0, 1.3)
DEADLINE_GRACE_SECONDS = (5.0, 7.0)


class CellStatus(StrEnum):
    """How a cell ended. ``NOT_RUN`` is said of every cell behind the one that ended the run."""

    OK = "ok"
    ERROR = "error"
    INTERRUPTED = "interrupted"
    TIMED_OUT = "timed_out"
    DIED = "died"
    NOT_RUN = "not_run"


@dataclass(frozen=True, slots=True)
class Limits:
    """How long things may take, seconds.

    Args:
        start_seconds: from the kernel's start to its first answer.
        cell_seconds: one cell.
        run_seconds: the whole run.
        silence_seconds: without an answer to a heartbeat; a kernel that is merely busy still answers.
    """

    start_seconds: float = 60
    cell_seconds: float = 900
    run_seconds: float = 3600
    silence_seconds: float = 15


@dataclass(frozen=True, slots=True)
class CellEnd:
    """How one cell ended.

    Args:
        status: see ``CellStatus``.
        seconds: how long it took.
        name: class of the error that it raised; empty when it raised none.
        value: text of that error.
        reason: why it was ended from outside; empty when it was not.
    """

    status: CellStatus
    seconds: float
    name: str = ""
    value: str = ""
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        """The data of ``cell.ended``."""
        data: dict[str, Any] = {"status": str(self.status), "duration_seconds": round(self.seconds, 3)}
        if self.name:
            data["error"] = {"name": self.name, "value": self.value[:2000]}
        if self.reason:
            data["reason"] = self.reason
        return data


@dataclass(frozen=True, slots=True)
class Ending:
    """What stopped the cells before the last one, or that nothing did.

    Args:
        status: ``SUCCEEDED`` when every cell ran to its end; what the run found is not judged here.
        reason: one sentence; empty for a run to the end.
        exit_code: of a signal; None where the status says it.
        error: class of the error that a cell raised.
    """

    status: Status
    reason: str = ""
    exit_code: int | None = None
    error: str = ""


class Execution:
    """One run over the cells of a notebook.

    Args:
        kernel: a kernel that was started.
        record: where everything is journalled.
        redactor: masks secrets in outputs.
        limits: deadlines.
        stop: asked between messages whether the run must end.
        progress: told the id of a cell and its status, ``running`` first.
    """

    def __init__(
        self,
        kernel: Kernel,
        record: RecordFolder,
        *,
        redactor: Redactor,
        limits: Limits,
        stop: StopRequest,
        progress: Callable[[str, str], None] = lambda _cell, _status: None,
    ) -> None:
        self._kernel, self._record, self._redactor = kernel, record, redactor
        self._limits, self._stop, self._progress = limits, stop, progress
        self._channels = Channels(kernel.connection)
        self._began = time.monotonic()
        self._outputs: dict[str, CellOutputs] = {}
        self._displays: dict[str, CellOutputs] = {}
        self._lost: list[str] = []
        self._filled: list[tuple[MutableMapping[str, Any], CellOutputs]] = []

    def run(self, cells: Sequence[MutableMapping[str, Any]], saved: Callable[[int], None]) -> Ending:
        """Run the code cells in order; each keeps its outputs, its count and its end.

        Args:
            cells: the notebook's cells, which are filled in.
            saved: told the size of all outputs so far after each cell, so that the notebook can be saved.
        """
        code = [cell for cell in cells if cell["cell_type"] == "code" and source(cell).strip()]
        ending = self._ready()
        for cell in code:
            if ending.status is Status.SUCCEEDED and self._stop.asked():
                ending = Ending(Status.INTERRUPTED, self._stop.reason, self._stop.exit_code)
            if ending.status is not Status.SUCCEEDED:
                self._not_run(cell)
                continue
            end, reply = self._cell(cell)
            ending = self._after(end, reply)
            saved(sum(outputs.bytes for outputs in self._outputs.values()))
        self._settle_outputs()
        if ending.status is Status.SUCCEEDED and self._lost:
            return Ending(Status.FAILED, f"an error that no cell saw: {self._lost[0]}")
        return ending

    def _settle_outputs(self) -> None:
        # A later cell may have updated a display of an earlier one, and a thread may have gone on writing.
        for cell, outputs in self._filled:
            outputs.flush(time.monotonic(), final=True)
            cell["outputs"] = outputs.outputs()

    def close(self, *, orderly: bool) -> None:
        """Give the sockets back.

        Args:
            orderly: let the kernel end by itself first, so that what its programs do on exit is done.
        """
        if orderly and self._kernel.exit_status is None:
            self._channels.shut_down()
            self._kernel.wait(1.5)
        self._channels.close()

    def _ready(self) -> Ending:
        """Wait until the kernel answers on both channels: one that is not yet heard would lose the first output."""
        asked: set[str] = set()
        heard: set[str] = set()
        limit = time.monotonic() + self._limits.start_seconds
        while heard != {"shell", "iopub"}:
            if time.monotonic() > limit or self._kernel.exit_status is not None:
                words = self._redactor.text(self._kernel.last_words())
                what = self._kernel.death() if self._kernel.exit_status is not None else "the kernel did not answer"
                return Ending(Status.KERNEL_DIED, f"{what} before the first cell. {words}".strip())
            if self._stop.asked():
                return Ending(Status.INTERRUPTED, self._stop.reason, self._stop.exit_code)
            asked.add(self._channels.ask("kernel_info_request", {}))
            pause = time.monotonic() + 0.25
            while heard != {"shell", "iopub"} and time.monotonic() < pause:
                heard |= {one.channel for one in self._channels.receive(0.05) if one.parent in asked}
        return Ending(Status.SUCCEEDED)

    def _cell(self, cell: MutableMapping[str, Any]) -> tuple[CellEnd, Mapping[str, Any]]:
        name = cell_name(cell)
        self._progress(name, "running")
        self._record.journal.append("cell.started", {}, cell=name, actor="runner")

        def write(data: Mapping[str, Any]) -> object:
            return self._record.journal.append("cell.output", data, cell=name, actor="runner")

        outputs = CellOutputs(write, self._redactor)
        request = {
            "code": source(cell),
            "silent": False,
            "store_history": True,
            "user_expressions": {},
            "allow_stdin": False,
            "stop_on_error": True,
        }
        asked = self._channels.ask("execute_request", request, {"cellId": name})
        self._outputs[asked] = outputs
        self._filled.append((cell, outputs))
        end, reply = _Wait(self, asked).until_done()
        outputs.flush(time.monotonic(), final=True)
        cell["outputs"] = outputs.outputs()
        cell["execution_count"] = reply.get("execution_count")
        self._record.journal.append("cell.ended", end.to_json(), cell=name, actor="runner")
        self._progress(name, str(end.status))
        mark(cell, end)
        return end, reply

    def _not_run(self, cell: MutableMapping[str, Any]) -> None:
        end = CellEnd(CellStatus.NOT_RUN, 0)
        name = cell_name(cell)
        self._record.journal.append("cell.ended", {"status": str(end.status)}, cell=name, actor="runner")
        self._progress(name, str(end.status))
        mark(cell, end)

    def _after(self, end: CellEnd, reply: Mapping[str, Any]) -> Ending:
        if end.status is CellStatus.INTERRUPTED:
            return Ending(Status.INTERRUPTED, end.reason, self._stop.exit_code if self._stop.reason else None)
        if end.status is CellStatus.TIMED_OUT:
            return Ending(Status.TIMED_OUT, end.reason)
        if end.status is CellStatus.DIED:
            return Ending(Status.KERNEL_DIED, end.reason)
        if end.status is CellStatus.ERROR:
            return Ending(Status.FAILED, f"{end.name}: {end.value}".strip(": ")[:500], error=end.name)
        if any(one.get("source") == "ask_exit" for one in reply.get("payload", ())):
            # Kernels only note a call of exit() and would run the next cell.
            return Ending(Status.FAILED, "a cell called exit(); the cells behind it were not run", error="exit")
        return Ending(Status.SUCCEEDED)


class _Wait:
    """Waits for the end of one request, and ends it from outside when it must not go on."""

    def __init__(self, execution: Execution, asked: str) -> None:
        self._run, self._asked = execution, asked
        self._kernel, self._channels = execution._kernel, execution._channels
        self._began = time.monotonic()
        self._reply: Mapping[str, Any] = {}
        self._idle = False
        self._heard = self._began
        # Set once the cell is being ended: why, as what, when that began, and the moments of the harder signals.
        self._status = CellStatus.OK
        self._reason = ""
        self._since, self._grace, self._sent = 0.0, (0.0, 0.0), 0

    def until_done(self) -> tuple[CellEnd, Mapping[str, Any]]:
        while True:
            messages = 0
            for message in self._channels.receive(self._wait_seconds()):
                messages += 1
                self._take(message)
            now = time.monotonic()
            for outputs in self._run._outputs.values():
                outputs.flush(now)
            if self._reply and (self._idle or now - self._heard > QUIET_SECONDS):
                return self._end(now), self._reply
            if self._kernel.exit_status is not None and not messages:
                return self._died(now), self._reply
            self._press(now)

    def _wait_seconds(self) -> float:
        now = time.monotonic()
        # A tick more than the time of the oldest text would be a tick more of it that a kill takes.
        return min([_TICK_SECONDS, *(outputs.waits_seconds(now) for outputs in self._run._outputs.values())])

    def _take(self, message: Message) -> None:
        now = time.monotonic()
        if message.channel == "shell":
            if message.parent == self._asked and message.kind == "execute_reply":
                self._reply = message.content
                self._heard = now
            return
        self._heard = now
        if message.kind == "status":
            if message.parent == self._asked and message.content.get("execution_state") == "idle":
                self._idle = True
            return
        display_id = str((message.content.get("transient") or {}).get("display_id") or "")
        if message.kind == "update_display_data":
            owner = self._run._displays.get(display_id)
            if owner is not None:
                owner.update(display_id, message.content)
            return
        lost = (message.content.get("data") or {}).get(LOST_ERROR)
        if isinstance(lost, Mapping):
            self._lost(lost)
        # A thread of an earlier cell still writes under that cell's id.
        outputs = self._run._outputs.get(message.parent)
        if outputs is not None:
            outputs.message(message.kind, message.content, now)
            if display_id:
                self._run._displays[display_id] = outputs

    def _lost(self, lost: Mapping[str, Any]) -> None:
        told = f"{lost.get('name')} in a {lost.get('where')}: {lost.get('value')}"
        told = self._run._redactor.text(told)[:500]
        self._run._lost.append(told)
        note = {"text": f"an error that no cell saw: {told}", "important": True}
        self._run._record.journal.append("note", note, actor="runner")

    def _press(self, now: float) -> None:
        """End the cell from outside when something asks for it, harder the longer it takes."""
        run = self._run
        if not self._reason:
            self._look(now)
            return
        waited = now - self._since
        urgent = run._stop.times > 1 and self._status is CellStatus.INTERRUPTED
        if self._sent < 2 and (waited > self._grace[0] or urgent):
            self._sent = 2
            self._kernel.signal(signal.SIGTERM)
        elif self._sent < 3 and waited > self._grace[1]:
            self._sent = 3
            self._kernel.signal(signal.SIGKILL)

    def _look(self, now: float) -> None:
        run, limits = self._run, self._run._limits
        if run._stop.asked():
            self._interrupt(CellStatus.INTERRUPTED, run._stop.reason, SIGNAL_GRACE_SECONDS, now)
        elif now - self._began > limits.cell_seconds:
            text = f"the cell took longer than {limits.cell_seconds:g} s"
            self._interrupt(CellStatus.TIMED_OUT, text, DEADLINE_GRACE_SECONDS, now)
        elif now - run._began > limits.run_seconds:
            text = f"the run took longer than {limits.run_seconds:g} s"
            self._interrupt(CellStatus.TIMED_OUT, text, DEADLINE_GRACE_SECONDS, now)
        elif now - self._channels.heard > limits.silence_seconds:
            how = "it is stopped (SIGSTOP)" if self._kernel.stopped else "it answers no heartbeat"
            self._status, self._since, self._sent = CellStatus.DIED, now, 3
            self._reason = f"the kernel was unresponsive for {limits.silence_seconds:g} s: {how}"
            self._kernel.signal(signal.SIGKILL)

    def _interrupt(self, status: CellStatus, reason: str, grace: tuple[float, float], now: float) -> None:
        self._status, self._reason, self._since, self._grace, self._sent = status, reason, now, grace, 1
        self._kernel.signal(signal.SIGINT)

    def _end(self, now: float) -> CellEnd:
        seconds = now - self._began
        failed = self._reply.get("status") != "ok"
        redact = self._run._redactor.text
        name, value = str(self._reply.get("ename", "")), redact(str(self._reply.get("evalue", "")))
        if not self._idle:
            note = {"text": "some output of this cell was lost: the kernel's last messages never came"}
            self._run._record.journal.append("note", note, actor="runner")
        if self._reason:
            return CellEnd(self._status, seconds, name if failed else "", value if failed else "", self._reason)
        if failed:
            return CellEnd(CellStatus.ERROR, seconds, name or "aborted", value)
        return CellEnd(CellStatus.OK, seconds)

    def _died(self, now: float) -> CellEnd:
        seconds = now - self._began
        if self._reason:
            return CellEnd(self._status, seconds, reason=self._reason)
        return CellEnd(CellStatus.DIED, seconds, reason=self._kernel.death())


def source(cell: Mapping[str, Any]) -> str:
    """The text of a cell."""
    text = cell.get("source", "")
    return text if isinstance(text, str) else "".join(text)


def cell_name(cell: Mapping[str, Any]) -> str:
    """The id by which the journal knows a cell."""
    return str(cell.get("id") or "cell")


def mark(cell: MutableMapping[str, Any], end: CellEnd) -> None:
    """Write a cell's end where papermill's readers look for it."""
    words = {CellStatus.OK: "completed", CellStatus.ERROR: "failed"}
    facts = cell["metadata"].setdefault("papermill", {})
    facts["status"] = words.get(end.status, str(end.status))
    facts["exception"] = end.status is CellStatus.ERROR
    facts["duration"] = round(end.seconds, 3) if end.status is not CellStatus.NOT_RUN else None
