"""Recovery: a dead run is sealed as what it was, and a live one is left alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from runbook_lib.errors import RecordError
from runbook_lib.record.folder import RecordFolder
from runbook_lib.record.record import Record
from runbook_lib.record.recover import TORN, recover, recover_archive
from runbook_lib.record.verify import verify

Start = Callable[..., RecordFolder]

WRITER = """
import sys, time
from runbook_lib.record.folder import RecordFolder
folder = RecordFolder.create(sys.argv[1], "run-killed", genesis={"runbook": "r"})
folder.journal.append("action.intent", {"plan": "sha256:" + "a" * 64, "key": "k"})
for number in range(100000):
    folder.journal.append("cell.output", {"type": "stream", "text": f"line {number}"})
    print(number, flush=True)
    time.sleep(0.002)
"""


@pytest.fixture
def dead(start: Start) -> RecordFolder:
    """A record whose writer is gone without a seal."""
    folder = start()
    folder.journal.append("note", {"text": "the last words"})
    folder.release()
    return folder


def test_a_dead_run_is_interrupted(dead: RecordFolder) -> None:
    """A run that died with no action under way is sealed as interrupted, exit 130, and verifies."""
    found = recover(dead.path)
    record = Record.read(found.path)
    assert ("interrupted", 130, ()) == (found.status, record.exit_code, verify(found.path).problems)


def test_an_open_action_makes_it_unknown(dead: RecordFolder) -> None:
    """A run that died between intent and outcome is unknown, and recovery lists the plan."""
    dead.journal.append("action.intent", {"plan": "sha256:" + "a" * 64, "key": "k"})
    dead.journal.close()
    found = recover(dead.path)
    assert ("unknown", ("sha256:" + "a" * 64,)) == (found.status, found.open_intents)


def test_an_earlier_refusal_does_not_close_an_intent(dead: RecordFolder) -> None:
    """An intent after a refused attempt of the same plan is still open."""
    plan = "sha256:" + "b" * 64
    dead.journal.append("action.outcome", {"plan": plan, "outcome": "refused", "reason": "no approval"})
    dead.journal.append("action.intent", {"plan": plan, "key": "k"})
    dead.journal.close()
    assert "unknown" == recover(dead.path).status


def test_a_live_run_is_left_alone(start: Start) -> None:
    """A record that a process still writes to cannot be recovered."""
    folder = start()
    with pytest.raises(RecordError, match="still alive"):
        recover(folder.path)


def test_recovering_an_archive_takes_only_the_dead(start: Start, dead: RecordFolder, archive: Path) -> None:
    """Of a live and a dead run, only the dead one is sealed."""
    alive = start("other")
    assert [dead.run_id] == [one.path.name for one in recover_archive(archive)]
    assert alive.path.is_dir()


def test_a_record_that_cannot_be_sealed_stops_no_other(start: Start, archive: Path, tmp_path: Path) -> None:
    """One record whose seal fails is named with the reason, and the others are sealed."""
    for name in ("one", "two"):
        start(name).release()
    keys = iter((b"signature", RecordError("no key")))

    def sign(content: bytes) -> bytes:
        answer = next(keys)
        if isinstance(answer, RecordError):
            raise answer
        return answer

    found = recover_archive(archive, sign=sign)
    assert ["", "no key"] == sorted(one.problem for one in found)


def test_a_torn_end_is_kept_aside(dead: RecordFolder) -> None:
    """What is cut off the journal is kept in a file of its own, and the record says how much it was."""
    with (dead.path / "events.jsonl").open("ab") as journal:
        journal.write(b'{"actor":"kernel","cell":"x","da')
    found = recover(dead.path)
    note = Record.read(found.path).last("recovered")
    assert (32, 32) == (note["dropped_bytes"], (found.path / TORN).stat().st_size)


def test_zeros_after_a_power_cut(dead: RecordFolder) -> None:
    """A block of zeros at the end, as a file system may leave it, is cut off like a torn line."""
    with (dead.path / "events.jsonl").open("ab") as journal:
        journal.write(b"\0" * 4096 + b"\n" + b"\0" * 100)
    assert verify(recover(dead.path).path).problems == ()


def test_an_empty_journal_is_still_a_run(dead: RecordFolder) -> None:
    """When not even the first event survived, the record says that its beginning is lost."""
    (dead.path / "events.jsonl").write_bytes(b"")
    found = recover(dead.path)
    record = Record.read(found.path)
    assert ("interrupted", True, ()) == (found.status, record.run["lost"], verify(found.path).problems)


def test_lost_evidence_is_named(dead: RecordFolder) -> None:
    """Evidence that a power cut emptied is dropped and named, and the rest verifies."""
    again = RecordFolder.open(dead.path)
    again.journal.append("evidence", {"source": "a", "name": "b", "file": "evidence/x.json", "sha256": "sha256:0"})
    again.release()
    (dead.path / "evidence" / "x.json").write_bytes(b"")
    found = recover(dead.path)
    assert ["evidence/x.json"] == Record.read(found.path).last("recovered")["lost_evidence"]
    assert verify(found.path).problems == ()


def test_recovering_a_sealed_record_changes_nothing(start: Start) -> None:
    """A sealed record is left as it is."""
    path = start().seal("succeeded", "healthy")
    before = {one: one.read_bytes() for one in path.rglob("*") if one.is_file()}
    assert "succeeded" == recover(path).status
    assert before == {one: one.read_bytes() for one in path.rglob("*") if one.is_file()}


@pytest.mark.parametrize("kill_after_lines", [1, 7, 40])
def test_nothing_said_is_lost_to_sigkill(archive: Path, kill_after_lines: int) -> None:
    """Everything that a killed writer had reported as written is in the recovered record."""
    archive.mkdir()
    argv = [sys.executable, "-c", WRITER, str(archive)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        said = [int(writer.stdout.readline()) for _ in range(kill_after_lines)]
        time.sleep(0.003)
        os.kill(writer.pid, signal.SIGKILL)
        said += [int(line) for line in writer.stdout.read().splitlines() if line]
    (partial,) = archive.glob("*/*/*/run-killed.partial")
    found = recover(partial)
    kept = [int(event.data["text"].split()[1]) for event in Record.read(found.path).all("cell.output")]
    assert (said, "unknown") == (kept[: len(said)], found.status)
