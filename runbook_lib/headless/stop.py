"""Why a run must end now: a signal, or the death of the process that started it."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Mapping
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Any

from runbook_lib.record.status import EXIT_CODES, Status

#: Signals that end a run, and the exit code that a shell gives for each.
SIGNALS: Mapping[signal.Signals, int] = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 143}


class StopRequest:
    """Notes the first reason to end; a context in which the signals ask for an orderly end instead of killing.

    Args:
        watch_parent: end when the process that started this one is gone. Off where nobody is meant to stay: under
            ``nohup``, or when this is the first process of its container.
    """

    def __init__(self, *, watch_parent: bool = True) -> None:
        self.reason = ""
        self.exit_code = EXIT_CODES[Status.INTERRUPTED]
        self.times = 0
        self._previous: dict[signal.Signals, Any] = {}
        self._parent = os.getppid()
        self._watch = watch_parent and self._parent > 1 and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN

    def __enter__(self) -> StopRequest:
        # Python allows handlers in the main thread only; elsewhere the owner of that thread decides.
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                if signal.getsignal(number) is not signal.SIG_IGN or number is not signal.SIGHUP:
                    self._previous[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            with suppress(TypeError, ValueError):
                signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.times += 1
        if not self.reason:
            name = signal.Signals(number)
            self.exit_code = SIGNALS[name]
            self.reason = "interrupted from the keyboard" if name is signal.SIGINT else f"ended by {name.name}"

    def asked(self) -> bool:
        """Whether the run must end."""
        if not self.reason and self._watch and os.getppid() != self._parent:
            self.exit_code = SIGNALS[signal.SIGTERM]
            self.reason = "the process that started the run is gone"
        return bool(self.reason)
