"""Lists and searches over 100,000 records from the index, and what making the index anew costs as an archive grows.

The records are folders with one real journal each, shared between them; list and search must find every one of them.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.table import Row
from runbook_lib.record.archive import Archive
from runbook_lib.record.folder import JOURNAL, RecordFolder, new_run_id
from runbook_lib.record.genesis import genesis

RECORDS = 100_000
GOAL_SECONDS = 0.1
_PART = 10


def main() -> list[Row]:
    """Rows of the archive."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as place:
        root = Path(place)
        journal = _journal(root)
        small, large = _filled(root / "small", journal, RECORDS // _PART), _filled(root / "large", journal, RECORDS)
        few, many = _rebuilt(small, RECORDS // _PART), _rebuilt(large, RECORDS)
        time.sleep(2.1)  # until the days count as settled
        large.entries(limit=1)
        listed = _least(lambda: len(large.entries(limit=20)), 20)
        found = _least(lambda: len(large.search("tiny latency")), 50)
        rare = _least(lambda: len(large.search("zebra")), 0)
    limit = f"{GOAL_SECONDS:g} (limit)"
    return [
        Row("list of 100,000 records: seconds", f"{listed:.3f}", limit, GOAL_SECONDS / listed, 1),
        Row("search for words of all of them: seconds", f"{found:.3f}", limit, GOAL_SECONDS / found, 1),
        Row("search for a word of none: seconds", f"{rare:.3f}", limit, GOAL_SECONDS / rare, 1),
        Row("index made anew, 10x the records: seconds", f"{many:.1f}", f"{few:.1f} (a tenth, times 11)",
            11 * few / many, 1, "the index holds every record"),
    ]  # fmt: skip


def _journal(root: Path) -> Path:
    folder = RecordFolder.create(
        root / "one", new_run_id("tiny"), genesis=genesis(runbook="tiny", archive=root / "one")
    )
    folder.journal.append("note", {"text": "latency above the objective"})
    return folder.seal("succeeded", "healthy") / JOURNAL


def _filled(root: Path, journal: Path, number: int) -> Archive:
    for each in range(number):
        folder = root / f"2026/{1 + each % 12:02d}/{1 + each // 12 % 28:02d}/run-{each:06d}"
        folder.mkdir(parents=True)
        os.link(journal, folder / JOURNAL)
    return Archive(root)


def _rebuilt(archive: Archive, number: int) -> float:
    began = time.process_time()
    if archive.rebuild() != number:
        raise SystemExit("the index does not hold every record")
    return time.process_time() - began


def _least(what: Callable[[], int], expected: int) -> float:
    best = float("inf")
    for _ in range(5):
        began = time.monotonic()
        if what() != expected:
            raise SystemExit(f"not {expected} records were found")
        best = min(best, time.monotonic() - began)
    return best
