"""A fleet on the workers of a dask cluster: each run is a task that stays with the worker it was given to.

Dask does a task again elsewhere when its worker is gone. A run may not be done again before its record was looked at,
so each task is bound to one worker process, and this side decides what becomes of a run whose worker is gone.
"""

from __future__ import annotations

import importlib
import logging
import signal
import threading
import time
import uuid
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runbook_lib.errors import UsageError
from runbook_lib.fleet import dask_worker
from runbook_lib.fleet.worker import TAKEN, failure

_CONNECT_SECONDS = 10
_LOOK_SECONDS = 0.5
# A cluster that replaces its workers needs a while for it.
_NO_WORKER_SECONDS = 60.0
_LOCK_SECONDS = 1
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Worker:
    """A worker process as it was when it was first seen.

    Args:
        address: where it is.
        id: of this process; one started anew at the same address has another.
        threads: how many runs it takes at a time.
    """

    address: str
    id: str
    threads: int


class Remote:
    """A run on a worker.

    Args:
        cluster: the workers.
        worker: the one that does it.
        future: of its task.
        name: of the run.
        log: file that takes what its process printed.
        lease: its lock among all that share the scheduler.
    """

    def __init__(
        self, cluster: Workers, worker: _Worker, future: Future[dict[str, Any]], name: str, log: Path, lease: Any
    ) -> None:
        self._cluster, self.worker, self._future, self.name, self._log = cluster, worker, future, name, log
        self.lease: Any = lease
        self.told: deque[dict[str, Any]] = deque()
        self._words, self._lost, self._taken = "", False, False

    def messages(self) -> Iterator[dict[str, Any]]:
        """What it told since the last time; never waits."""
        while self.told:
            yield self.told.popleft()

    def ended(self) -> bool:
        """Whether its task is over or its worker gone."""
        if self._future.done():
            self._take()
            return True
        if self._cluster.gone(self.worker):
            # A worker that comes back at the same address must not find the task waiting for it.
            self._future.cancel()
            self._words, self._lost = f"its worker {self.worker.address} is gone", True
            return True
        return False

    def _take(self) -> None:
        if self._taken:
            return
        self._taken = True
        try:
            found = self._future.result()
        except (Exception, CancelledError) as error:  # noqa: BLE001 - whatever dask says about the task
            self._words = f"its task on {self.worker.address} failed: {type(error).__name__}: {error}"[:500]
            self._lost = self._cluster.gone(self.worker)
            return
        if "refused" in found:
            self._words, self._lost = f"worker {self.worker.address}: {found['refused']}", True
            self._cluster.doubt(self.worker)
            return
        self._words = found.get("words", "")
        if found["log"]:
            self._log.write_text(found["log"], encoding="utf-8")
        if found["result"]:
            self.told.append({"result": found["result"]})

    def stop(self, number: signal.Signals) -> None:
        """Signal the run's process through its worker."""
        self._cluster.stop(self, number)

    def death(self) -> str:
        """How it ended."""
        self._cluster.forget(self)
        return self._words

    @property
    def lost(self) -> bool:
        """Whether its worker is gone."""
        return self._lost


class Workers:
    """The workers of a scheduler, as a fleet uses them.

    Args:
        scheduler: its address.
        modules: what the runs will import.

    Raises:
        UsageError: dask is not installed, no scheduler answers, it has no worker, or one cannot do runs.
    """

    def __init__(self, scheduler: str, modules: Sequence[str]) -> None:
        self._client = _client(scheduler)
        self.scheduler, self._modules, self.id = scheduler, modules, uuid.uuid4().hex
        self._runs: dict[str, Remote] = {}
        self._workers: dict[str, _Worker] = {}
        self._unfit: dict[str, str] = {}
        self._looked, self._seen = 0.0, time.monotonic()
        self._client.subscribe_topic(dask_worker.TOPIC.format(self.id), self._hear)
        self._look()
        if not self._workers:
            why = "; ".join(f"{address}: {reason}" for address, reason in self._unfit.items()) or "none is there"
            self.close()
            raise UsageError(f"--scheduler {scheduler}: has no worker that can do runs: {why}")

    def places(self, asked: int) -> int:
        """As many as the workers have threads, or fewer where so many were asked for."""
        self._look()
        threads = sum(worker.threads for worker in self._workers.values())
        return min(asked, threads) if asked else threads

    def start(self, task: Mapping[str, Any], log: Path) -> Remote:
        """Give a run to the worker with most room."""
        busy = [run.worker for run in self._runs.values()]
        worker = max(self._workers.values(), key=lambda one: one.threads - busy.count(one))
        files = [path for path in (task["notebook"], task["catalog"]) if path]
        digests = {path: dask_worker.digest(path) for path in files}
        sent = {**task, "digests": digests, "modules": list(self._modules)}
        name = uuid.uuid4().hex
        # The lock of the archive holds among the runs of one machine; this one among all that share the scheduler.
        lease = self._lease(f"runbook-{task['archive']}-{task['lock']}")
        future: Future[dict[str, Any]] = Future()
        if lease is None:
            future.set_result({"result": failure(4, TAKEN), "log": ""})
        else:
            executor = self._client.get_executor(
                workers=[worker.address], allow_other_workers=False, pure=False, retries=0
            )
            future = executor.submit(dask_worker.run, sent, name, self.id, worker.id, key=f"runbook-{name}")
        self._runs[name] = run = Remote(self, worker, future, name, log, lease)
        return run

    def _lease(self, name: str) -> Any:
        """The lock of that name; None when somebody else holds it. It falls half a minute after this process died."""
        lease = _distributed().Semaphore(1, name=name, scheduler_rpc=self._client.scheduler, loop=self._client.loop)
        return lease if lease.acquire(timeout=_LOCK_SECONDS) else None

    def over(self) -> str:
        """Why nothing more can be started."""
        if self._client.status == "closed":
            return f"the scheduler {self.scheduler} is gone"
        if not self._workers and time.monotonic() - self._seen > _NO_WORKER_SECONDS:
            return f"the scheduler {self.scheduler} has had no worker for {_NO_WORKER_SECONDS:.0f} s"
        return ""

    def gone(self, worker: _Worker) -> bool:
        """Whether that worker process is no longer there."""
        self._look()
        return worker not in self._workers.values()

    def stop(self, run: Remote, number: signal.Signals) -> None:
        """Signal a run's process."""

        def send() -> None:
            with suppress(Exception):  # a worker that cannot be reached is noticed by its absence
                self._client.run(dask_worker.stop, run.name, int(number), workers=[run.worker.address])

        # A worker that hangs must not keep the others from being told.
        threading.Thread(target=send, daemon=True).start()

    def forget(self, run: Remote) -> None:
        """A run that is over needs no place and no lock any more."""
        self._runs.pop(run.name, None)
        lease, run.lease = run.lease, None
        if lease is not None:
            with suppress(OSError):
                lease.release()

    def doubt(self, worker: _Worker) -> None:
        """Look at a worker anew: its address has another process now."""
        if self._workers.get(worker.address) == worker:
            del self._workers[worker.address]

    def close(self) -> None:
        """Leave the scheduler."""
        self._client.close(timeout=_CONNECT_SECONDS)

    def _hear(self, event: tuple[float, Mapping[str, Any]]) -> None:
        """Called in dask's own thread."""
        message = dict(event[1])
        run = self._runs.get(message.pop("run"))
        if run is not None:
            run.told.append(message)

    def _look(self) -> None:
        """Who is there now, asked not more often than ``_LOOK_SECONDS``."""
        if time.monotonic() - self._looked < _LOOK_SECONDS:
            return
        self._looked = time.monotonic()
        if self._client.status == "closed":
            self._workers = {}
            return
        # A client that is just closing knows of none.
        there = set(self._client.scheduler_info().get("workers", ()))
        self._workers = {address: one for address, one in self._workers.items() if address in there}
        self._unfit = {address: why for address, why in self._unfit.items() if address in there}
        for address in sorted(there - self._workers.keys() - self._unfit.keys()):
            self._meet(address)
        if self._workers:
            self._seen = time.monotonic()

    def _meet(self, address: str) -> None:
        """Know a new worker; one that cannot do runs is left out."""
        try:
            told = self._client.run(dask_worker.describe, workers=[address])[address]
        except (OSError, KeyError):
            return  # gone again
        except Exception as error:  # noqa: BLE001 - what the worker says against it
            self._unfit[address] = f"cannot do runs: {type(error).__name__}: {error}"
        else:
            if told["library"] == dask_worker.library():
                self._workers[address] = _Worker(address, told["id"], told["threads"])
                return
            self._unfit[address] = f"has runbook-lib {told['library']}, not {dask_worker.library()}"
        _LOG.warning("worker %s %s", address, self._unfit[address])


def _distributed() -> Any:
    """dask's package, which nothing else here imports."""
    try:
        return importlib.import_module("distributed")
    except ImportError as error:
        raise UsageError(f"--engine dask needs the extra dask: pip install 'runbook-lib[dask]': {error}") from error


def _client(scheduler: str) -> Any:
    client = _distributed().Client
    try:
        return client(scheduler, timeout=_CONNECT_SECONDS, set_as_default=False, name="runbook-fleet")
    except (OSError, ValueError, TimeoutError) as error:
        raise UsageError(f"--scheduler {scheduler}: no scheduler of dask answers there: {error}") from error
