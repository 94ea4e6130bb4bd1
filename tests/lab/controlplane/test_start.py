"""How the control plane starts and ends."""

from __future__ import annotations

import json
import ssl
import urllib.request
from pathlib import Path

from .servers import start_emulator


def test_the_certificate_is_trusted_and_names_loopback(tmp_path: Path) -> None:
    """A client that trusts the kubeconfig's authority verifies the connection, host name included."""
    server = start_emulator(tmp_path, "--no-controllers")
    try:
        context = ssl.create_default_context(cafile=str(tmp_path / "tls.crt"))
        with urllib.request.urlopen(f"{server.url}/readyz", context=context, timeout=10) as answer:
            assert b"ok" == answer.read()
    finally:
        server.stop()


def test_secrets_are_private(tmp_path: Path) -> None:
    """Key and kubeconfig are readable by their owner only."""
    start_emulator(tmp_path, "--no-controllers").stop()
    assert [0o600] * 2 == [(tmp_path / name).stat().st_mode & 0o777 for name in ("tls.key", "admin.kubeconfig")]


def test_a_restart_keeps_certificate_and_users(tmp_path: Path) -> None:
    """A second start in the same folder is trusted by kubeconfigs of the first one."""
    start_emulator(tmp_path, "--no-controllers").stop()
    first = json.loads((tmp_path / "admin.kubeconfig").read_text())["clusters"][0]["cluster"][
        "certificate-authority-data"
    ]
    start_emulator(tmp_path, "--no-controllers").stop()
    second = json.loads((tmp_path / "admin.kubeconfig").read_text())["clusters"][0]["cluster"][
        "certificate-authority-data"
    ]
    assert first == second
