"""Signing seals and checking who signed them, with keys in files."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runbook_lib.record.folder import Signer
    from runbook_lib.record.verify import SignatureCheck


def signer(key: str | Path | None) -> Signer | None:
    """What ``RecordFolder.seal(sign=...)`` takes: signs with the key in this file.

    Args:
        key: a private key without passphrase, or the public key of one that an agent holds; None signs nothing.
    """
    if key is None:
        return None
    from runbook_lib.clients import ssh_keygen

    return partial(ssh_keygen.sign, key=Path(key).expanduser())


def signature_check(allowed_signers: str | Path | None) -> SignatureCheck | None:
    """What ``verify(check_signature=...)`` takes: trusts the keys in this file.

    Args:
        allowed_signers: lines such as ``ada namespaces="runbook-record" ssh-ed25519 AAAA...``, see ssh-keygen(1);
            None checks no signature.
    """
    if allowed_signers is None:
        return None
    from runbook_lib.clients import ssh_keygen

    def check(content: bytes, signature: bytes) -> str:
        with tempfile.TemporaryDirectory() as folder:
            return ssh_keygen.check(
                content, signature, allowed_signers=Path(allowed_signers).expanduser(), folder=Path(folder)
            )

    return check
