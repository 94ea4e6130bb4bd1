"""How the run of one target is started and heard; on this machine in a process forked from this one or started anew."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from runbook_lib.fleet import worker
from runbook_lib.headless import forking


class Child(Protocol):
    """The run of one target, under way somewhere."""

    def messages(self) -> Iterator[dict[str, Any]]:
        """What it told since the last time; never waits."""
        ...

    def ended(self) -> bool:
        """Whether it is over, so that nothing more will be told."""
        ...

    def stop(self, number: signal.Signals) -> None:
        """Ask it to end; it still seals its record."""
        ...

    def death(self) -> str:
        """How it ended, for one that told no result."""
        ...

    @property
    def lost(self) -> bool:
        """Whether the place where it ran is gone, rather than the run itself."""
        ...


class Start(Protocol):
    """Starts the run of one target."""

    def __call__(self, task: Mapping[str, Any], log: Path) -> Child:
        """Start it; ``log`` takes what it prints."""
        ...


class Engine(Protocol):
    """Where runs go on: on this machine, or on workers elsewhere."""

    def places(self, asked: int) -> int:
        """How many runs there can be at a time; ``asked`` is the wish, 0 for none."""
        ...

    def start(self, task: Mapping[str, Any], log: Path) -> Child:
        """Start the run of one target; ``log`` takes what it prints."""
        ...

    def over(self) -> str:
        """Why nothing more can be started; empty while something can."""
        ...

    def close(self) -> None:
        """Give back what it holds; the runs are over."""
        ...


class Local:
    """Processes of this machine.

    Args:
        start: how one is made.
    """

    def __init__(self, start: Start) -> None:
        self.start = start

    def places(self, asked: int) -> int:
        """As many as asked for; one a processor when nothing was."""
        return asked or os.cpu_count() or 2

    def over(self) -> str:
        """Something can always be started here."""
        return ""

    def close(self) -> None:
        """There is nothing to give back."""


class Pollable(Protocol):
    """A process, as ``subprocess.Popen`` is one."""

    pid: int

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while it lives."""
        ...


class Process:
    """A run in a process of this machine.

    Args:
        process: the process, in a session of its own; what is used of it is ``pid`` and ``poll``.
        descriptor: its messages, one JSON object a line.
    """

    def __init__(self, process: Pollable, descriptor: int) -> None:
        self._process, self._descriptor, self._rest = process, descriptor, b""
        os.set_blocking(descriptor, False)

    def messages(self) -> Iterator[dict[str, Any]]:
        """What it told since the last time; never waits."""
        with suppress(BlockingIOError):
            while self._descriptor >= 0 and (content := os.read(self._descriptor, 2**16)):
                *lines, self._rest = (self._rest + content).split(b"\n")
                yield from (json.loads(line) for line in lines)

    def ended(self) -> bool:
        """Whether the process is gone."""
        return self._process.poll() is not None

    def stop(self, number: signal.Signals) -> None:
        """Signal the runner alone: it ends its kernel and seals its record."""
        if self._process.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self._process.pid, number)

    def death(self) -> str:
        """How the process ended."""
        code = self._process.poll()
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        if code is not None and code < 0:
            return f"its process was ended by {signal.Signals(-code).name}"
        return f"its process ended with exit code {code} and told no result"

    @property
    def lost(self) -> bool:
        """Never: this machine is still there."""
        return False


def forked(task: Mapping[str, Any], log: Path) -> Process:
    """A child of this process, which ``forking.prepare`` made ready."""
    read, write = os.pipe()
    try:
        process = forking.fork(
            lambda: worker.to_pipe(task, write), environment=dict(os.environ), cwd=None, log=log, keep=(write,)
        )
    finally:
        os.close(write)
    return Process(process, read)


def spawned(task: Mapping[str, Any], log: Path) -> Process:
    """A new Python; for systems without fork."""
    with log.open("ab") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", worker.__name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=file,
            start_new_session=True,
        )
    assert process.stdin is not None
    assert process.stdout is not None
    with suppress(BrokenPipeError), process.stdin:
        process.stdin.write(json.dumps(task).encode())
    descriptor = os.dup(process.stdout.fileno())
    process.stdout.close()
    return Process(process, descriptor)
