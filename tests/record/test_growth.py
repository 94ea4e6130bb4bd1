"""What only shows in large numbers: changes, looks at a record that is being written, output, a disk that is full."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from runbook_lib.record._disk import DISK
from runbook_lib.record.chain import CHAIN
from runbook_lib.record.folder import JOURNAL, PARTIAL, RecordFolder, new_run_id
from runbook_lib.record.genesis import genesis
from runbook_lib.record.record import Record
from runbook_lib.record.recover import recover
from runbook_lib.record.status import Status
from runbook_lib.record.verify import verify, verify_archive

from .mutations import mutate

CHANGES, LOOKS = 10_000, 100_000


@pytest.fixture
def quick() -> Iterator[Path]:
    """A folder in memory where the system has one: these tests are about content, not about the disk."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as place:
        yield Path(place)


def begun(archive: Path, name: str = "tiny") -> RecordFolder:
    """A record with a few events."""
    folder = RecordFolder.create(archive, new_run_id(name), genesis=genesis(runbook=name, archive=archive))
    for number in range(6):
        folder.journal.append("cell.output", {"type": "stream", "text": f"line {number}\n"}, cell="one")
    return folder


@pytest.mark.timeout(900)
def test_ten_thousand_changes_are_all_seen(quick: Path) -> None:
    """Changed bits, cuts, other orders, insertions, missing files, lines of the chain, whole runs: none is missed."""
    records = [begun(quick / "a").seal("succeeded", "healthy") for _ in range(3)]
    files = [path for path in sorted(records[1].rglob("*")) if path.is_file()]
    rng, missed, done = random.Random(20261125), list[str](), 0
    while done < CHANGES:
        # One in fifty is of the chain or of a whole run, which the archive as a whole has to show.
        whole = done % 50 == 0
        path = quick / "a" / CHAIN if whole else rng.choice(files)
        before = path.read_bytes()
        after = None if whole and done % 100 == 0 else mutate(before, rng)
        if after == before or (whole and after is not None and after.startswith(before)):
            continue
        if whole and after is None:
            moved = records[rng.randrange(3)]
            moved.rename(quick / "away")
            missed += ["a run"] * all(one.good for one in verify_archive(quick / "a"))
            (quick / "away").rename(moved)
        else:
            path.unlink() if after is None else path.write_bytes(after)
            good = all(one.good for one in verify_archive(quick / "a")) if whole else verify(records[1]).good
            missed += [path.name] * good
            path.write_bytes(before)
        done += 1
    assert [] == missed
    assert all(one.good for one in verify_archive(quick / "a"))


WRITER = """
import sys
from pathlib import Path
from runbook_lib.record._disk import DISK
from runbook_lib.record.folder import RecordFolder
folder = RecordFolder.open(Path(sys.argv[1]))
contents = [b'{"filler": "' + letter * 4000 + b'"}' for letter in (b"a", b"b", b"c")]
print("writing", flush=True)
number = 0
while True:
    DISK.replace(folder.path / "notebook.ipynb", contents[number % 3], durable=False)
    if number % 200 == 0:
        folder.journal.append("cell.output", {"type": "stream", "text": f"line {number}\\n"}, cell="one")
    number += 1
"""


@pytest.mark.timeout(900)
def test_a_hundred_thousand_looks_see_no_part(quick: Path) -> None:
    """While another process writes, every look finds a whole notebook, and a journal of whole lines."""
    folder = begun(quick / "a")
    notebook, journal = folder.path / "notebook.ipynb", folder.path / JOURNAL
    DISK.replace(notebook, b'{"filler": ""}', durable=False)
    argv = [sys.executable, "-c", WRITER, str(folder.path)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as writer:
        try:
            assert writer.stdout is not None
            assert writer.stdout.readline() == b"writing\n"
            seen, broken, sizes = set[bytes](), 0, set[int]()
            for number in range(LOOKS):
                content = notebook.read_bytes()
                seen.add(content[:20])
                broken += not (content.startswith(b'{"filler": "') and content.endswith(b'"}')) or len(content) > 4014
                if number % 1000 == 0:
                    record = Record.read(folder.path)
                    broken += bool(record.problems)
                    sizes.add(journal.stat().st_size)
        finally:
            writer.kill()
    folder.release()
    assert 0 == broken
    # It was written meanwhile: otherwise this shows nothing.
    assert {b'{"filler": "aaaaaaaa', b'{"filler": "bbbbbbbb', b'{"filler": "cccccccc'} <= seen
    assert len(sizes) > 1
    assert json.loads(notebook.read_bytes())


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 3 MB, mounted; skips where that is not allowed."""
    place = tmp_path / "small"
    place.mkdir()
    if (
        os.geteuid() != 0
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=3m", "none", str(place)], capture_output=True, check=False
        ).returncode
    ):
        pytest.skip("needs the right to mount a small tmpfs")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def fill(path: Path) -> None:
    """Write until nothing more fits."""
    with path.open("wb", buffering=0) as filler:
        while True:
            filler.write(b"x" * 65536)


def test_a_run_on_a_full_disk_still_tells_its_end(full_disk: Path) -> None:
    """With the disk full, what was written stays, an action's events and the run's end are taken, and it seals."""
    folder = begun(full_disk / "a")
    with pytest.raises(OSError, match="No space left"):
        fill(full_disk / "filler")
    folder.journal.append("cell.output", {"type": "stream", "text": "y" * 20_000}, cell="one")
    for kind in ("action.intent", "action.outcome"):
        folder.journal.append(kind, {"plan": "p", "key": "k", "outcome": "applied", "reason": ""})
    folder.release()
    assert not (folder.path / ".reserve").exists(), "the reserve was what took them"
    record = Record.read(recover(folder.path).path)
    assert (Status.INTERRUPTED, True) == (record.status, verify(record.path).good)
    assert 1 == len(record.all("action.outcome"))
    assert not list((full_disk / "a").glob(f"*/*/*/*{PARTIAL}"))
    shutil.rmtree(full_disk / "a")
