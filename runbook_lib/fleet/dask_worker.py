"""What a dask worker does for a fleet: each run in a process of its own beside the worker, told and stopped from afar.

Everything here is called by dask in the worker's process; ``fleet.dask`` is the other side.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from runbook_lib.fleet.prefork import Prefork
from runbook_lib.fleet.start import Process
from runbook_lib.fleet.worker import Tell, failure

#: Topic of dask's events in which the runs of a fleet tell how it goes.
TOPIC = "runbook-fleet-{}"
_POLL_SECONDS = 0.05
# What a process printed outside of its notebook, as much as a person reads.
_LOG_BYTES = 2**16
#: States of a worker (``distributed.core.Status``) in which nobody waits for its results any more.
_CLOSING = frozenset({"closing", "closed", "failed", "stopping", "stopped"})
_LOCK, _STARTING = threading.Lock(), threading.Lock()
# Name of a run to its process; None before it has one. Never shortened: a run is done once, whoever asks again.
_runs: dict[str, Process | None] = {}
_stopped: dict[str, signal.Signals] = {}
_preforks: list[Prefork] = []


def describe(dask_worker: Any) -> dict[str, Any]:
    """Who this worker is, which a worker started anew at the same address is not, and what it would run."""
    return {"id": dask_worker.id, "threads": dask_worker.state.nthreads, "library": library()}


def library() -> str:
    """Version of the library here."""
    return importlib.metadata.version("runbook-lib")


def digest(path: str) -> str:
    """SHA-256 of a file; empty when it is not there."""
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError:
        return ""


def run(task: Mapping[str, Any], name: str, fleet: str, worker_id: str) -> dict[str, Any]:
    """Do one run and wait for its end.

    Args:
        task: as ``worker.work`` takes it, with ``digests`` of the files that it names, and the ``modules`` that it
            imports.
        name: of this run; it is begun once only, whatever dask does with the task.
        fleet: whose topic is told how it goes.
        worker_id: the worker that was chosen; another one does nothing.

    Returns:
        ``{"result": ..., "log": ...}``, or ``{"refused": why}`` when nothing was begun.
    """
    distributed: Any = importlib.import_module("distributed")
    worker = distributed.get_worker()
    with _LOCK:
        if worker.id != worker_id or name in _runs:
            return {"refused": "the worker was started anew"}
        _runs[name] = None
    for path, expected in task["digests"].items():
        if digest(path) != expected:
            where = f"worker {worker.address}: {path} is {'another file' if digest(path) else 'not there'}"
            return {"result": failure(2, where), "log": ""}

    def tell(message: Mapping[str, Any]) -> None:
        worker.log_event(TOPIC.format(fleet), {"run": name, **message})

    return _run(task, name, tell, lambda: worker.status.name in _CLOSING)


def _run(task: Mapping[str, Any], name: str, tell: Tell, closing: Callable[[], bool]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        child = _prefork(task["modules"]).start(task, log)
        with _LOCK:
            _runs[name], asked = child, _stopped.get(name)
        if asked is not None:
            child.stop(asked)
        result: Mapping[str, Any] = {}
        over = False
        while not over:
            over = child.ended()
            for message in child.messages():
                result = message.get("result") or result
                if "result" not in message:
                    tell(message)
            if closing() and not asked:
                # Its scheduler is gone, or it was told to end: a worker would wait half a minute for its tasks.
                asked = signal.SIGTERM
                child.stop(asked)
            if not over:
                time.sleep(_POLL_SECONDS)
        words = child.death()
        printed = log.read_bytes()[-_LOG_BYTES:] if log.exists() else b""
        return {"result": result, "words": words, "log": printed.decode(errors="replace")}


def _prefork(modules: Sequence[str]) -> Prefork:
    # Not under the lock that stop() takes: that is called in the thread in which the worker listens.
    with _STARTING:
        if not _preforks:
            _preforks.append(Prefork(modules))
        return _preforks[0]


def stop(name: str, number: int) -> None:
    """Ask a run to end, now or as soon as it has a process."""
    asked = signal.Signals(number)
    with _LOCK:
        _stopped[name] = asked
        child = _runs.get(name)
    if child is not None:
        child.stop(asked)
