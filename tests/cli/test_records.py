"""``runbook records``: every verb on an archive of real records."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from runbook_lib.cli.records import app
from runbook_lib.errors import RecordError, UsageError
from runbook_lib.record.folder import RecordFolder, new_run_id
from runbook_lib.record.genesis import genesis
from runbook_lib.record.record import Record
from runbook_lib.record.signature import signer


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two sealed records beside an empty catalogue."""
    (tmp_path / "runbook.toml").write_text("")
    monkeypatch.chdir(tmp_path)
    for verdict in ("healthy", "failing"):
        begin(tmp_path / "outputs").seal("succeeded", verdict)
    return tmp_path / "outputs"


def begin(archive: Path) -> RecordFolder:
    return RecordFolder.create(archive, new_run_id("tiny"), genesis=genesis(runbook="tiny", archive=archive))


def ids(archive: Path) -> list[str]:
    """Ids of the sealed records, the oldest first."""
    sealed = [json.loads(line) for line in (archive / "chain.jsonl").read_text().splitlines()]
    return [link["run_id"] for link in sealed if link["kind"] == "sealed"]


def call(*words: str) -> Result:
    """The verb as a person calls it; errors of ours come through as they are."""
    done = CliRunner().invoke(app, list(words))
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


def told(*words: str) -> Any:
    return json.loads(call(*words, "--json").stdout)


def test_a_difference_is_printed_and_sets_the_exit_code(archive: Path) -> None:
    """Two runs that ended differently differ in their verdict; a run does not differ from itself."""
    first, second = ids(archive)
    done = call("diff", first, second, "--json")
    assert 1 == done.exit_code
    found = {"area": "run", "name": "verdict", "left": "healthy", "right": "failing"}
    assert found in json.loads(done.stdout)["differences"]
    assert (0, "the same\n") == (call("diff", first, first).exit_code, call("diff", first, first).stdout)


def test_the_postmortem_asks_a_person(archive: Path) -> None:
    """The draft is printed with what only a person can write marked."""
    assert "TODO" in call("postmortem", "last").stdout


def test_junit_is_xml(archive: Path) -> None:
    """What is printed is read by a JUnit reader."""
    assert ET.fromstring(call("junit", "last").stdout).tag in {"testsuite", "testsuites"}


def test_an_export_verifies_where_it_is_unpacked(archive: Path, tmp_path: Path) -> None:
    """The zip holds a record that verifies in another folder."""
    zipped = Path(call("export", "last", str(tmp_path)).stdout.strip())
    shutil.unpack_archive(zipped, tmp_path / "elsewhere")
    (unpacked,) = (tmp_path / "elsewhere").iterdir()
    assert {"good": True, "problems": []} == told("verify", str(unpacked))


def test_a_held_record_stays_until_it_is_released(archive: Path) -> None:
    """A hold keeps a record; after its release it is removed, and the chain says why."""
    first, _ = ids(archive)
    call("hold", first, "--reason", "audit")
    with pytest.raises(RecordError, match="audit"):
        call("remove", first, "--reason", "old")
    call("release", first)
    assert f"{first}\n1 records removed\n" == call("remove", first, "--reason", "old").stdout
    assert '"reason":"old (by ' in (archive / "chain.jsonl").read_text()
    assert {"good": True, "problems": []} == told("verify")


def test_removing_needs_exactly_one_choice(archive: Path) -> None:
    """Neither everything nor two different things can be meant by accident."""
    for words in ([], ["last", "--older-than", "3"]):
        with pytest.raises(UsageError):
            call("remove", *words, "--reason", "x")
    assert "0 records removed\n" == call("remove", "--older-than", "3", "--reason", "x").stdout


def test_a_dead_run_is_recovered(archive: Path) -> None:
    """A run whose writer is gone is sealed as interrupted."""
    begin(archive).release()
    (found,) = told("recover")["recovered"]
    assert ("interrupted", [], "") == (found["status"], found["open_intents"], found["problem"])
    assert "interrupted" == Record.read(Path(found["path"])).status


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="ssh-keygen is not installed")
def test_verify_asks_for_the_catalogues_signers(archive: Path, tmp_path: Path) -> None:
    """With trusted keys in the catalogue a signed record names who signed, and an unsigned one is not good."""
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True, timeout=20)
    kind, public = key.with_suffix(".pub").read_text().split()[:2]
    (tmp_path / "allowed").write_text(f'ada namespaces="runbook-record" {kind} {public}\n')
    (tmp_path / "runbook.toml").write_text('[records]\nsigning_key = "key"\nallowed_signers = "allowed"\n')
    begin(archive).seal("succeeded", "healthy", sign=signer(key))
    assert "signed by ada" in call("verify", ids(archive)[-1]).stdout
    unsigned = call("verify", ids(archive)[0])
    assert (7, True) == (unsigned.exit_code, "NOT GOOD" in unsigned.stdout)
    begin(archive).release()
    recovered = Path(told("recover")["recovered"][0]["path"])
    assert "signed by ada" in call("verify", recovered.name).stdout


def test_a_hand_edited_record_is_named_with_file_and_event(archive: Path) -> None:
    """Verifying tells which file and which event was changed."""
    journal = next(archive.glob(f"*/*/*/{ids(archive)[0]}/events.jsonl"))
    journal.write_bytes(journal.read_bytes().replace(b'"healthy"', b'"failing"', 1))
    done = call("verify", ids(archive)[0])
    assert 7 == done.exit_code
    assert "events.jsonl, event 1" in done.stdout


def test_records_starts_without_heavy_imports() -> None:
    """Asking for help imports neither the executor nor a vendor's library."""
    code = "import sys; import runbook_lib.cli.records; print([m for m in ('papermill', 'httpx') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert "[]\n" == done.stdout
