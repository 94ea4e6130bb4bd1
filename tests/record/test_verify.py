"""Verification: a good record is good, and every change to it is seen."""

from __future__ import annotations

import importlib.util
import json
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runbook_lib.errors import RecordError
from runbook_lib.record.chain import CHAIN
from runbook_lib.record.event import line_of
from runbook_lib.record.folder import RecordFolder
from runbook_lib.record.verify import verify, verify_archive

from .mutations import mutate

Incident = Callable[..., RecordFolder]
SCRIPT = Path(__file__).parents[2] / "docs" / "verify_record.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """The stdlib-only verifier of the docs."""
    spec = importlib.util.spec_from_file_location("verify_record", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def sealed(incident: Incident) -> Path:
    """A sealed record."""
    return incident().seal("succeeded", "failing")


def files(record: Path) -> list[Path]:
    return sorted(path for path in record.rglob("*") if path.is_file())


def test_a_sealed_record_is_good(sealed: Path) -> None:
    """A record that nobody touched has no problem."""
    assert verify(sealed).problems == ()


def test_the_docs_script_agrees_on_a_good_record(sealed: Path, script: ModuleType) -> None:
    """The stdlib-only script finds no problem either."""
    assert list(script.problems(sealed)) == []


@pytest.mark.parametrize("words", [[], ["no-such-folder"], ["a", "b", "c"]], ids=["nothing", "no-folder", "too-many"])
def test_the_docs_script_says_how_it_is_used(words: list[str]) -> None:
    """Wrong use is told apart from a bad record: its own words, and exit code 1."""
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *words], capture_output=True, text=True, timeout=60, check=False
    )
    assert (1, "", True) == (done.returncode, done.stdout, "python verify_record.py RECORD" in done.stderr)


def test_the_docs_script_stays_short_and_alone() -> None:
    """The script has at most 150 lines and imports the standard library only."""
    text = SCRIPT.read_text()
    imported = {line.split()[1] for line in text.splitlines() if line.startswith(("import ", "from "))}
    assert (True, {"hashlib", "json", "re", "subprocess", "sys", "pathlib"}) == (text.count("\n") <= 150, imported)


def test_no_seal_is_never_successful(incident: Incident) -> None:
    """A record without a seal says running, and that it was never sealed."""
    folder = incident()
    found = verify(folder.path)
    assert ("running", True) == (found.status, "never sealed" in str(found.problems[0]))


def test_a_hand_edited_event_is_named(sealed: Path) -> None:
    """Changing one word of an event names the journal and the event."""
    journal = sealed / "events.jsonl"
    journal.write_bytes(journal.read_bytes().replace(b"22 % of their", b"12 % of their"))
    problems = [one for one in verify(sealed).problems if one.event is not None]
    assert ["events.jsonl"] == sorted({one.file for one in problems})


def test_a_rewritten_event_with_its_own_hash_is_named(sealed: Path) -> None:
    """An event rewritten together with its hash does not carry the rest of the chain with it."""
    journal = sealed / "events.jsonl"
    lines = journal.read_bytes().splitlines()
    event = json.loads(lines[2])
    members = {key: event[key] for key in ("seq", "ts", "mono_ns", "run_id", "actor", "kind", "cell", "prev")}
    lines[2], _ = line_of(b'{"forged":true}', **members)
    journal.write_bytes(b"\n".join(lines) + b"\n")
    assert ("events.jsonl", 3) in {(one.file, one.event) for one in verify(sealed).problems}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        pytest.param(lambda r: (r / "report.html").write_text("<p>all is well</p>"), "report.html", id="edited-view"),
        pytest.param(lambda r: next((r / "evidence").iterdir()).unlink(), "evidence/", id="removed-evidence"),
        pytest.param(lambda r: (r / "extra.txt").write_text("x"), "extra.txt", id="added-file"),
        pytest.param(lambda r: (r / "evidence" / "x").symlink_to("/etc/hostname"), "evidence/x", id="added-link"),
        pytest.param(lambda r: (r / "seal.json").unlink(), "seal.json", id="removed-seal"),
        pytest.param(lambda r: (r / "manifest.json").write_text("{}"), "manifest.json", id="emptied-manifest"),
        pytest.param(lambda r: (r / "manifest.json").write_text("[1]"), "manifest.json", id="foreign-manifest"),
        pytest.param(lambda r: (r / "events.jsonl").unlink(), "events.jsonl", id="removed-journal"),
    ],
)
def test_a_change_names_its_file(
    sealed: Path, script: ModuleType, change: Callable[[Path], object], named: str
) -> None:
    """A change to a file is a problem that names the file, for both verifiers."""
    change(sealed)
    ours = [str(one) for one in verify(sealed).problems]
    theirs = list(script.problems(sealed))
    assert (True, True) == (any(named in one for one in ours), any(named in one for one in theirs)), (ours, theirs)


def test_a_renamed_record_is_seen(sealed: Path) -> None:
    """A record under another run's name is a problem."""
    other = sealed.rename(sealed.with_name("20260101T000000Z-other-aaaaaa"))
    assert verify(other).good is False


def test_random_mutations_are_all_detected(sealed: Path, script: ModuleType) -> None:
    """Every one of 300 random changes to bytes, lines and files is seen, by both verifiers alike."""
    rng = random.Random(20261124)
    missed = []
    for number in range(300):
        target = rng.choice(files(sealed))
        before = target.read_bytes()
        after = mutate(before, rng)
        if after is None:
            target.unlink()
        elif after == before:
            continue
        else:
            target.write_bytes(after)
        if verify(sealed).good or not list(script.problems(sealed)):
            missed.append((number, target.name))
        target.write_bytes(before)
    assert missed == []


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_replaced_span_is_detected(sealed: Path, data: st.DataObject) -> None:
    """Replacing any span of any file by other bytes is seen."""
    target = data.draw(st.sampled_from(files(sealed)))
    before = target.read_bytes()
    start = data.draw(st.integers(0, len(before) - 1))
    end = data.draw(st.integers(start, len(before)))
    after = before[:start] + data.draw(st.binary(max_size=40)) + before[end:]
    target.write_bytes(after)
    try:
        assert (after == before) is verify(sealed).good
    finally:
        target.write_bytes(before)


def test_an_archive_of_good_records_is_good(start: Callable[..., RecordFolder], archive: Path) -> None:
    """Three records sealed one after the other verify, and so does the chain."""
    for name in ("one", "two", "three"):
        start(name).seal("succeeded", "healthy")
    assert [True, True, True] == [one.good for one in verify_archive(archive)]


@pytest.mark.parametrize("which", [0, 1, 2], ids=["first", "middle", "last"])
def test_a_removed_run_is_seen(start: Callable[..., RecordFolder], archive: Path, which: int) -> None:
    """Removing a whole record is a problem of the archive."""
    folders = [start(name).seal("succeeded", "healthy") for name in ("one", "two", "three")]
    shutil.rmtree(folders[which])
    assert folders[which].name in str(verify_archive(archive)[-1].problems)


@pytest.mark.parametrize("which", [0, 1], ids=["first", "middle"])
def test_a_removed_run_and_its_line_are_seen(start: Callable[..., RecordFolder], archive: Path, which: int) -> None:
    """Removing a record together with its line of the chain is seen by the records after it."""
    folders = [start(name).seal("succeeded", "healthy") for name in ("one", "two", "three")]
    shutil.rmtree(folders[which])
    chain = archive / CHAIN
    lines = chain.read_bytes().splitlines(keepends=True)
    chain.write_bytes(b"".join(lines[:which] + lines[which + 1 :]))
    assert verify_archive(archive)[-1].good is False


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    """Verifying what is not there is an error, not a good record."""
    with pytest.raises(RecordError, match="no record"):
        verify(tmp_path / "nothing")
