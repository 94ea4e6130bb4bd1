"""Backups of a real database: listed, and restored into a server of their own."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runbook_lib.analysis.backup import backup_ready
from runbook_lib.clients.backups import BackupsClient
from runbook_lib.lab.postgres import Postgres, binaries
from runbook_lib.model import Evidence, Gap


@pytest.fixture(scope="module")
def dump(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A dump of the lab's data set."""
    path = tmp_path_factory.mktemp("dump") / "app.dump"
    postgres.dump(path)
    return path.read_bytes()


@pytest.fixture
def folder(tmp_path: Path, dump: bytes) -> Path:
    """A folder with that dump."""
    (tmp_path / "app.dump").write_bytes(dump)
    return tmp_path


@pytest.fixture
def client(make: Any, folder: Path) -> Callable[..., BackupsClient]:
    """Builds a client of the folder."""
    return lambda **more: make(BackupsClient, {"folder": str(folder), "binaries": str(binaries()), **more},
                               total_seconds=60.0)  # fmt: skip


def lines(newest: Evidence | Gap, trial: Evidence | Gap, **more: Any) -> dict[str, str]:
    """Name to status of what is said about a backup."""
    return {check.name: str(check.status) for check in backup_ready(newest, trial, **more)}


def test_newest_is_read_and_restored(client) -> None:
    """The dump's own contents, and every table of it restored with its rows; nothing is left behind."""
    made = client()
    newest = made.newest()
    assert isinstance(newest, Evidence), newest
    assert (True, "app.dump", 4) == tuple(newest.document[key] for key in ("found", "name", "tables"))
    assert -5 < newest.read_at.timestamp() - newest.document["taken_at"] < 600
    trial = made.trial(newest)
    assert isinstance(trial, Evidence), trial
    # Customers, orders and products of the fixture, and one row of Alembic.
    assert (True, 4, 2_000 + 10_000 + 200 + 1) == tuple(trial.document[key] for key in ("restored", "tables", "rows"))
    assert {"young enough": "passed", "whole": "passed", "restored on trial": "passed"} == lines(newest, trial)


def test_old_and_shrunken_backups_do_not_count(client, folder: Path, dump: bytes) -> None:
    """Two days are too old for one day; less than half of the one before is no whole one."""
    (folder / "earlier.dump").write_bytes(dump * 3)
    now = time.time()
    os.utime(folder / "earlier.dump", (now - 3 * 86400,) * 2)
    os.utime(folder / "app.dump", (now - 2 * 86400,) * 2)
    made = client()
    newest, trial = made.newest(), made.trial(made.newest())
    assert {"young enough": "failed", "whole": "failed", "restored on trial": "passed"} == lines(newest, trial)
    assert "passed" == lines(newest, trial, max_age_hours=72)["young enough"]


def test_torn_dump_is_not_restored(client, folder: Path, dump: bytes) -> None:
    """A dump whose end is missing has a good list, and only the trial says that it is lost."""
    (folder / "app.dump").write_bytes(dump[: len(dump) * 2 // 3])
    made = client()
    newest, trial = made.newest(), made.trial(made.newest())
    assert isinstance(trial, Evidence), trial
    assert "failed" == lines(newest, trial)["restored on trial"]
    assert trial.document["reason"]


@pytest.mark.parametrize("content", [b"", b"no archive"], ids=["empty", "text"])
def test_what_is_no_archive_is_a_gap(client, folder: Path, content: bytes) -> None:
    """A file that PostgreSQL cannot read is never a backup."""
    (folder / "app.dump").write_bytes(content)
    newest = client().newest()
    assert {"a backup exists": "unknown"} == lines(newest, client().trial(newest))


def test_no_dump_is_no_backup(client, folder: Path) -> None:
    """An empty folder fails the check, and there is nothing to restore."""
    (folder / "app.dump").unlink()
    newest = client().newest()
    trial = client().trial(newest)
    assert isinstance(trial, Gap)
    assert {"a backup exists": "failed"} == lines(newest, trial)


def test_large_dumps_are_left_to_a_person(client) -> None:
    """Above the limit nothing is restored on this machine, and it is unknown whether it could be."""
    made = client(trial_max_bytes=10)
    assert "unknown" == lines(made.newest(), made.trial(made.newest()))["restored on trial"]
