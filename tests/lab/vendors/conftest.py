"""One vendors process for the tests of this folder."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from runbook_lib.lab.process import Process, accepts_connections, free_port


@dataclass(frozen=True)
class Vendors:
    """A running vendors process: its client, the credentials it accepts and its folder."""

    client: httpx.Client
    secrets: dict[str, str]
    directory: Path

    def sent(self, vendor: str, kind: str = "") -> list[dict[str, object]]:
        """What the vendor was sent, oldest first."""
        answer: list[dict[str, object]] = self.client.get("/lab/inbox", params={"vendor": vendor, "kind": kind}).json()
        return answer


def start_vendors(directory: Path, **configuration: object) -> tuple[Process, int]:
    """Start the process on a free port and wait until it listens."""
    port = free_port()
    base = {"port": port, "directory": str(directory), "secrets_directory": str(directory / "secrets")}
    config = directory / "vendors.json"
    config.write_text(json.dumps({**base, **configuration}))
    argv = [sys.executable, "-m", "runbook_lib.lab.vendors", "--config", str(config)]
    process = Process.start("vendors", argv, log_path=directory / "vendors.log")
    process.wait_until(lambda: accepts_connections(port), 20)
    return process, port


@pytest.fixture(scope="module")
def vendors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vendors]:
    """A vendors process with two images, pod logs and no metrics store."""
    directory = tmp_path_factory.mktemp("vendors")
    (directory / "pods").mkdir()
    process, port = start_vendors(
        directory,
        images=["v1", "v2"],
        log_directories=[str(directory / "pods")],
        metrics_url=f"http://127.0.0.1:{free_port()}",
    )
    try:
        secrets = {path.name: path.read_text() for path in (directory / "secrets").iterdir()}
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10) as client:
            yield Vendors(client, secrets, directory)
    finally:
        process.stop()
