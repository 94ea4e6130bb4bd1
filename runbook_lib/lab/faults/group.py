"""Threads that together keep one fault going."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod

CLOSE_SECONDS = 5.0


class Group(ABC):
    """A number of threads.

    Args:
        count: how many.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._threads = [threading.Thread(target=self.run, args=(number,), daemon=True) for number in range(count)]

    @abstractmethod
    def run(self, number: int) -> None:
        """What one thread does; ends when the fault is healed."""

    def start(self) -> None:
        """Start all threads."""
        for thread in self._threads:
            thread.start()

    @property
    def alive(self) -> bool:
        """Whether any thread still works."""
        return any(thread.is_alive() for thread in self._threads)

    def close(self) -> None:
        """Wait for the threads; they are daemons, so one that does not end cannot keep the process."""
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(CLOSE_SECONDS)
