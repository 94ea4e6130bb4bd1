"""Real local servers whose answers are named failures."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from runbook_lib.clients._kubernetes import ApiServer
from runbook_lib.clients._source import SourceClient
from runbook_lib.clients._tape import LiveTape
from runbook_lib.errors import SourceError
from runbook_lib.lab.postgres import Postgres
from runbook_lib.lab.process import Process, accepts_connections
from runbook_lib.lab.valkey import Valkey
from runbook_lib.model import Endpoint, Evidence, Gap, Window
from runbook_lib.model.times import parse_rfc3339

from .answering import Answerer, Handler, Server

WORKLOAD = {
    "namespace": "production",
    "deployment": "api-deployment",
    "container": "api",
    "release": "api-release",
    "selector": {"namespace": "production", "service": "api"},
    "health_path": "/health",
    "status_path": "/api/v1/status",
}


@pytest.fixture
def answerer() -> Iterator[Answerer]:
    """A local HTTP server that answers as the test says."""
    server = Server(("127.0.0.1", 0), Handler)
    owner = Answerer(server.server_address[1], server)
    server.owner, server.released = owner, threading.Event()  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield owner
    server.released.set()  # type: ignore[attr-defined]
    server.shutdown()
    server.server_close()
    thread.join()


@dataclass
class Kept:
    """A live tape with everything it kept."""

    results: list[Evidence | Gap] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.tape = LiveTape(self.results.append)


@pytest.fixture
def kept() -> Kept:
    """A live tape that keeps its results in a list."""
    return Kept()


@pytest.fixture
def window() -> Window:
    """Ten minutes that every client test asks about."""
    return Window.last(10, parse_rfc3339("2026-01-02T03:10:00Z"))


Make = Callable[..., Any]


@pytest.fixture
def make(kept: Kept, window: Window) -> Iterator[Make]:
    """Builds a client of a class on the kept tape: ``make(Client, {settings}, secrets={}, **more)``."""
    made: list[SourceClient] = []

    def build(
        client: type[SourceClient],
        settings: Mapping[str, Any] | None,
        *,
        secrets: Mapping[str, str] | None = None,
        workload: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> SourceClient:
        endpoint = None if settings is None else Endpoint(client.source, settings, secrets or {})
        options = {"tape": kept.tape, "window": window, "environment": "test", **more}
        made.append(client(endpoint=endpoint, workload={**WORKLOAD, **(workload or {})}, **options))
        return made[-1]

    yield build
    for one in made:
        one.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def dead_port() -> int:
    """A port on which nobody listens."""
    return _free_port()


@pytest.fixture(scope="session")
def free_port() -> Callable[[], int]:
    """Finds ports on which nobody listens."""
    return _free_port


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """A running PostgreSQL with the lab's roles and a small data set."""
    server = Postgres(tmp_path_factory.mktemp("postgres"))
    server.start()
    try:
        server.prepare(customers=2_000, orders=10_000)
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    """A running Valkey with the lab's users."""
    server = Valkey(tmp_path_factory.mktemp("valkey"))
    server.start()
    try:
        yield server
    finally:
        server.stop()


class Proxy:
    """A TCP proxy that can swallow requests, or drop the answer to a request that has reached the server.

    Args:
        port: of the server on 127.0.0.1 behind it.
    """

    def __init__(self, port: int) -> None:
        self.target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.connections = 0
        #: Requests that hold these bytes are forwarded and counted; their answer is replaced by a reset.
        self.drop_after = b""
        self.drop_all = False
        self.matched = 0
        self.swallow = False
        self._sockets: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self.connections += 1
                server = socket.create_connection(("127.0.0.1", self.target))
                self._sockets += [client, server]
                threading.Thread(target=self._requests, args=(client, server), daemon=True).start()
                threading.Thread(target=self._answers, args=(client, server), daemon=True).start()

    def _requests(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(65536):
                if self.drop_after:
                    self.matched += data.count(self.drop_after)
                if not self.swallow:
                    server.sendall(data)
            server.shutdown(socket.SHUT_WR)

    def _answers(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(65536):
                if self.matched or self.drop_all:
                    # SO_LINGER 0 makes close() send RST instead of FIN.
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
                    break
                client.sendall(data)
            client.shutdown(socket.SHUT_RDWR)
            client.close()

    def close(self) -> None:
        """Stop listening and close every connection."""
        for one in (self._listener, *self._sockets):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()


@pytest.fixture
def proxy() -> Iterator[Callable[[int], Proxy]]:
    """Starts a proxy before a port."""
    made: list[Proxy] = []

    def start(port: int) -> Proxy:
        made.append(Proxy(port))
        return made[-1]

    yield start
    for one in made:
        one.close()


@dataclass(frozen=True)
class Vendors:
    """A running vendors process of the lab: its address and the names of the secrets that it accepts."""

    url: str
    folder: Path

    def secret(self, name: str) -> str:
        """The reference of a secret."""
        return f"file:{self.folder / 'secrets' / name}"

    def sent(self, vendor: str, kind: str = "") -> list[dict[str, Any]]:
        """What the vendor was sent, oldest first."""
        found: list[dict[str, Any]] = httpx.get(
            f"{self.url}/lab/inbox", params={"vendor": vendor, "kind": kind}, timeout=5
        ).json()
        return found


@pytest.fixture(scope="session")
def vendors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vendors]:
    """The lab's vendors process with two images in its registry."""
    folder, port = tmp_path_factory.mktemp("vendors"), _free_port()
    known = {
        "port": port,
        "directory": str(folder),
        "secrets_directory": str(folder / "secrets"),
        "images": ["v1", "v2"],
    }
    (folder / "config.json").write_text(json.dumps(known))
    argv = [sys.executable, "-m", "runbook_lib.lab.vendors", "--config", str(folder / "config.json")]
    process = Process.start("vendors", argv, log_path=folder / "log")
    try:
        process.wait_until(lambda: accepts_connections(port), 20)
        # The webhook's secret in the catalogue is the whole address.
        path = (folder / "secrets" / "slack_webhook_path").read_text()
        (folder / "secrets" / "slack_webhook_url").write_text(f"http://127.0.0.1:{port}/slack/{path}")
        yield Vendors(f"http://127.0.0.1:{port}", folder)
    finally:
        process.stop()


@pytest.fixture(scope="session")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The kubeconfig of an administrator of the lab's API server."""
    folder, port = tmp_path_factory.mktemp("cluster"), _free_port()
    argv = [sys.executable, "-m", "runbook_lib.lab.controlplane", "--port", str(port), "--dir", str(folder)]
    process = Process.start("controlplane", argv, log_path=folder / "log")
    kubeconfig = folder / "admin.kubeconfig"
    try:
        process.wait_until(lambda: _serves(kubeconfig), 30)
        yield kubeconfig
    finally:
        process.stop()


def _serves(kubeconfig: Path) -> bool:
    if kubeconfig.exists():
        with contextlib.suppress(SourceError):
            return bool(ApiServer(str(kubeconfig), "", connect_seconds=1, total_seconds=1).get("/version"))
    return False


@pytest.fixture(scope="session", params=["lab", "real"])
def kubeconfig_of_cluster(request: pytest.FixtureRequest) -> Path:
    """An administrator's kubeconfig: of the lab's API server, and of the one that RUNBOOK_TEST_CLUSTER names."""
    if request.param == "lab":
        found: Path = request.getfixturevalue("emulator")
        return found
    named = os.environ.get("RUNBOOK_TEST_CLUSTER")
    if not named:
        pytest.skip("RUNBOOK_TEST_CLUSTER names no kubeconfig")
    return Path(named)
