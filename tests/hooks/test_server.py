"""The receiver over real connections: bounds, signatures, routes, and what it answers."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest

from runbook_lib.catalog import Catalog
from runbook_lib.errors import UsageError
from runbook_lib.headless.notebooks import named_in
from runbook_lib.hooks import server as servers
from runbook_lib.hooks.queue import Queue
from runbook_lib.hooks.server import MOST_BYTES, Receiver
from runbook_lib.hooks.settings import Settings
from tests.hooks.deliveries import alert, alertmanager, pagerduty

FIRING = alertmanager(alert("Slow", "2026-01-01T00:00:00Z"))
Serve = Callable[[Settings], Receiver]


@pytest.fixture
def serve(known: Catalog, queue: Queue) -> Iterator[Serve]:
    """Starts receivers on free ports."""
    running: list[Receiver] = []

    def begin(settings: Settings) -> Receiver:
        made = Receiver(("127.0.0.1", 0), settings, known, queue, lambda: None)
        threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        running.append(made)
        return made

    yield begin
    for one in running:
        one.shutdown()
        one.server_close()


def post(receiver: Receiver, path: str, body: bytes, **headers: str) -> tuple[int, dict[str, Any]]:
    """Deliver and read the answer."""
    connection = http.client.HTTPConnection(*receiver.server_address[:2], timeout=10)
    try:
        connection.request("POST", path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def test_a_delivery_is_queued_once(serve: Serve, settings: Settings, queue: Queue) -> None:
    """A delivery is answered when it is on the disk; a repeat names the same incident and queues nothing."""
    receiver = serve(settings)
    assert (202, {"incident": 1, "queued": ["run"]}) == post(receiver, "/alertmanager", FIRING)
    assert (202, {"incident": 1, "queued": []}) == post(receiver, "/alertmanager", FIRING)
    assert ["high_latency"] == [job.runbook for job in queue.jobs()]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [("/alertmanager", b"{}", 400), ("/nothing", FIRING, 404), ("/alertmanager", b" " * (MOST_BYTES + 1), 413),
     ("/pagerduty", pagerduty("incident.triggered"), 403)],
    ids=["shape", "path", "size", "no-secret"],
)  # fmt: skip
def test_refused(serve: Serve, settings: Settings, queue: Queue, path: str, body: bytes, status: int) -> None:
    """What cannot be a delivery is refused with a reason, and queues nothing."""
    found, answer = post(serve(settings), path, body)
    assert (status, True) == (found, bool(answer["error"]))
    assert () == queue.jobs()


def test_a_body_without_a_length(serve: Serve, settings: Settings) -> None:
    """A body of unknown length is refused before it is read."""
    receiver = serve(settings)
    with socket.create_connection(receiver.server_address[:2], timeout=10) as connection:
        connection.sendall(b"POST /alertmanager HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        assert b"411" in connection.recv(4096).splitlines()[0]


def test_a_slow_sender_is_hung_up_on(serve: Serve, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sender that stops in the middle of its body does not hold a place for ever."""
    monkeypatch.setattr(servers._Handler, "timeout", 0.3)
    receiver = serve(settings)
    with socket.create_connection(receiver.server_address[:2], timeout=10) as connection:
        connection.sendall(b"POST /alertmanager HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        assert b"" == connection.recv(4096)
    assert 202 == post(receiver, "/alertmanager", FIRING)[0]


def test_a_kept_connection_is_one_line(
    serve: Serve, settings: Settings, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A delivery is one line of the log; that its sender keeps the connection and falls silent is none."""
    monkeypatch.setattr(servers._Handler, "timeout", 0.3)
    with closing(http.client.HTTPConnection(*serve(settings).server_address[:2], timeout=10)) as connection:
        connection.request("POST", "/alertmanager", FIRING)
        connection.getresponse().read()
        assert b"" == connection.sock.recv(1)
    assert ["hook: POST /alertmanager 202"] == capfd.readouterr().err.splitlines()


def test_token(serve: Serve, settings: Settings, queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a token set, only a sender that shows it is heard; a token that cannot be read hears nobody."""
    receiver = serve(replace(settings, token="env:HOOK_TOKEN"))
    assert 503 == post(receiver, "/alertmanager", FIRING)[0]
    monkeypatch.setenv("HOOK_TOKEN", "open-sesame-1")
    assert 401 == post(receiver, "/alertmanager", FIRING, Authorization="Bearer open-sesame-2")[0]
    assert 401 == post(receiver, "/alertmanager", FIRING)[0]
    assert () == queue.jobs()
    assert 202 == post(receiver, "/alertmanager", FIRING, Authorization="Bearer open-sesame-1")[0]


def test_pagerduty_signature(serve: Serve, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A signed event of PagerDuty starts a run; the same with another body does not."""
    monkeypatch.setenv("PD_SECRET", "shared-with-pd")
    receiver = serve(replace(settings, pagerduty=("env:PD_SECRET",)))
    body = pagerduty("incident.triggered")
    good = "v1=" + hmac.new(b"shared-with-pd", body, hashlib.sha256).hexdigest()
    assert 401 == post(receiver, "/pagerduty", body + b" ", X_PagerDuty_Signature=good)[0]
    assert 202 == post(receiver, "/pagerduty", body, X_PagerDuty_Signature=good)[0]
    ping = pagerduty("pagey.ping")
    signature = "v1=" + hmac.new(b"shared-with-pd", ping, hashlib.sha256).hexdigest()
    assert 200 == post(receiver, "/pagerduty", ping, X_PagerDuty_Signature=signature)[0]


def test_not_on_loopback_without_a_token(known: Catalog, settings: Settings, queue: Queue) -> None:
    """A receiver that others can reach does not start without a token."""
    with pytest.raises(UsageError, match="token"):
        Receiver(("0.0.0.0", 0), settings, known, queue, lambda: None)


@pytest.mark.parametrize("service", ["unknown", "", "../../etc", "api; rm -rf /"])
def test_an_unknown_service_starts_nothing(serve: Serve, settings: Settings, queue: Queue, service: str) -> None:
    """A label never becomes anything but a name of the catalogue."""
    body = alertmanager(alert("Slow", "2026-01-01T00:00:00Z", service=service))
    status, answer = post(serve(settings), "/alertmanager", body)
    assert (200, True) == (status, "catalogue" in answer["ignored"])
    assert () == queue.jobs()


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("runbook://high-latency", "high_latency"),
        ("https://wiki/x/High-Latency.md?a=b#c", "high_latency"),
        ("high_latency", "high_latency"),
        ("../../etc/passwd", "passwd"),
        ("$(id)", ""),
        ("", ""),
        ("https://wiki/", "wiki"),
        ("a" * 100, ""),
    ],
)
def test_a_wish_is_a_name(text: str, name: str) -> None:
    """An annotation can only wish for a name; whether it may be run is for the table to say."""
    assert name == named_in(text)


def test_only_listed_runbooks(settings: Settings, known: Catalog, serve: Serve, queue: Queue) -> None:
    """A runbook that the table does not list is never started, whoever wishes for it."""
    receiver = serve(replace(settings, runbooks=("preflight",), runbook="preflight"))
    status, answer = post(receiver, "/alertmanager", FIRING)
    assert (200, True) == (status, "high_latency" in answer["ignored"])
    assert () == queue.jobs()


def test_many_at_once(serve: Serve, settings: Settings, queue: Queue) -> None:
    """Forty senders at the same time: one run; whoever was told to come again did so."""
    receiver = serve(settings)
    answers: list[int] = []

    def deliver() -> None:
        for _ in range(50):
            answers.append(post(receiver, "/alertmanager", FIRING)[0])
            if answers[-1] != 503:
                return

    threads = [threading.Thread(target=deliver) for _ in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {202} == set(answers) - {503}
    assert 40 == answers.count(202)
    assert 1 == len(queue.jobs())


def test_health(serve: Serve, settings: Settings) -> None:
    """The receiver says that it is healthy and how many jobs wait."""
    receiver = serve(settings)
    connection = http.client.HTTPConnection(*receiver.server_address[:2], timeout=10)
    connection.request("GET", "/healthz")
    assert {"status": "healthy", "waiting": 0} == json.loads(connection.getresponse().read())
    connection.close()
