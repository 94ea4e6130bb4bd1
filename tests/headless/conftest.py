"""Tiny notebooks, real kernels, and a runner in a process of its own that can be hurt."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from runbook_lib.record.record import Record

ROOT = Path(__file__).parents[2]
PARAMETERS = 'release: str = "1.10"  # a version\ncount: int = 3  # how many\n'


def notebook(path: Path, *cells: str, parameters: str = PARAMETERS, kernel: str = "python3") -> Path:
    """A notebook with a parameters cell and the given code cells, named ``one``, ``two`` ..."""
    names = ("one", "two", "three", "four", "five", "six")

    def cell(name: str, source: str, tags: Sequence[str] = ()) -> dict[str, Any]:
        return {
            "cell_type": "code",
            "id": name,
            "metadata": {"tags": list(tags)},
            "execution_count": None,
            "outputs": [],
            "source": source,
        }

    body = {
        "nbformat": 4,
        "nbformat_minor": 5,
        "metadata": {"kernelspec": {"name": kernel, "display_name": kernel, "language": "python"}},
        "cells": [
            cell("parameters", parameters, ["parameters"]),
            *(cell(name, source) for name, source in zip(names, cells, strict=False)),
        ],
    }
    path.write_text(json.dumps(body))
    return path


def record_of(archive: Path) -> Record:
    """The only record of an archive, sealed or not."""
    (journal,) = archive.glob("*/*/*/*/events.jsonl")
    return Record.read(journal.parent)


def statuses(record: Record) -> dict[str, str]:
    """Cell to how it ended, without the cells of parameters."""
    return {one.name: one.status for one in record.cells if "parameters" not in one.name}


def gone(pid: int) -> bool:
    """Whether no process of this number lives."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] == b"Z"
    except OSError:
        return True


def wait_for(what: Callable[[], Any], seconds: float = 30) -> Any:
    """The first true answer of ``what``; fails when none comes in time."""
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        found = what()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError(f"nothing came within {seconds} s")


@dataclass
class Runner:
    """A runner in a process of its own.

    Args:
        process: the process.
        archive: where its record goes.
        scratch: a folder that the cells of its notebook may write to.
    """

    process: subprocess.Popen[bytes]
    archive: Path
    scratch: Path

    def reached(self, name: str) -> int:
        """Wait until a cell wrote the file ``name`` and give the process id in it."""
        return int(wait_for(lambda: (self.scratch / name).exists() and (self.scratch / name).read_text()))

    def end(self, number: signal.Signals) -> float:
        """Signal the runner, wait for its end and say how long it took, seconds."""
        began = time.monotonic()
        self.process.send_signal(number)
        self.process.wait(timeout=60)
        return time.monotonic() - began


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Runner]]:
    """Starts a runner on a notebook of the given cells."""
    started: list[Runner] = []

    def begin(*cells: str, arguments: str = "", prefix: Sequence[str] = ()) -> Runner:
        path = notebook(tmp_path / "tiny.ipynb", *cells)
        code = (
            "import sys; from pathlib import Path; from runbook_lib.headless.runner import execute; "
            "from runbook_lib.headless.execution import Limits; "
            f"sys.exit(execute(Path({str(path)!r}), archive={str(tmp_path / 'archive')!r}, {arguments}).exit_code)"
        )
        process = subprocess.Popen(
            [*prefix, sys.executable, "-c", code],
            cwd=tmp_path,
            env={**os.environ, "SCRATCH": str(tmp_path), "PYTHONPATH": str(ROOT)},
            stderr=subprocess.PIPE,
        )
        started.append(Runner(process, tmp_path / "archive", tmp_path))
        return started[-1]

    yield begin
    for runner in started:
        with suppress(ProcessLookupError):
            runner.process.kill()
        runner.process.communicate()
