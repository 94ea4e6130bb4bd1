"""Deadlines, and the retries that a read may take within one."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from runbook_lib.errors import SourceUnreachableError

T = TypeVar("T")
#: Pauses before the second and the third attempt, seconds; the last attempt's error stands.
PAUSES_SECONDS = (0.1, 0.4)


class Deadline:
    """A moment on the monotonic clock after which nobody waits any more.

    Args:
        seconds: time from now, seconds.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    @property
    def remaining(self) -> float:
        """Seconds left, never below zero."""
        return max(0.0, self._end - time.monotonic())

    @property
    def expired(self) -> bool:
        """Whether no time is left."""
        return self.remaining <= 0


class BusyError(SourceUnreachableError):
    """The system asks to come back later.

    Args:
        reason: one sentence for a person.
        after_seconds: how long it wants to be left alone; 0 when it does not say.
    """

    def __init__(self, reason: str, *, source: str = "", after_seconds: float = 0.0) -> None:
        super().__init__(reason, source=source)
        self.after_seconds = after_seconds


def with_retries(attempt: Callable[[], T], deadline: Deadline) -> T:
    """Run a read, and run it at most twice more when the system could not be reached.

    Only SourceUnreachableError is worth another attempt: refused, reset, no address, 429, 502, 503, 504. A timeout
    has used up the deadline, and every other error would come again.

    Raises:
        SourceError: of the last attempt.
    """
    for pause in PAUSES_SECONDS:
        try:
            return attempt()
        except SourceUnreachableError as error:
            wait = max(pause, error.after_seconds) if isinstance(error, BusyError) else pause
            if wait >= deadline.remaining:
                raise
            time.sleep(wait)
    return attempt()
