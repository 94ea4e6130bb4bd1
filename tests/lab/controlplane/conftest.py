"""A cluster with one node, and ways to wait for what its controllers do."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from .node import Node
from .servers import ApiServer, start_either


@pytest.fixture(scope="module", params=["emulated", "real"])
def cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """A control plane with its controllers and one ready node: the emulator, and a real one where there is one."""
    server = start_either(request.param, tmp_path_factory.mktemp("cluster"))
    node = Node(server)
    node.start()
    yield server
    node.stop()
    server.stop()


@pytest.fixture
def namespace(cluster: ApiServer, request: pytest.FixtureRequest) -> str:
    """A namespace of the test's own."""
    name = "t" + format(abs(hash(request.node.nodeid)) % 16**8, "08x")
    cluster.json("POST", "/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    return name


@pytest.fixture
def wait() -> Callable[[Callable[[], Any], str], Any]:
    """Waits until a question has a truthy answer, and returns it."""

    def until(question: Callable[[], Any], what: str, seconds: float = 60.0) -> Any:
        deadline = time.monotonic() + seconds
        while True:
            answer = question()
            if answer:
                return answer
            assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
            time.sleep(0.05)

    return until
