"""Health of one ``api`` process: its dependencies are checked in the background, so that probes cost nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping

INTERVAL_SECONDS = 2.0
# Three missed rounds: a check that hangs must not keep an old "ok" alive.
STALE_SECONDS = 3 * INTERVAL_SECONDS


class Health:
    """Runs named checks in a thread and keeps their last result.

    Args:
        checks: name to a function that returns when all is well and raises otherwise.
    """

    def __init__(self, checks: Mapping[str, Callable[[], None]]) -> None:
        self._checks = dict(checks)
        self._results: dict[str, str] = {}
        self._checked_at = time.monotonic()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="health", daemon=True)
        self.draining = False

    def start(self) -> None:
        """Begin checking."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread after its current round."""
        self._stop.set()

    def report(self) -> tuple[int, dict[str, object]]:
        """HTTP status and body of ``/health``.

        A dependency that is down makes the answer "unhealthy" but keeps status 200: it is down for every replica
        alike, and taking them all out of the Service would turn a partial outage into a full one. 503 is for what
        only this process can tell: it has not finished starting, or it is about to end.
        """
        checks = dict(self._results)
        if checks and time.monotonic() - self._checked_at > STALE_SECONDS:
            checks = dict.fromkeys(checks, f"no result for {STALE_SECONDS:g} s")
        healthy = bool(checks) and all(result == "ok" for result in checks.values())
        serving = bool(checks) and not self.draining
        body: dict[str, object] = {"status": "healthy" if healthy and serving else "unhealthy", "checks": checks}
        if self.draining:
            body["draining"] = True
        return (200 if serving else 503), body

    def _run(self) -> None:
        while not self._stop.is_set():
            results = {name: _result(check) for name, check in self._checks.items()}
            self._results, self._checked_at = results, time.monotonic()
            self._stop.wait(INTERVAL_SECONDS)


def _result(check: Callable[[], None]) -> str:
    try:
        check()
    except Exception as error:  # noqa: BLE001 - whatever a check raises is its result
        return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no detail'}"
    return "ok"
