"""A record replays without its systems, without a network, and says what came out differently."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from runbook_lib.clients._tape import ReplayTape
from runbook_lib.clients.prometheus import PrometheusClient
from runbook_lib.headless.replay import Replayed, replay
from runbook_lib.headless.runner import execute
from runbook_lib.model import Window
from runbook_lib.model.times import parse_rfc3339
from runbook_lib.record.record import Record
from runbook_lib.record.verify import verify_archive
from runbook_lib.run.opening import entries, replayed_end

from .conftest import ROOT, notebook

PARAMETERS = 'service: str = "api"\nenvironment: str = "shop"\n'
START = (
    "from runbook_lib import Run, analysis\n"
    'run = Run.start("tiny", service=service, environment=environment, minutes=15)\n'
    "latency = run.metrics.latency_seconds()\n"
)
NOTE = "run.note(analysis.objective_breached(latency, run.objective))\nrun.close()"
COMMAND = "import sys; from runbook_lib.cli import main; sys.argv = ['runbook', *sys.argv[1:]]; main()"
CATALOG = """
[services.api]
description = "x"
owner = "x"
workload = { selector = { service = "api" } }
objectives = { latency = { kind = "latency", target = 0.95, threshold_seconds = 0.2 } }
[environments.shop]
include = "systems.toml"
"""


class _Metrics(BaseHTTPRequestHandler):
    """A metrics server on which latency is 0.5 s and which refuses everything about errors."""

    def do_GET(self) -> None:
        self._answer(parse_qs(urlsplit(self.path).query))

    def do_POST(self) -> None:
        self._answer(parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode()))

    def _answer(self, asked: dict[str, list[str]]) -> None:
        refused = 'code=~"5' in asked.get("query", [""])[0] or "status" in asked.get("query", [""])[0]
        first, last = (float(asked.get(name, ["0"])[0]) for name in ("start", "end"))
        values = [[at, "0.5"] for at in range(int(first), int(last), 15)]
        series: dict[str, Any] = {"resultType": "matrix", "result": [{"metric": {"service": "api"}, "values": values}]}
        body = json.dumps({"status": "success", "data": series}).encode()
        self.send_response(403 if refused else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@dataclass
class Recorded:
    """A sealed record whose systems are gone.

    Args:
        folder: holds the catalogue, the runbook and the archive.
        record: the record.
        port: where the metrics server was.
    """

    folder: Path
    record: Path
    port: int


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    """One run on a real server, which ends afterwards together with the file that says where it was."""
    folder = tmp_path_factory.mktemp("recorded")
    (folder / "notebooks").mkdir()
    path = notebook(
        folder / "notebooks" / "tiny.ipynb",
        START + "errors = run.metrics.error_ratio()",
        NOTE,
        "1",
        parameters=PARAMETERS,
    )
    (folder / "runbook.toml").write_text(CATALOG)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Metrics)
    port = server.server_address[1]
    (folder / "systems.toml").write_text(f'[prometheus]\nurl = "http://127.0.0.1:{port}"\n')
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        result = execute(path, catalog=folder / "runbook.toml", archive=str(folder / "outputs"))
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    (folder / "systems.toml").unlink()
    return Recorded(folder, result.record, port)


@pytest.fixture(scope="module")
def other(recorded: Recorded) -> Replayed:
    """The record, replayed with a runbook that asks something else and then opens a connection."""
    path = notebook(
        recorded.folder / "other.ipynb",
        START + "traffic = run.metrics.requests_per_second()",
        NOTE,
        f"import socket\nsocket.create_connection(('127.0.0.1', {recorded.port}))",
        parameters=PARAMETERS,
    )
    archive = str(recorded.folder / "replays")
    return replay(recorded.record, archive=archive, notebook=path, catalog=recorded.folder / "runbook.toml")


def test_a_replay_reaches_the_same_without_a_network(recorded: Recorded) -> None:
    """With its systems and their addresses gone, the command finds the same and leaves nothing in the archive."""
    assert "failing" == Record.read(recorded.record).verdict
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, "records", "replay", "last", "--json"],
        cwd=recorded.folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert 0 == done.returncode, done.stderr + done.stdout
    told = json.loads(done.stdout)
    assert (True, [], "failing", False) == (
        told["same"],
        told["differences"],
        told["verdict"],
        told["runbook_changed"],
    )
    assert [recorded.record] == list((recorded.folder / "outputs").glob("*/*/*/*"))


def test_a_record_of_an_earlier_day_replays(tmp_path: Path) -> None:
    """A record that was made long ago, by an earlier version and elsewhere, verifies and replays without a network."""
    kept = tmp_path / "outputs"
    shutil.copytree(Path(__file__).parent / "kept" / "outputs", kept)
    (record,) = kept.glob("*/*/*/*")
    assert [True] == [one.good for one in verify_archive(kept)]
    started = Record.read(record).started
    assert started is not None
    assert started < parse_rfc3339("2026-11-26T00:00:00Z")
    (tmp_path / "runbook.toml").write_text(CATALOG)
    cells = (START + "errors = run.metrics.error_ratio()", NOTE, "1")
    path = notebook(tmp_path / "tiny.ipynb", *cells, parameters=PARAMETERS)
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, "records", "replay", "last", "--notebook", str(path), "--json"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert 0 == done.returncode, done.stderr + done.stdout
    told = json.loads(done.stdout)
    assert (True, [], "failing") == (told["same"], told["differences"], told["verdict"])


def test_a_replay_lists_what_is_not_answered_and_not_read(other: Replayed) -> None:
    """A question that the record does not hold, and an answer that nobody asked for, are told by name."""
    told = {(one.area, one.name.split()[0]) for one in other.differences}
    assert ("unanswered", "prometheus.requests_per_second") in told
    assert ("unread", "prometheus.error_ratio") in told
    assert other.changed


def test_a_replay_opens_no_connection(other: Replayed) -> None:
    """What a cell tries beside the tape is refused."""
    (cell,) = (one for one in other.differences if one.area == "cell")
    assert ("three", "ok") == (cell.name, cell.left)
    assert "PermissionError" in cell.right


def test_a_replay_says_that_it_is_one(other: Replayed) -> None:
    """The record of a replay can be told from that of a run."""
    assert "replay" == Record.read(other.result.record).run["mode"]


def test_a_record_is_a_test_fixture(recorded: Recorded) -> None:
    """A client on a record answers as the system did, without a kernel and without an endpoint."""
    client = PrometheusClient(
        endpoint=None,
        tape=ReplayTape(entries(recorded.record)),
        window=Window.last(15, end=replayed_end(recorded.record)),
        workload={"selector": {"service": "api"}},
    )
    assert 0.5 == client.latency_seconds().latest.value


OFFLINE = """
import subprocess, sys
from runbook_lib.headless.offline import block
assert block()
refused = []
try:
    import psycopg
    psycopg.connect("host=127.0.0.1 port={port} connect_timeout=2")
except psycopg.OperationalError:
    refused.append("C library")
import socket
socket.socketpair()
try:
    socket.create_connection(("127.0.0.1", {port}))
except PermissionError:
    refused.append("Python")
child = "import socket; socket.create_connection(('127.0.0.1', {port}))"
if b"PermissionError" in subprocess.run([sys.executable, "-I", "-c", child], stderr=subprocess.PIPE).stderr:
    refused.append("child")
print(refused)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux refuses sockets to C libraries and children")
def test_offline_holds_for_libraries_and_children() -> None:
    """A process without network has none in C libraries and helper programs either; sockets in files stay."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Metrics) as server:
        code = OFFLINE.format(port=server.server_address[1])
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
        )
    assert "['C library', 'Python', 'child']\n" == done.stdout, done.stderr
