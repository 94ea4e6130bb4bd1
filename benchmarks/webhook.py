"""From an alert's delivery to its run and to its first finding, on a lab that is broken while it is measured.

The hook runs as its users start it. Each delivery is a new incident, sent when the hook is quiet; what is timed is what
a reader of the archive sees: the first line of the record, and the first finding in it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from benchmarks.diagnosis import Bench
from benchmarks.table import Row, middle
from runbook_lib.hooks.queue import Queue
from runbook_lib.lab import supervisor
from runbook_lib.lab.faults import registry
from runbook_lib.record.folder import JOURNAL, PARTIAL

T = TypeVar("T")
START_SECONDS, FINDING_SECONDS = 1.0, 15.0
#: What users feel at once, and what one statement of the database tells the cause of.
FAULT, CAUSE = "idle_in_transaction", "db.idle_in_transaction"
LISTENING = "listening on "
TABLE = 'environment = "lab"\nservice = "api"\nrunbook = "high_latency"\nrunbooks = ["high_latency"]\n'


def main(rounds: int = 5) -> list[Row]:
    """Rows of the hook: the middle of some deliveries each."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        bench = Bench(folder / "lab", 10)
        try:
            registry.apply(bench.directory, FAULT, {})
            time.sleep(30)
            with _hook(folder, bench.catalogue) as (address, pid):
                found = [_delivery(folder, address, pid, number) for number in range(rounds)]
        finally:
            supervisor.down(bench.directory)
    begun, first, named = (middle(column) for column in zip(*found, strict=True))
    note = f"the middle of {rounds} deliveries, each a run that names the cause"
    return [
        Row("alert delivered to run on the record: s", f"{begun:.2f}", f"{START_SECONDS:g} (limit)",
            START_SECONDS / begun, 1, note),
        Row("alert delivered to first finding: s", f"{first:.1f}", f"{FINDING_SECONDS:g} (limit)",
            FINDING_SECONDS / first, 1),
        Row("alert delivered to the cause: s", f"{named:.1f}", f"{FINDING_SECONDS:g} (limit)",
            FINDING_SECONDS / named, 1),
    ]  # fmt: skip


@contextmanager
def _hook(folder: Path, catalogue: Path) -> Iterator[tuple[str, int]]:
    """Address and process of a hook with a queue and an archive of its own."""
    (folder / "hook.toml").write_text(TABLE, encoding="utf-8")
    argv = [str(Path(sys.executable).with_name("runbook")), "hook", "serve", "--config", str(folder / "hook.toml"),
            "--dir", str(folder / "hook"), "--out", str(folder / "archive"), "--listen", "127.0.0.1:0"]  # fmt: skip
    with (
        (folder / "hook.log").open("wb") as log,
        subprocess.Popen(argv, cwd=catalogue.parent, stdout=subprocess.PIPE, stderr=log, text=True) as process,
    ):
        try:
            assert process.stdout is not None
            told = process.stdout.readline().strip()
            if not told.startswith(LISTENING):
                raise SystemExit(f"the hook did not start: {(folder / 'hook.log').read_text()}")
            yield told.removeprefix(LISTENING), process.pid
        finally:
            process.terminate()
            process.wait(timeout=60)


def _delivery(folder: Path, address: str, pid: int, number: int) -> tuple[float, float, float]:
    """Seconds from one delivery to the record's beginning, its first finding, and the finding that names the cause."""
    archive, queue = folder / "archive", Queue(folder / "hook" / "queue.sqlite")
    known, body = _runs(archive), _alert(number)
    _until("quiet hook", lambda: _waits(pid))
    sent = time.monotonic()
    with urllib.request.urlopen(urllib.request.Request(f"{address}/alertmanager", body), timeout=10) as answer:
        if json.load(answer)["queued"] != ["run"]:
            raise SystemExit("the delivery started no run")
    (run,) = _until("run", lambda: _runs(archive) - known)
    begun = time.monotonic() - sent
    _until("finding", lambda: _findings(archive, run))
    first = time.monotonic() - sent
    _until(CAUSE, lambda: CAUSE in _findings(archive, run))
    named = time.monotonic() - sent
    _until("end of the run", lambda: not queue.jobs("queued", "running"))
    return begun, first, named


def _waits(pid: int) -> bool:
    """Whether the process that a hook keeps for the next alert is ready: it has stopped computing for two seconds."""
    before = _spent(pid)
    time.sleep(2)
    return before != 0 and before == _spent(pid)


def _spent(pid: int) -> int:
    """Processor time of a process's children, clock ticks."""
    children = {path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children")}
    stats = [Path(f"/proc/{child}/stat") for words in children for child in words.split()]
    fields = [path.read_text().rpartition(")")[2].split() for path in stats if path.exists()]
    return sum(int(one[11]) + int(one[12]) for one in fields)


def _alert(number: int) -> bytes:
    alert = {
        "status": "firing",
        "labels": {"alertname": "HighLatency", "service": "api"},
        "annotations": {},
        "startsAt": f"2026-01-01T00:00:{number:02d}Z",
    }
    return json.dumps({"version": "4", "groupKey": f"{number}", "alerts": [alert]}).encode()


def _runs(archive: Path) -> set[str]:
    """Ids of the runs that have a record with a first line."""
    return {journal.parent.name.removesuffix(PARTIAL) for journal in archive.glob(f"*/*/*/*/{JOURNAL}")}


def _findings(archive: Path, run: str) -> set[str]:
    """Causes that the findings of a run have until now, without those that were ruled out."""
    (journal,) = _until("journal", lambda: list(archive.glob(f"*/*/*/{run}*/{JOURNAL}")))
    lines = journal.read_text(encoding="utf-8").splitlines()
    events: list[dict[str, Any]] = [json.loads(line) for line in lines if '"finding"' in line and line.endswith("}")]
    found = [one["data"] for one in events if one["kind"] == "finding"]
    return {str(one["cause"]) for one in found if one["role"] != "ruled_out"}


def _until(what: str, look: Callable[[], T | None], seconds: float = 120) -> T:
    """The first true answer; looked for a hundred times a second."""
    limit = time.monotonic() + seconds
    while not (found := look()):
        if time.monotonic() > limit:
            raise SystemExit(f"a delivery led to no {what} within {seconds:g} s")
        time.sleep(0.01)
    return found
