"""Signatures by ``ssh-keygen -Y``: no key management of our own, and anyone with OpenSSH can check them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from runbook_lib.errors import RecordError

#: What a signature over a record is made for; a signature for another purpose does not pass.
RECORD_NAMESPACE = "runbook-record"
#: What a signature over an approval is made for.
APPROVAL_NAMESPACE = "runbook-approval"
_TIMEOUT_SECONDS = 10


def sign(content: bytes, *, key: Path, namespace: str = RECORD_NAMESPACE) -> bytes:
    """An armoured signature.

    Args:
        content: what is signed.
        key: a private key without passphrase, or the public key of one that an agent holds.
        namespace: what the signature is made for.

    Raises:
        RecordError: ``ssh-keygen`` is missing or refuses the key.
    """
    return _run(["-Y", "sign", "-q", "-n", namespace, "-f", str(key)], content, f"cannot sign with {key}")


def check(
    content: bytes,
    signature: bytes,
    *,
    allowed_signers: Path,
    folder: Path,
    namespace: str = RECORD_NAMESPACE,
    signer: str = "",
) -> str:
    """Who signed.

    Args:
        content: what was signed.
        signature: the armoured signature.
        allowed_signers: file of trusted public keys, see ssh-keygen(1).
        folder: a private folder for the signature; ``ssh-keygen`` reads it from a file only.
        namespace: what it must have been made for.
        signer: who must have made it; empty for any trusted person.

    Raises:
        RecordError: no trusted key made this signature over this content for this purpose.
    """
    place = folder / f"signature.{os.getpid()}"
    try:
        place.write_bytes(signature)
        common = ["-f", str(allowed_signers), "-s", str(place)]
        problem = f"no key in {allowed_signers} made this signature"
        principals = (
            [signer] if signer else _run(["-Y", "find-principals", *common], b"", problem).decode().splitlines()
        )
        if not principals:
            raise RecordError(problem)
        _run(["-Y", "verify", "-n", namespace, "-I", principals[0], *common], content, problem)
    except OSError as error:
        raise RecordError(f"{place}: the signature cannot be checked: {error.strerror}") from error
    finally:
        place.unlink(missing_ok=True)
    return principals[0]


def public_key(key: Path) -> str:
    """The public half of a key as ``type base64``.

    Args:
        key: a private key, or a public one.

    Raises:
        RecordError: there is no such key, or it needs a passphrase and has no public half beside it.
    """
    beside = key if key.suffix == ".pub" else key.with_name(f"{key.name}.pub")
    try:
        text = beside.read_text(encoding="utf-8") if beside.is_file() else ""
    except (OSError, UnicodeDecodeError) as error:
        raise RecordError(f"{beside}: cannot be read: {error}") from error
    text = text or _run(["-y", "-f", str(key)], b"", f"{key} is no key").decode()
    return " ".join(text.split()[:2])


def principal(key: Path, allowed_signers: Path) -> str:
    """The first name that a file of trusted public keys gives to a key; empty when it does not know the key.

    Raises:
        RecordError: the key or the file cannot be read.
    """
    try:
        lines = allowed_signers.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise RecordError(f"{allowed_signers}: cannot be read: {error.strerror}") from error
    wanted = f" {public_key(key)} "
    for line in lines:
        if not line.startswith("#") and wanted in f"{' '.join(line.split())} ":
            return line.split()[0].partition(",")[0]
    return ""


def configured_key() -> Path | None:
    """The key that a person signs their commits with (``git config user.signingkey``); None when there is none."""
    try:
        done = subprocess.run(
            ["git", "config", "--type=path", "user.signingkey"],  # noqa: S607 - found on PATH like every tool
            capture_output=True, text=True, timeout=_TIMEOUT_SECONDS, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    path = Path(done.stdout.strip())
    return path if done.returncode == 0 and path.is_file() else None


def _run(arguments: list[str], content: bytes, problem: str) -> bytes:
    # A session of its own has no terminal to ask for a passphrase on; it fails instead of waiting.
    try:
        done = subprocess.run(
            ["ssh-keygen", *arguments],  # noqa: S607 - found on PATH like every tool of the runbook
            input=content,
            capture_output=True,
            timeout=_TIMEOUT_SECONDS,
            check=False,
            start_new_session=True,
            env={**os.environ, "SSH_ASKPASS_REQUIRE": "never", "LC_ALL": "C"},
        )
    except FileNotFoundError as error:
        raise RecordError(f"{problem}: ssh-keygen is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise RecordError(f"{problem}: ssh-keygen gave no answer within {_TIMEOUT_SECONDS} s") from error
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise RecordError(f"{problem}{': ' + said[-1] if said else ''}")
    return done.stdout
