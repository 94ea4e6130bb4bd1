"""Real parts that several tests of the lab share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from runbook_lib.lab.postgres import Postgres
from runbook_lib.lab.valkey import Valkey


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


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A private folder of one lab."""
    path = tmp_path / "lab"
    path.mkdir(mode=0o700)
    return path
