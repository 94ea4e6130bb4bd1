"""Signed seals: a trusted key, this content, this purpose, or nothing."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from runbook_lib.errors import RecordError
from runbook_lib.record.folder import RecordFolder
from runbook_lib.record.recover import recover
from runbook_lib.record.signature import signature_check, signer
from runbook_lib.record.verify import verify

pytestmark = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="ssh-keygen is not installed")
Start = Callable[..., RecordFolder]
SCRIPT = Path(__file__).parents[2] / "docs" / "verify_record.py"


def make_key(folder: Path, name: str, passphrase: str = "") -> Path:
    key = folder / name
    argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-C", name, "-f", str(key)]
    subprocess.run(argv, check=True, timeout=20)
    return key


@pytest.fixture
def key(tmp_path: Path) -> Path:
    return make_key(tmp_path, "ada")


@pytest.fixture
def allowed(tmp_path: Path, key: Path) -> Path:
    """Trusts ada for records only."""
    public = key.with_suffix(".pub").read_text().split()
    target = tmp_path / "allowed_signers"
    target.write_text(f'ada@example.com namespaces="runbook-record" {public[0]} {public[1]}\n')
    return target


@pytest.fixture
def signed(start: Start, key: Path) -> Path:
    return start().seal("succeeded", "healthy", sign=signer(key))


def test_a_signed_record_names_its_signer(signed: Path, allowed: Path) -> None:
    """Verifying with the trusted keys says who signed."""
    found = verify(signed, check_signature=signature_check(allowed))
    assert ("ada@example.com", ()) == (found.signer, found.problems)


def test_an_unsigned_record_is_a_problem_when_keys_are_given(start: Start, allowed: Path) -> None:
    """With trusted keys, a record without a signature does not verify."""
    found = verify(start().seal("succeeded", "healthy"), check_signature=signature_check(allowed))
    assert ["seal.json.sig"] == [one.file for one in found.problems]


def test_another_key_is_not_trusted(start: Start, tmp_path: Path, allowed: Path) -> None:
    """A record signed anew with a key nobody trusts does not verify."""
    record = start().seal("succeeded", "healthy", sign=signer(make_key(tmp_path, "mallory")))
    found = verify(record, check_signature=signature_check(allowed))
    assert ["seal.json.sig"] == [one.file for one in found.problems]


def test_a_removed_signature_is_seen_without_keys(signed: Path) -> None:
    """The manifest says that the record was signed, so a missing signature is a problem for anyone."""
    (signed / "seal.json.sig").unlink()
    assert ["seal.json.sig"] == [one.file for one in verify(signed).problems]


def test_a_signature_for_another_purpose_does_not_pass(signed: Path, key: Path, allowed: Path) -> None:
    """A good signature over the seal made in another namespace is refused."""
    argv = ["ssh-keygen", "-Y", "sign", "-q", "-n", "file", "-f", str(key)]
    content = (signed / "seal.json").read_bytes()
    other = subprocess.run(argv, input=content, capture_output=True, check=True, timeout=20).stdout
    (signed / "seal.json.sig").write_bytes(other)
    assert verify(signed, check_signature=signature_check(allowed)).good is False


@pytest.mark.parametrize("state", ["good", "unsigned", "foreign"])
def test_the_docs_script_agrees(start: Start, key: Path, allowed: Path, tmp_path: Path, state: str) -> None:
    """The stdlib-only script reaches the same answer about a signature."""
    spec = importlib.util.spec_from_file_location("verify_record", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    chosen = {"good": key, "foreign": make_key(tmp_path, "eve") if state == "foreign" else key}.get(state)
    record = start().seal("succeeded", "healthy", sign=signer(chosen) if chosen else None)
    ours = verify(record, check_signature=signature_check(allowed)).good
    assert (ours, state == "good") == (not list(script.problems(record, str(allowed))), ours)


def test_a_key_with_a_passphrase_fails_instead_of_asking(start: Start, tmp_path: Path) -> None:
    """A key that would need a person to type is an error, and the record stays unsealed."""
    folder = start()
    with pytest.raises(RecordError, match="cannot sign"):
        folder.seal("succeeded", "healthy", sign=signer(make_key(tmp_path, "locked", "correct horse")))
    assert folder.path.is_dir()


def test_a_seal_that_failed_on_its_key_goes_on(start: Start, tmp_path: Path, key: Path, allowed: Path) -> None:
    """After a failed signature the same record is sealed by recovery with a good key."""
    folder = start()
    with pytest.raises(RecordError):
        folder.seal("attention", "degraded", sign=signer(tmp_path / "no-such-key"))
    folder.release()
    found = recover(folder.path, sign=signer(key))
    checked = verify(found.path, check_signature=signature_check(allowed))
    assert ("attention", ()) == (found.status, checked.problems)


def test_no_ssh_keygen_is_said(start: Start, key: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without ssh-keygen the error names the tool."""
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(RecordError, match="ssh-keygen is not installed"):
        start().seal("succeeded", "healthy", sign=signer(key))
