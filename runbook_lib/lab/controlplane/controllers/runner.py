"""Run controllers inside the server's event loop.

A controller names the objects that a change concerns; each of them is reconciled once, soon, however many changes
there were. Everything runs in one thread, so a reconciliation sees a state that nobody changes under it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import Protocol

from runbook_lib.lab.controlplane.resources import Resources
from runbook_lib.lab.controlplane.status import ApiError
from runbook_lib.lab.controlplane.store import Change

Key = tuple[str, str]
"""Namespace and name."""
RETRY_SECONDS = 0.2
logger = logging.getLogger(__name__)


class Controller(Protocol):
    """What the runner needs to know of a controller."""

    name: str

    def concerned(self, change: Change) -> Iterable[Key]:
        """The objects to reconcile after a change."""
        ...

    def reconcile(self, key: Key) -> float | None:
        """Bring one object toward its desired state; returns seconds until it wants to be called again."""
        ...


class Runner:
    """Feeds changes to controllers.

    Args:
        resources: the objects.
        controllers: who reconciles.
    """

    def __init__(self, resources: Resources, controllers: Iterable[Controller]) -> None:
        self._resources, self._controllers = resources, list(controllers)
        self._queued: dict[tuple[Controller, Key], None] = {}
        self._timers: dict[tuple[Controller, Key], asyncio.TimerHandle] = {}
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin; needs a running event loop."""
        self._resources.store.subscribe(self._take)
        for change in self._resources.store.since(0):
            self._take(change)
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """End; nothing is reconciled after this returns."""
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for timer in self._timers.values():
            timer.cancel()

    def _take(self, change: Change) -> None:
        for controller in self._controllers:
            for key in controller.concerned(change):
                self._enqueue(controller, key)

    def _enqueue(self, controller: Controller, key: Key) -> None:
        timer = self._timers.pop((controller, key), None)
        if timer:
            timer.cancel()
        self._queued[controller, key] = None
        self._wake.set()

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            while self._queued:
                controller, key = next(iter(self._queued))
                del self._queued[controller, key]
                self._reconcile(controller, key)
                # Requests are answered between two reconciliations.
                await asyncio.sleep(0)
            self._wake.clear()

    def _reconcile(self, controller: Controller, key: Key) -> None:
        try:
            again = controller.reconcile(key)
        except ApiError as error:
            # A conflict or a quota; the next try sees the newer state.
            logger.info("%s %s/%s: %s", controller.name, *key, error.message)
            again = RETRY_SECONDS
        except Exception:
            logger.exception("%s failed for %s/%s", controller.name, *key)
            again = RETRY_SECONDS * 10
        if again is not None and (controller, key) not in self._queued:
            loop = asyncio.get_running_loop()
            self._timers[controller, key] = loop.call_later(max(again, 0.01), self._enqueue, controller, key)
