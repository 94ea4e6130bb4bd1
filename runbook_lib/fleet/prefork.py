"""A process beside a worker that has imported everything and forks the run of each target from itself.

A dask worker has many threads and cannot fork a run safely. This process has one; it gets each task over a socket with
the descriptor for the messages, tells how the run ended, and is gone when its worker is, as are its runs then.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from runbook_lib.fleet import worker
from runbook_lib.fleet.start import Process, spawned
from runbook_lib.headless import forking

_MOST_BYTES = 2**20
_POLL_SECONDS = 0.05
# Importing everything on a busy machine.
_START_SECONDS = 120.0


class Far:
    """A run that another process forked, with the part of ``subprocess.Popen`` that is used of one.

    Args:
        pid: its process id.
        parent: the process that forked it and tells how it ended.
    """

    def __init__(self, pid: int, parent: Prefork) -> None:
        self.pid, self._parent = pid, parent

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while it lives."""
        return self._parent.ended(self.pid)


class Prefork:
    """The forking process, from the worker's side; one for each worker process.

    Args:
        modules: what the runs will import beyond what every run does.
    """

    def __init__(self, modules: Sequence[str]) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__, str(theirs.fileno()), *modules],
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
        self._socket, self._lock = ours, threading.Lock()
        self._socket.settimeout(_START_SECONDS)
        self._codes: dict[int, int] = {}

    def start(self, task: Mapping[str, Any], log: Path) -> Process:
        """Let it fork the run of one target; where it cannot, a new Python does the run.

        Raises:
            OSError: it was asked and gave no answer, so that the run may have begun; it is not begun a second time.
        """
        read, write = os.pipe()
        try:
            pid = self._begun(json.dumps({"task": dict(task), "log": str(log)}).encode(), write)
        except OSError:
            os.close(read)
            raise
        finally:
            os.close(write)
        if pid:
            return Process(Far(pid, self), read)
        os.close(read)
        return spawned(task, log)

    def _begun(self, asked: bytes, descriptor: int) -> int:
        """The process id of the run; 0 when it is known that none was begun."""
        with self._lock:
            try:
                socket.send_fds(self._socket, [asked], [descriptor])
            except OSError:
                return 0
            return self._answer()

    def ended(self, pid: int) -> int | None:
        """How a run ended; None while it lives."""
        with self._lock:
            self._socket.settimeout(0)
            with suppress(OSError):
                while self._take() is not None:
                    pass
            self._socket.settimeout(_START_SECONDS)
            # Its runs end when it does, but how is lost.
            return self._codes.get(pid, None if self._process.poll() is None else 1)

    def _answer(self) -> int:
        while True:
            told = self._take()
            if told is None:
                raise ConnectionError("the process that forks runs is gone")
            if "begun" in told:
                return int(told["begun"])

    def _take(self) -> dict[str, int] | None:
        content = self._socket.recv(_MOST_BYTES)
        if not content:
            return None
        told: dict[str, int] = json.loads(content)
        if "ended" in told:
            self._codes[told["ended"]] = told["code"]
        return told


def serve(connection: socket.socket, modules: Sequence[str]) -> None:
    """Fork what is asked for until the other side is gone."""
    able = forking.AVAILABLE and forking.prepare(modules)
    children: list[forking.Forked] = []
    connection.settimeout(_POLL_SECONDS)
    while True:
        with suppress(TimeoutError):
            content, descriptors, _, _ = socket.recv_fds(connection, _MOST_BYTES, 1)
            if not content:
                return
            child = _fork(json.loads(content), descriptors[0]) if able else None
            os.close(descriptors[0])
            connection.send(json.dumps({"begun": child.pid if child else 0}).encode())
            children += [child] if child else []
        for child in [one for one in children if one.poll() is not None]:
            children.remove(child)
            connection.send(json.dumps({"ended": child.pid, "code": child.returncode}).encode())


def _fork(asked: Mapping[str, Any], descriptor: int) -> forking.Forked:
    return forking.fork(
        lambda: worker.to_pipe(asked["task"], descriptor),
        environment=dict(os.environ),
        cwd=None,
        log=Path(asked["log"]),
        keep=(descriptor,),
    )


if __name__ == "__main__":
    with suppress(BrokenPipeError, ConnectionResetError), socket.socket(fileno=int(sys.argv[1])) as given:
        serve(given, sys.argv[2:])
