"""The index follows the folders while it looks only at what can have changed."""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from pathlib import Path

import pytest

from runbook_lib.record import index
from runbook_lib.record.archive import Archive
from runbook_lib.record.folder import JOURNAL, RecordFolder, new_run_id
from runbook_lib.record.genesis import genesis


def begin(archive: Path, text: str = "") -> RecordFolder:
    """A record with one note."""
    folder = RecordFolder.create(archive, new_run_id("tiny"), genesis=genesis(runbook="tiny", archive=archive))
    folder.journal.append("note", {"text": text})
    return folder


def settle(archive: Path) -> None:
    """Make every day look as if nothing had happened in it for a minute."""
    for day in archive.glob("[0-9]*/[0-9]*/[0-9]*"):
        os.utime(day, (time.time() - 60, time.time() - 60))


def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The records that are read from now on."""
    names: list[str] = []
    real = index.Record.read

    def reading(path: Path) -> index.Record:
        names.append(path.name)
        return real(path)

    monkeypatch.setattr(index.Record, "read", reading)
    return names


def test_a_settled_day_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second list opens no record."""
    begin(tmp_path).seal("succeeded", "healthy")
    settle(tmp_path)
    assert 1 == len(Archive(tmp_path).entries())
    names = read(monkeypatch)
    assert (1, []) == (len(Archive(tmp_path).entries()), names)


def test_only_what_is_new_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A record beside many old ones costs one reading."""
    for _ in range(3):
        begin(tmp_path).seal("succeeded", "healthy")
    Archive(tmp_path).entries()
    new = begin(tmp_path).seal("succeeded", "healthy")
    names = read(monkeypatch)
    assert (4, [new.name]) == (len(Archive(tmp_path).entries()), names)


def test_a_running_record_is_followed(tmp_path: Path) -> None:
    """What is noted while the day's folder stays the same is found."""
    folder = begin(tmp_path, "first")
    settle(tmp_path)
    assert [1, 0] == [len(Archive(tmp_path).search(word)) for word in ("first", "second")]
    folder.journal.append("note", {"text": "second"})
    settle(tmp_path)
    assert [1, 1] == [len(Archive(tmp_path).search(word)) for word in ("first", "second")]
    folder.seal("succeeded", "healthy")
    assert ["succeeded"] == [one.status for one in Archive(tmp_path).entries()]


def test_removed_records_and_days_are_forgotten(tmp_path: Path) -> None:
    """Also from the words."""
    kept, gone = (begin(tmp_path, text).seal("succeeded", "healthy") for text in ("kept", "gone"))
    assert 2 == len(Archive(tmp_path).entries())
    shutil.rmtree(gone)
    assert [[kept], []] == [[one.path for one in Archive(tmp_path).search(word)] for word in ("kept", "gone")]
    shutil.rmtree(kept.parent)
    assert () == Archive(tmp_path).entries()


def test_a_fresh_day_is_looked_at_again(tmp_path: Path) -> None:
    """A folder's time may be too coarse to tell two changes apart, so a young one is not trusted."""
    first = begin(tmp_path).seal("succeeded", "healthy")
    stamp = first.parent.stat().st_mtime_ns
    assert 1 == len(Archive(tmp_path).entries())
    begin(tmp_path).seal("succeeded", "healthy")
    os.utime(first.parent, ns=(stamp, stamp))
    assert 2 == len(Archive(tmp_path).entries())


def test_an_index_of_an_earlier_version_is_made_anew(tmp_path: Path) -> None:
    """Nobody has to remove it by hand."""
    path = begin(tmp_path, "word").seal("succeeded", "healthy")
    with sqlite3.connect(tmp_path / index.INDEX) as old:
        old.execute("CREATE TABLE records(path TEXT PRIMARY KEY)")
        old.execute("CREATE VIRTUAL TABLE words USING fts5(path UNINDEXED, content)")
    old.close()
    assert [path] == [one.path for one in Archive(tmp_path).search("word")]


def test_the_index_names_journals(tmp_path: Path) -> None:
    """A folder without a journal is no record."""
    path = begin(tmp_path).seal("succeeded", "healthy")
    (path.parent / "nothing").mkdir()
    assert (1, True) == (len(Archive(tmp_path).entries()), (path / JOURNAL).is_file())
