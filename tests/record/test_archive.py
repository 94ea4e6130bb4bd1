"""The archive: found, searched, kept, removed and carried away."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from runbook_lib.errors import RecordError, UnknownNameError
from runbook_lib.model.times import utc_now
from runbook_lib.record.archive import Archive
from runbook_lib.record.diff import diff, divergences
from runbook_lib.record.export import export
from runbook_lib.record.folder import RecordFolder
from runbook_lib.record.record import Record
from runbook_lib.record.verify import verify, verify_archive

Incident = Callable[..., RecordFolder]
Start = Callable[..., RecordFolder]
SCRIPT = Path(__file__).parents[2] / "docs" / "verify_record.py"


@pytest.fixture
def three(start: Start, incident: Incident, archive: Path) -> list[Path]:
    """A healthy record, an incident, and a run that is still going on."""
    healthy = start("preflight", run_id="20260101T000000Z-preflight-000001").seal("succeeded", "healthy")
    bad = incident().seal("succeeded", "failing")
    running = start("deploy", run_id="20991231T235959Z-deploy-ffffff")
    return [healthy, bad, running.path]


def test_a_list_shows_each_record_once(three: list[Path], archive: Path) -> None:
    """Sealed and running records are listed with their status."""
    found = {entry.path: entry.status for entry in Archive(archive).entries()}
    assert dict(zip(three, ("succeeded", "succeeded", "running"), strict=True)) == found


def test_an_entry_tells_the_cause(three: list[Path], archive: Path) -> None:
    """The entry of an incident names cause and strongest finding."""
    (entry,) = Archive(archive).entries(runbook="high_latency")
    assert ("db.lock_contention", "failing", True) == (entry.cause, entry.verdict, "pid 4711" in entry.title)


@pytest.mark.parametrize(
    ("words", "number"),
    [
        ("lock", 1),
        ("4711 backend", 1),
        ("grafana", 0),
        ("traffic surge", 1),
        ("prefl*", 1),
        ('"; DROP TABLE records; --', 0),
        ("NOT AND (", 0),
        ("", 0),
    ],
)
def test_search(three: list[Path], archive: Path, words: str, number: int) -> None:
    """All words must occur; a star matches beginnings; no character is an operator."""
    assert number == len(Archive(archive).search(words))


def test_the_index_follows_the_folders(three: list[Path], archive: Path, start: Start) -> None:
    """A record that was sealed after the index was made is found, and a rebuilt index gives the same."""
    before = len(Archive(archive).entries())
    start("later").seal("succeeded", "healthy")
    after = Archive(archive).entries()
    (archive / "index.sqlite").write_bytes(b"not a database at all, but long enough to look like one" * 40)
    broken = Archive(archive).entries()
    assert (before + 1, len(after), after) == (len(after), Archive(archive).rebuild(), broken)


@pytest.mark.parametrize("name", ["20260101T000000Z-preflight-000001", "20260101", "000001"])
def test_a_run_is_found_by_id_or_part(three: list[Path], archive: Path, name: str) -> None:
    """A whole id, its beginning or its last part name the run."""
    assert three[0] == Archive(archive).find(name)


def test_last_is_the_newest(three: list[Path], archive: Path) -> None:
    """last names the run that began last."""
    assert three[2] == Archive(archive).find("last")


@pytest.mark.parametrize("name", ["nothing", "20", ""])
def test_an_unclear_name_is_refused(three: list[Path], archive: Path, name: str) -> None:
    """A name that no run or several runs have is an error that lists the candidates."""
    with pytest.raises(UnknownNameError, match="preflight"):
        Archive(archive).find(name)


def test_no_archive_is_an_error(tmp_path: Path) -> None:
    """An archive that does not exist is not an empty one."""
    with pytest.raises(RecordError, match="no archive"):
        Archive(tmp_path / "none").entries()


def test_only_old_sealed_records_expire(three: list[Path], archive: Path) -> None:
    """Retention names sealed records that are old enough, never one that is running or held."""
    kept = Archive(archive)
    future = utc_now() + timedelta(days=400)
    assert {three[0], three[1]} == set(kept.expired(365, now=future))
    kept.hold(three[1].name, "legal")
    assert {three[0]} == set(kept.expired(365, now=future))
    kept.release(three[1].name)
    assert 2 == len(kept.expired(365, now=future))
    assert () == kept.expired(365)


def test_a_removal_is_written_down(three: list[Path], archive: Path) -> None:
    """After a removal with a reason the archive still verifies; the removal is part of its chain."""
    Archive(archive).remove(three[0], reason="older than 365 days", by="ada")
    archive_problems = [one for one in verify_archive(archive) if one.run_id == "archive"]
    assert (False, []) == (three[0].exists(), archive_problems)


def test_a_held_record_is_not_removed(three: list[Path], archive: Path) -> None:
    """A record on hold cannot be removed, and the hold does not break its seal."""
    Archive(archive).hold(three[1].name, "case 7")
    with pytest.raises(RecordError, match="case 7"):
        Archive(archive).remove(three[1], reason="old", by="ada")
    assert verify(three[1]).problems == ()


def test_a_running_record_is_not_removed(three: list[Path], archive: Path) -> None:
    """A record without a seal is recovered first, not removed."""
    with pytest.raises(RecordError, match="not sealed"):
        Archive(archive).remove(three[2], reason="old", by="ada")


def test_an_export_verifies_elsewhere(three: list[Path], tmp_path: Path) -> None:
    """An exported record, unpacked elsewhere, verifies with the stdlib-only script."""
    bundle = export(three[1], tmp_path)
    elsewhere = tmp_path / "elsewhere"
    zipfile.ZipFile(bundle).extractall(elsewhere)
    argv = [sys.executable, "-I", str(SCRIPT), str(elsewhere / three[1].name)]
    result = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
    assert (0, "good\n") == (result.returncode, result.stdout)


def test_a_changed_record_is_not_exported(three: list[Path], tmp_path: Path) -> None:
    """A record that does not verify is not carried away as if it did."""
    (three[1] / "report.html").write_text("x")
    with pytest.raises(RecordError, match=r"report\.html"):
        export(three[1], tmp_path)


def test_diff_names_what_changed(three: list[Path]) -> None:
    """The difference of two records starts with the verdict and holds findings, gaps, numbers and actions."""
    found = diff(Record.read(three[0]), Record.read(three[1]))
    assert ("verdict", "healthy", "failing") == (found[0].name, found[0].left, found[0].right)
    assert {"run", "finding", "gap", "number", "action"} == {one.area for one in found}


def test_a_record_does_not_differ_from_itself(three: list[Path]) -> None:
    """A record compared with itself has no difference and no divergence."""
    record = Record.read(three[1])
    assert ((), ()) == (diff(record, record), divergences(record, record))
