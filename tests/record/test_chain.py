"""The archive's chain: many runs that end at once are still one line."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest

from runbook_lib.errors import RecordError
from runbook_lib.record.chain import CHAIN, archive_head, locked, read_chain
from runbook_lib.record.event import NO_EVENT
from runbook_lib.record.folder import RecordFolder, new_run_id
from runbook_lib.record.verify import verify_archive


def _run(archive: str, number: int) -> None:
    for _ in range(number):
        folder = RecordFolder.create(archive, new_run_id("parallel"), genesis={"runbook": "parallel"})
        folder.journal.append("note", {"text": "x" * 200})
        folder.seal("succeeded", "healthy")


def test_runs_that_end_at_once(archive: Path) -> None:
    """Twelve runs sealed by four processes at the same time are twelve good records on one chain."""
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_run, args=(str(archive), 3)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=60)
    found = verify_archive(archive)
    assert (12, [], list(range(12))) == (
        len(found),
        [str(problem) for one in found for problem in one.problems],
        [link.number for link in read_chain(archive)],
    )


def test_no_chain_is_no_head(archive: Path) -> None:
    """An archive without records has the origin as its head."""
    assert {"number": -1, "hash": NO_EVENT} == archive_head(archive)


def test_a_torn_last_line_is_cut_off(archive: Path) -> None:
    """A line that a dead writer left torn is not part of the chain and is removed by the next one."""
    _run(str(archive), 1)
    chain = archive / CHAIN
    whole = chain.read_bytes()
    chain.write_bytes(whole + b'{"at":"2026')
    assert 1 == len(read_chain(archive))
    _run(str(archive), 1)
    assert (True, 2) == (chain.read_bytes().startswith(whole), len(read_chain(archive)))


def test_a_foreign_line_is_an_error_with_its_place(archive: Path) -> None:
    """A line of the chain that is none is named with file and number, and nothing is appended."""
    archive.mkdir()
    (archive / CHAIN).write_bytes(b"[]\n")
    with pytest.raises(RecordError, match=r"chain\.jsonl:1"), locked(archive):
        pass
