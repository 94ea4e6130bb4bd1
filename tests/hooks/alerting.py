"""Real servers of the way from a rule to the hook, each a process of its own on a free port."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ALERTMANAGER = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")
PROMETHEUS = shutil.which("prometheus")


def free_port() -> int:
    """A port that nobody has."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(holds: Callable[[], Any], seconds: float = 40) -> None:
    """Until something holds."""
    limit = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < limit, "it did not come to hold in time"
        time.sleep(0.1)


def answers(url: str) -> bool:
    """Whether something answers there."""
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return int(answer.status) == 200
    except OSError:
        return False


@contextmanager
def serving(argv: Sequence[str], ready: str, **more: Any) -> Iterator[None]:
    """A server that answers at ``ready``; stopped at the end."""
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **more) as process:
        try:
            wait_for(lambda: answers(ready))
            yield
        finally:
            process.terminate()
            process.wait(timeout=40)


@contextmanager
def alertmanager(config: Path, data: Path, port: int) -> Iterator[str]:
    """The address of an Alertmanager without a cluster."""
    assert ALERTMANAGER is not None
    address = f"127.0.0.1:{port}"
    argv = [ALERTMANAGER, f"--config.file={config}", f"--storage.path={data}",
            f"--web.listen-address={address}", "--cluster.listen-address="]  # fmt: skip
    with serving(argv, f"http://{address}/-/ready"):
        yield f"http://{address}"


@contextmanager
def prometheus(config: Path, data: Path, port: int) -> Iterator[str]:
    """The address of a Prometheus."""
    assert PROMETHEUS is not None
    address = f"127.0.0.1:{port}"
    argv = [PROMETHEUS, f"--config.file={config}", f"--storage.tsdb.path={data}", f"--web.listen-address={address}"]
    with serving(argv, f"http://{address}/-/ready"):
        yield f"http://{address}"
