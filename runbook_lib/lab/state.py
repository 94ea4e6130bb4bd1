"""What is written down about one lab in its folder: ``lab.json`` and the list of its processes.

``processes.jsonl`` grows by one line as soon as a child exists, so that a killed ``up`` leaves a list to clean up by.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from runbook_lib.errors import LabError
from runbook_lib.lab.process import POLL_SECONDS, ProcessRecord, start_time_ticks

#: Environment variable that every child of a lab carries: the lab's folder.
MARK = "RUNBOOK_LAB_DIRECTORY"
_SERVERS = ("postgres", "valkey-server", "redis-server")


@dataclass
class State:
    """Content of ``lab.json``.

    Args:
        directory: the lab's folder.
        state: ``starting``, ``running`` or ``failed``.
        started: RFC 3339 time of ``up``.
        urls: name -> address, as ``runbook lab status`` prints them; some hold passwords.
        ports: component -> loopback port.
        components: component -> kind (``real`` or ``emulated``), version, and the name of its process.
        values: Helm values of the healthy release.
        rate: healthy request rate, requests per second.
        faults: name of an applied fault -> parameters, time, and what heals it.
        details: everything else that faults need, such as folders and programs.
    """

    directory: Path
    state: str = "starting"
    started: str = ""
    urls: dict[str, str] = field(default_factory=dict)
    ports: dict[str, int] = field(default_factory=dict)
    components: dict[str, dict[str, str]] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)
    rate: float = 0.0
    faults: dict[str, dict[str, Any]] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)

    def save(self) -> None:
        """Replace ``lab.json`` as a whole, with mode 0600."""
        content = {**asdict(self), "directory": str(self.directory)}
        temporary = self.directory / f".lab.json.{os.getpid()}"
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(content, file, indent=2)
        temporary.replace(self.directory / "lab.json")


def load(directory: Path) -> State | None:
    """The recorded state of a lab, or None when there was never one in this folder."""
    path = directory / "lab.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise LabError(f"{path} is not JSON: {error}") from error
    return State(**{**content, "directory": directory})


def running(directory: Path) -> State:
    """The state of a lab that is up.

    Raises:
        LabError: there is no running lab in this folder.
    """
    state = load(directory)
    if state is None or state.state != "running":
        raise LabError(f"no lab is running in {directory}; start it with: runbook lab up")
    return state


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold the lab's lock: one change of one lab at a time.

    Raises:
        LabError: another process holds it for longer than a minute.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(directory / "lock", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + 60
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise LabError(f"another command is changing the lab in {directory}") from None
                time.sleep(POLL_SECONDS)
        yield
    finally:
        os.close(descriptor)


def record(directory: Path, process: ProcessRecord) -> None:
    """Write a child down, at once."""
    descriptor = os.open(directory / "processes.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(json.dumps(process.to_json()) + "\n")


def processes(directory: Path) -> dict[str, ProcessRecord]:
    """The latest recorded process of every name, in the order of their start."""
    with contextlib.suppress(FileNotFoundError):
        lines = (directory / "processes.jsonl").read_text(encoding="utf-8").splitlines()
        found: dict[str, ProcessRecord] = {}
        for line in lines:
            with contextlib.suppress(ValueError):  # the last line of a killed process may be torn
                one = ProcessRecord(**json.loads(line))
                found.pop(one.name, None)
                found[one.name] = one
        return found
    return {}


def resume(pid: int) -> None:
    """Let a stopped process run: a stopped one would not notice that it is asked to end."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)


def stop_all(directory: Path) -> int:
    """Stop everything that belongs to the lab in this folder, newest first, and forget the list.

    Returns:
        How many processes were stopped.
    """
    stopped = 0
    recorded = processes(directory)
    for pid in process_tree(recorded):
        resume(pid)
    for process in reversed(recorded.values()):
        stopped += process.stop()
    left = strays(directory)
    for number, patience_seconds in ((signal.SIGTERM, 3.0), (signal.SIGKILL, 3.0)):
        alive = {pid: ticks for pid, ticks in left.items() if start_time_ticks(pid) == ticks}
        stopped += len(alive) if number == signal.SIGTERM else 0
        for pid in alive:
            resume(pid)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        deadline = time.monotonic() + patience_seconds
        while time.monotonic() < deadline and any(start_time_ticks(pid) == ticks for pid, ticks in alive.items()):
            time.sleep(POLL_SECONDS)
    (directory / "processes.jsonl").unlink(missing_ok=True)
    return stopped


def process_tree(recorded: dict[str, ProcessRecord]) -> list[int]:
    """Pids of the recorded processes that run, with all their descendants."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                text = (entry / "stat").read_text(encoding="utf-8", errors="replace")
            except OSError:
                continue
            parents.setdefault(int(text[text.rindex(")") + 2 :].split()[1]), []).append(int(entry.name))
    found: list[int] = []
    waiting = [process.pid for process in recorded.values() if process.alive]
    while waiting:
        pid = waiting.pop()
        if pid not in found:
            found.append(pid)
            waiting += parents.get(pid, [])
    return found


def strays(directory: Path) -> dict[int, int]:
    """Processes of this lab that no record names: pid -> start time in ticks.

    A child carries the lab's folder in its environment; the database servers rewrite theirs and are known by their
    program and their working folder.
    """
    found = {}
    wanted = f"{MARK}={directory}".encode()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            environment = (entry / "environ").read_bytes().split(b"\0")
            folder, program = (entry / "cwd").readlink(), (entry / "exe").readlink().name
            ours = wanted in environment or (program in _SERVERS and folder.is_relative_to(directory))
            ticks = start_time_ticks(int(entry.name)) if ours else None
            if ticks is not None:
                found[int(entry.name)] = ticks
    return found
