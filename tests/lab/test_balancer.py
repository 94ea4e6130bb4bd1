"""The balancer forwards request by request and tells failures apart."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest

from runbook_lib.lab.balancer import Balancer
from runbook_lib.lab.process import free_port


class Echo(BaseHTTPRequestHandler):
    """Answers with its port, or as the path asks."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path == "/chunked":
            self.send_response(200)
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"5\r\nhello\r\n6;x=1\r\n world\r\n0\r\nx-trailer: 1\r\n\r\n")
        elif self.path == "/until-end":
            self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\nno length")
            self.close_connection = True
        elif self.path == "/cut":
            self.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nshort")
            self.close_connection = True
        elif self.path == "/garbage":
            self.close_connection = True
        elif self.path == "/empty":
            self.send_response(204)
            self.end_headers()
        else:
            self.answer(str(self.server.server_address[1]).encode())

    def do_POST(self) -> None:
        if self.headers.get("transfer-encoding") == "chunked":
            data = b""
            while size := int(self.rfile.readline(), 16):
                data += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            data = self.rfile.read(int(self.headers["content-length"]))
        self.answer(data)

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.send_header("content-length", "1000")
        self.end_headers()

    def answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


@pytest.fixture
def endpoints() -> Iterator[list[tuple[str, int]]]:
    servers = [ThreadingHTTPServer(("127.0.0.1", 0), Echo) for _ in range(3)]
    for server in servers:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    yield [("127.0.0.1", server.server_address[1]) for server in servers]
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def balancer(endpoints: list[tuple[str, int]]) -> Iterator[Balancer]:
    balancer = Balancer()
    balancer.set_endpoints(endpoints)
    yield balancer
    balancer.close()


@pytest.fixture
def client(balancer: Balancer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://127.0.0.1:{balancer.port}", timeout=5) as client:
        yield client


def test_requests_of_one_connection_go_round(client: httpx.Client, endpoints: list[tuple[str, int]]) -> None:
    """Nine requests on a kept connection reach each of three endpoints three times."""
    seen = Counter(client.get("/").text for _ in range(9))

    assert {str(port): 3 for _, port in endpoints} == dict(seen)


def test_removed_endpoint_gets_no_request(
    client: httpx.Client, balancer: Balancer, endpoints: list[tuple[str, int]]
) -> None:
    """From the moment an endpoint is not ready, no request goes there."""
    balancer.set_endpoints(endpoints[1:])

    assert str(endpoints[0][1]) not in {client.get("/").text for _ in range(8)}


def test_no_endpoint_is_503(client: httpx.Client, balancer: Balancer) -> None:
    """A Service without endpoints says so at once."""
    balancer.set_endpoints([])

    assert (503, "no ready endpoint\n") == ((answer := client.get("/")).status_code, answer.text)


def test_refused_connection_is_502_and_sent_once(client: httpx.Client, balancer: Balancer) -> None:
    """A dead endpoint is a failed request, not a retried one."""
    balancer.set_endpoints([("127.0.0.1", free_port())])

    assert 502 == client.get("/").status_code
    deadline = time.monotonic() + 5
    while not balancer.counts.requests and time.monotonic() < deadline:
        time.sleep(0.01)  # counted when all is done, which the client does not wait for
    assert {502: 1} == dict(balancer.counts.requests)


def test_answer_that_never_comes_is_502(client: httpx.Client) -> None:
    """An endpoint that closes without an answer is a failed request."""
    assert 502 == client.get("/garbage").status_code


def test_cut_answer_is_seen_as_cut(client: httpx.Client) -> None:
    """A body that ends early does not look complete."""
    with pytest.raises(httpx.RemoteProtocolError):
        client.get("/cut")


@pytest.mark.parametrize(
    ("path", "text"), [("/chunked", "hello world"), ("/until-end", "no length"), ("/empty", "")], ids=str
)
def test_every_framing_arrives(client: httpx.Client, path: str, text: str) -> None:
    """Bodies arrive whole, however they are framed."""
    assert text == client.get(path).text
    assert client.get("/").text.isdigit()  # and the next request is read from its beginning


@pytest.mark.parametrize("size", [0, 1, 70_000, 3_000_000])
def test_bodies_of_requests_arrive(client: httpx.Client, size: int) -> None:
    """A request's body arrives whole, also beyond every buffer."""
    body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)

    assert body == client.post("/", content=body).content


def test_chunked_request_arrives(client: httpx.Client) -> None:
    """A body without a length is forwarded."""
    assert b"abcdef" == client.post("/", content=iter([b"abc", b"def"])).content


def test_head_has_no_body(balancer: Balancer) -> None:
    """The answer to HEAD ends with its headers, whatever length they tell."""
    connection = http.client.HTTPConnection("127.0.0.1", balancer.port, timeout=5)
    connection.request("HEAD", "/")
    first = connection.getresponse()
    first.read()
    connection.request("GET", "/")
    second = connection.getresponse().read()
    connection.close()

    assert ("1000", True) == (first.headers["content-length"], second.isdigit())


def test_nonsense_is_refused(balancer: Balancer) -> None:
    """What is not HTTP gets a 400 and a closed connection."""
    with socket.create_connection(("127.0.0.1", balancer.port), timeout=5) as peer:
        peer.sendall(b"hello\r\n\r\n")
        data = b"".join(iter(lambda: peer.recv(4096), b""))

    assert data.startswith(b"HTTP/1.1 400 ")


def test_client_that_leaves_disturbs_nobody(balancer: Balancer, client: httpx.Client) -> None:
    """A connection that is dropped in the middle of a request is forgotten."""
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", balancer.port), timeout=5) as peer:
            peer.sendall(b"POST / HTTP/1.1\r\ncontent-length: 1000\r\n\r\nhalf")

    assert 200 == client.get("/").status_code
