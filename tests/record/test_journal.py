"""The journal: one chain written by many, durable where it matters, whole after a crash."""

from __future__ import annotations

import json
import multiprocessing
import os
import threading
from pathlib import Path

import pytest

from runbook_lib.errors import RecordError, UnknownNameError
from runbook_lib.model.canonical import canonical, digest
from runbook_lib.record.event import NO_EVENT, Event, chain_members, parse
from runbook_lib.record.journal import MAX_DATA_BYTES, Journal
from runbook_lib.secrets import Redactor, Secret


def lines(journal: Journal) -> list[bytes]:
    return journal.path.read_bytes().splitlines()


def fill(journal: Journal) -> None:
    for _ in range(100):
        journal.append("note", {"text": "x" * 4000})


def events(journal: Journal) -> list[Event]:
    return [parse(line) for line in lines(journal)]


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal.create(tmp_path / "events.jsonl", run_id="run-1", genesis={"runbook": "r"})


def test_first_byte_says_running(journal: Journal) -> None:
    """A new journal holds one event, run.started, at number 0 behind no other."""
    (first,) = events(journal)
    assert (first.kind, first.seq, first.prev) == ("run.started", 0, NO_EVENT)


def test_line_is_canonical_json(journal: Journal) -> None:
    """A line is the RFC 8785 form of its event, whatever the data holds."""
    journal.append("note", {"z": 1.5e-7, "é": [True, None, -0.0], "a": '","hash":"sha256:'}, cell="c", actor="ada")
    assert [canonical(json.loads(line)) for line in lines(journal)] == lines(journal)


def test_hash_covers_all_but_itself(journal: Journal) -> None:
    """The hash is the SHA-256 of the canonical form without the member hash."""
    event = journal.append("note", {"text": "x"})
    rest = {key: value for key, value in event.to_json().items() if key != "hash"}
    assert digest(rest) == event.hash


def test_chain_members_agree_with_the_event(journal: Journal) -> None:
    """Reading a line's chain members without parsing its data gives the same as parsing it."""
    journal.append("note", {"text": ',"hash":"sha256:' + "0" * 64 + '","kind":"note","mono_ns":1'})
    for line, event in zip(lines(journal), events(journal), strict=True):
        members = chain_members(line)
        assert (event.seq, event.kind, event.prev, event.hash, event.hash) == (
            members.seq,
            members.kind,
            members.prev,
            members.hash,
            members.true_hash,
        )


def test_each_event_names_the_one_before(journal: Journal) -> None:
    """prev of an event is the hash of the event before."""
    for number in range(5):
        journal.append("note", {"text": str(number)})
    found = events(journal)
    assert [event.hash for event in found[:-1]] == [event.prev for event in found[1:]]


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        pytest.param(float("nan"), None, id="nan"),
        pytest.param(float("inf"), None, id="infinity"),
        pytest.param(2**60, str(2**60), id="integer-beyond-json"),
        pytest.param("a\ud800b", "a?b", id="lone-surrogate"),
        pytest.param(Path("x"), "x", id="foreign-type"),
        pytest.param((1, 2), [1, 2], id="tuple"),
    ],
)
def test_what_json_cannot_hold(journal: Journal, given: object, kept: object) -> None:
    """A value that JSON cannot hold becomes null or text; the event is never lost over it."""
    journal.append("note", {"value": given})
    assert kept == events(journal)[-1].data["value"]


def test_the_returned_event_is_the_written_one(journal: Journal) -> None:
    """append returns what a reader of the file will see."""
    event = journal.append("note", {"text": "x", "numbers": [1, 2.5]}, cell="c")
    assert event == events(journal)[-1]


def test_a_picture_is_not_searched_for_secrets(tmp_path: Path) -> None:
    """A PNG passes untouched beside text that is masked."""
    redactor = Redactor([Secret("hunter2-canary")])
    journal = Journal.create(tmp_path / "e.jsonl", run_id="r-1", genesis={}, redactor=redactor)
    bundle = {"image/png": "iVBORpassword=abcdef", "text/plain": "password=abcdef"}
    kept = journal.append("cell.output", {"type": "display_data", "data": bundle}).data["data"]
    assert ("iVBORpassword=abcdef", "password=[redacted]") == (kept["image/png"], kept["text/plain"])


def test_unknown_kind_is_refused(journal: Journal) -> None:
    """A kind that is not in the vocabulary is refused with the nearest one."""
    with pytest.raises(UnknownNameError, match=r"Did you mean 'run\.ended'"):
        journal.append("run.endet", {})


def test_nothing_follows_a_seal(journal: Journal) -> None:
    """After the event sealed the journal takes no more."""
    journal.append("sealed", {})
    with pytest.raises(RecordError, match="sealed"):
        journal.append("note", {})


def test_an_existing_journal_is_not_started_again(journal: Journal) -> None:
    """create refuses a file that exists."""
    with pytest.raises(RecordError, match="cannot be started"):
        Journal.create(journal.path, run_id="run-2", genesis={})


def test_huge_data_is_left_out_with_its_digest(journal: Journal) -> None:
    """Data beyond the cap is replaced by its size and digest."""
    event = journal.append("note", {"text": "x" * (MAX_DATA_BYTES + 1)})
    assert {"omitted_bytes", "omitted_digest"} == set(event.data)


def test_secrets_do_not_reach_the_file(tmp_path: Path) -> None:
    """A known secret is masked in every event, the first one included."""
    redactor = Redactor([Secret("hunter2-canary")])
    journal = Journal.create(tmp_path / "e.jsonl", run_id="r-1", genesis={"actor": "hunter2-canary"}, redactor=redactor)
    journal.append("cell.output", {"text": "dsn postgres://u:hunter2-canary@h/db"})
    assert b"hunter2" not in journal.path.read_bytes()


def test_threads_and_processes_write_one_chain(journal: Journal) -> None:
    """Several threads and processes append at once and the chain stays whole."""
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_write_notes, args=(str(journal.path), 40)) for _ in range(2)]
    threads = [threading.Thread(target=_write_notes, args=(str(journal.path), 40)) for _ in range(2)]
    shared = [threading.Thread(target=lambda: [journal.append("note", {}) for _ in range(40)]) for _ in range(2)]
    for worker in (*processes, *threads, *shared):
        worker.start()
    for worker in (*processes, *threads, *shared):
        worker.join()
    found = events(journal)
    assert [(n, (found[n - 1].hash if n else NO_EVENT)) for n in range(241)] == [(e.seq, e.prev) for e in found]


def _write_notes(path: str, number: int) -> None:
    journal = Journal.open(Path(path))
    for _ in range(number):
        journal.append("note", {"text": "x" * 50})
    journal.close()


def test_append_after_a_fork(journal: Journal) -> None:
    """A forked child and its parent append to one chain through the same object."""
    child = os.fork()
    if child == 0:
        journal.append("note", {"text": "child"})
        os._exit(0)
    os.waitpid(child, 0)
    journal.append("note", {"text": "parent"})
    assert [event.data["text"] for event in events(journal)[1:]] == ["child", "parent"]


@pytest.mark.parametrize("cut", [1, 40, 200], ids=["newline-lost", "forty-bytes-lost", "most-lost"])
def test_a_torn_line_is_dropped_and_noted(journal: Journal, cut: int) -> None:
    """The next append drops a line that a dead writer left torn, says so, and the chain goes on."""
    journal.append("note", {"text": "y" * 300})
    content = journal.path.read_bytes()
    journal.path.write_bytes(content[:-cut])
    again = Journal.open(journal.path)
    again.append("note", {"text": "next"})
    assert [event.kind for event in events(again)] == ["run.started", "recovered", "note"]


def test_time_since_the_start_never_goes_back(journal: Journal) -> None:
    """mono_ns rises from event to event, also over a journal opened anew."""
    journal.append("note", {})
    Journal.open(journal.path).append("note", {})
    stamps = [event.mono_ns for event in events(journal)]
    assert sorted(stamps) == stamps


def test_head_counts_what_others_wrote(journal: Journal) -> None:
    """head sees events that another writer appended."""
    event = Journal.open(journal.path).append("note", {})
    assert (2, event.hash) == journal.head


def test_a_full_disk_takes_the_reserve(tmp_path: Path) -> None:
    """With the disk full, the space kept in reserve is given back and the event is written; then it is an error."""
    target = tmp_path / "small"
    target.mkdir()
    if os.geteuid() != 0 or os.system(f"mount -t tmpfs -o size=256k none {target} 2>/dev/null") != 0:
        pytest.skip("needs the right to mount a small tmpfs")
    try:
        journal = Journal.create(target / "events.jsonl", run_id="r-1", genesis={})
        (target / ".reserve").write_bytes(b"\0" * 65536)
        with pytest.raises(OSError, match="No space"):
            (target / "filler").write_bytes(b"\0" * 300000)
        for _ in range(10):
            journal.append("note", {"text": "x" * 4000})
        with pytest.raises(RecordError, match="No space"):
            fill(journal)
        assert [line for line in lines(journal) if not json.loads(line)] == []
    finally:
        os.system(f"umount --lazy {target}")  # the journal still holds its file open
