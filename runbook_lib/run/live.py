"""Watching a number while other cells run: one picture in one output, redrawn until the run ends."""

from __future__ import annotations

import sys
import threading
import time
from contextlib import suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from runbook_lib.errors import RunbookError
from runbook_lib.model import Evidence, Gap, Objective
from runbook_lib.model.times import utc_now

if TYPE_CHECKING:
    from collections.abc import Mapping

    from IPython.display import DisplayHandle

#: Seconds between two pictures, and between two questions: metrics stores take a sample every few seconds at most.
DRAW_SECONDS = 0.25
READ_SECONDS = 1.0
#: Whether what this thread reads is only for a picture; nothing is concluded from it.
watching: ContextVar[bool] = ContextVar("watching", default=False)
#: Longest time a picture is kept up to date, seconds.
MOST_SECONDS = 1800.0


class Reader:
    """Asks a question again and again in the background; each answer goes into the record like any other.

    Args:
        first: the answer that is known already.
    """

    def __init__(self, first: Evidence | Gap) -> None:
        self.latest = first
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._read, name="watch", daemon=True)

    def start(self) -> None:
        """Begin to ask."""
        self._thread.start()

    def stop(self) -> None:
        """Ask no more; an answer that is on its way is waited for, so that none comes after the verdict."""
        self._stop.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(15)

    def _read(self) -> None:
        watching.set(True)
        while not self._stop.wait(READ_SECONDS):
            try:
                self.latest = self.latest.again()
            except (RunbookError, RuntimeError):
                # The record is closed or the evidence is from a file: there is nothing more to read.
                return


class Watch:
    """A live picture in the output of the cell that began it.

    The last picture is a chart like any other, so that the saved notebook shows it in every viewer.

    Args:
        evidence: the first reading.
        objective: what the number is held against.
        seconds: how long to watch; the end of the run ends it earlier.
        reader: asks again; None when somebody else gives readings with ``feed``.
        small: end with the last small picture: for a number that only goes along with another.
    """

    def __init__(
        self,
        evidence: Evidence | Gap,
        objective: Objective | None,
        seconds: float,
        reader: Reader | None,
        *,
        small: bool = False,
    ) -> None:
        self._latest, self._objective, self._seconds, self._reader = evidence, objective, seconds, reader
        self._stays_small = small
        self._stop = threading.Event()
        self._over = threading.Lock()
        self._ended = False
        self._handle = show(self._small())
        self._thread = threading.Thread(target=self._draw, name="picture", daemon=True)
        if reader is not None:
            reader.start()
        self._thread.start()

    def feed(self, reading: Evidence | Gap) -> None:
        """Take a newer reading."""
        self._latest = reading

    def stop(self) -> None:
        """Draw the last picture; nothing changes after that."""
        self._stop.set()
        if self._thread is not threading.current_thread():
            self._thread.join(15)
        self._end()

    def _draw(self) -> None:
        until = time.monotonic() + self._seconds
        while time.monotonic() < until and not self._stop.wait(DRAW_SECONDS):
            if self._reader is not None:
                self._latest = self._reader.latest
            update(self._handle, self._small())
        self._end()

    def _end(self) -> None:
        with self._over:
            if self._ended:
                return
            self._ended = True
        if self._reader is not None:
            self._reader.stop()
            self._latest = self._reader.latest
        if self._stays_small:
            update(self._handle, self._small())
        else:
            update(self._handle, *whole(self._latest, self._objective))

    def _small(self) -> dict[str, Any]:
        from runbook_lib.charts.live import live_html, live_sentence, live_svg

        sentence = live_sentence(self._latest, self._objective)
        return {
            "text/html": live_html(live_svg(self._latest, utc_now(), self._objective), sentence),
            "text/plain": sentence,
        }


def whole(evidence: Evidence | Gap, objective: Objective | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """Data and metadata of the evidence's chart, for a display."""
    from runbook_lib.charts import timeline

    return timeline(evidence, objective=objective)._repr_mimebundle_()


def show(data: Mapping[str, Any], metadata: Mapping[str, Any] | None = None) -> DisplayHandle | None:
    """Display a bundle and return its handle; None where no notebook or shell runs this process."""
    if "IPython" not in sys.modules:
        return None
    from IPython.core.getipython import get_ipython
    from IPython.display import DisplayHandle

    if get_ipython() is None:
        return None
    handle = DisplayHandle()  # type: ignore[no-untyped-call]
    handle.display(dict(data), raw=True, metadata=dict(metadata or {}))  # type: ignore[no-untyped-call]
    return handle


def update(handle: DisplayHandle | None, data: Mapping[str, Any], metadata: Mapping[str, Any] | None = None) -> None:
    """Replace what a handle shows; a front end that is gone is no error."""
    if handle is not None:
        with suppress(OSError):
            handle.update(dict(data), raw=True, metadata=dict(metadata or {}))  # type: ignore[no-untyped-call]
