"""A real S3 server in a process of its own: moto over HTTP, from a virtual environment of its own.

Its libraries cannot be installed beside this one's: they want an older python-dateutil than the Kubernetes client.
"""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

LOCK = Path(__file__).with_name("moto-requirements.lock")
INSTALL_SECONDS, START_SECONDS = 150, 60


@dataclass
class Server:
    """A running S3 server.

    Args:
        url: its address.
        process: its process.
    """

    url: str
    process: subprocess.Popen[bytes]

    def bucket(self, name: str) -> str:
        """Make a bucket and give an archive's address in it."""
        urllib.request.urlopen(urllib.request.Request(f"{self.url}/{name}", method="PUT"), timeout=30).close()
        return f"s3://{name}/records"

    def objects(self, name: str) -> str:
        """The listing of a bucket, as XML."""
        with urllib.request.urlopen(f"{self.url}/{name}?list-type=2", timeout=30) as answer:
            text: str = answer.read().decode()
            return text


def python() -> Path:
    """The interpreter of the server's environment, made where it is not there yet; skips where it cannot be made."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", "") or "~/.cache").expanduser() / "runbook-tests"
    folder = cache / f"moto-{hashlib.sha256(LOCK.read_bytes()).hexdigest()[:12]}"
    found = folder / "bin" / "python"
    if (folder / "complete").is_file():
        return found
    venv.create(folder, with_pip=False, clear=True)
    argv = [sys.executable, "-m", "pip", "--python", str(found), "install", "--quiet", "--no-input", "--require-hashes"]
    try:
        done = subprocess.run([*argv, "-r", str(LOCK)], capture_output=True, timeout=INSTALL_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        pytest.skip("the S3 server could not be installed in time")
    if done.returncode:
        pytest.skip(f"the S3 server cannot be installed: {done.stderr.decode()[-300:]}")
    (folder / "complete").touch()
    return found


@contextmanager
def serve(log: Path, port: int = 0) -> Iterator[Server]:
    """Run the server until the block ends.

    Args:
        log: where it writes.
        port: a free one by default.
    """
    if not port:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
    argv = [str(python()), "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with log.open("ab") as output, subprocess.Popen(argv, stdout=output, stderr=output) as process:
        try:
            server = Server(f"http://127.0.0.1:{port}", process)
            _wait(server, log)
            yield server
        finally:
            process.kill()


def _wait(server: Server, log: Path) -> None:
    limit = time.monotonic() + START_SECONDS
    while time.monotonic() < limit and server.process.poll() is None:
        try:
            urllib.request.urlopen(server.url, timeout=5).close()
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise AssertionError(f"the S3 server did not start: {log.read_text()[-500:]}")
