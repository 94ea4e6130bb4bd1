"""A real dask scheduler and real workers, each a process of its own on loopback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from .test_fleet import wait_for


class Cluster:
    """A scheduler and its workers, without nannies: one process each, which a test may kill.

    Args:
        folder: for logs and what the processes write.
        environment: of the workers, beyond this process's own.
    """

    def __init__(self, folder: Path, environment: dict[str, str] | None = None) -> None:
        self.folder, self.workers = folder, list[subprocess.Popen[bytes]]()
        self._environment = {**os.environ, **(environment or {})}
        self._environment.pop("RUNBOOK_CATALOG", None)
        found = folder / "scheduler.json"
        words = ["--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--no-show", "--scheduler-file", str(found)]
        self.scheduler = self._start("scheduler", *words)
        wait_for(lambda: found.is_file() and found.read_text().endswith("}"))
        self.address = str(json.loads(found.read_text())["address"])

    def work(self, number: int) -> None:
        """Start so many workers of one thread each."""
        for _ in range(number):
            words = ["--no-nanny", "--nthreads", "1", "--no-dashboard", "--host", "127.0.0.1"]
            words += ["--local-directory", str(self.folder / f"scratch-{len(self.workers)}")]
            self.workers.append(self._start("worker", self.address, *words))
        wait_for(lambda: self._log("worker").count("Registered to") == len(self.workers))

    def close(self) -> None:
        """Kill what is left."""
        for process in (*self.workers, self.scheduler):
            process.kill()
            process.wait()

    def _log(self, kind: str) -> str:
        return "".join(path.read_text(errors="replace") for path in self.folder.glob(f"{kind}-*.log"))

    def _start(self, kind: str, *words: str) -> subprocess.Popen[bytes]:
        with (self.folder / f"{kind}-{len(self.workers)}.log").open("wb") as log:
            command = [sys.executable, "-m", f"distributed.cli.dask_{kind}", *words]
            return subprocess.Popen(command, cwd=self.folder, env=self._environment, stdout=log, stderr=log)


def words(cluster: Cluster, *more: str) -> tuple[str, ...]:
    """The options for a fleet on that cluster."""
    return ("--engine", "dask", "--scheduler", cluster.address, *more)
