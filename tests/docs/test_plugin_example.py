"""The example package: built, installed, its runbook found by name, its client reached as one of our own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runbook_lib import catalog, plugins
from runbook_lib.authoring.lint import lint
from runbook_lib.errors import CatalogError
from runbook_lib.model import CheckStatus, Gap
from runbook_lib.queries import load
from runbook_lib.record.record import Record
from runbook_lib.record.verify import verify
from runbook_lib.run import Run
from tests.clients.conftest import Answerer, answerer  # noqa: F401 - fixture

PLUGIN = Path(__file__).parents[2] / "docs" / "examples" / "plugin"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package, installed as a person would."""
    target = tmp_path_factory.mktemp("installed")
    argv = ["-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index",
            "--disable-pip-version-check", "--target", str(target), str(PLUGIN)]  # fmt: skip
    subprocess.run([sys.executable, *argv], check=True, timeout=120)
    return target


def broken(folder: Path) -> Path:
    """A folder with a package whose runbooks and client cannot be loaded."""
    (folder / "bad-1.dist-info").mkdir(parents=True)
    (folder / "bad-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: bad\nVersion: 1\n")
    points = "[runbook_lib.runbooks]\nbad = nowhere:folder\n[runbook_lib.clients]\nbad = nowhere:Client\n"
    (folder / "bad-1.dist-info" / "entry_points.txt").write_text(points)
    return folder


def runbooks(folder: Path, where: Path) -> tuple[dict[str, Any], str]:
    """What ``runbook list --json`` tells, and what it wrote to stderr."""
    code = "import sys; from runbook_lib.cli import main; sys.argv = ['runbook', 'list', '--json']; main()"
    variables = {**os.environ, "PYTHONPATH": f"{folder}:{Path(__file__).parents[2]}"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=where, env=variables, capture_output=True, text=True, timeout=60, check=True
    )
    return json.loads(done.stdout), done.stderr


def test_its_runbook_is_found(installed: Path, tmp_path: Path) -> None:
    """An installed package's runbook stands in the list, beside our own."""
    told, errors = runbooks(installed, tmp_path)
    found = {one["name"]: one["path"] for one in told["runbooks"]}
    assert found["checkout_slow"].startswith(str(installed))
    assert "high_latency" in found
    assert "" == errors


def test_a_broken_package_hides_no_other(installed: Path, tmp_path: Path) -> None:
    """A package that cannot be loaded is named with its error and left out; every other runbook stays."""
    told, errors = runbooks(broken(tmp_path / "broken"), tmp_path)
    assert "high_latency" in {one["name"] for one in told["runbooks"]}
    assert 2 == len(told["left_out"])
    assert "left out: runbooks bad of bad: ModuleNotFoundError: No module named 'nowhere'" in errors
    assert "left out: client bad of bad: ModuleNotFoundError" in errors


def test_it_keeps_the_rules() -> None:
    """The example's runbook breaks no rule."""
    (path,) = (PLUGIN / "acme_runbooks" / "notebooks").glob("*.ipynb")
    assert [] == [str(problem) for problem in lint(path)]


CATALOG = """
[services.api]
description = "the shop"
owner = "us"
objectives = {{}}
workload = {{}}
[environments.shop.orders]
{orders}
"""
SETTINGS = 'url = "{url}"\nqueue = "orders"\ntoken = "env:ORDERS_TOKEN"'
TOKEN = "orders-token-7c1f0d"
STATE = {"queue": "orders", "waiting": 3, "consumers": 2, "oldest_seconds": 4.5}


@pytest.fixture
def package(installed: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """This process as one in which the package is installed."""
    monkeypatch.syspath_prepend(str(installed))
    _forget()
    yield monkeypatch
    monkeypatch.undo()
    _forget()


def _forget() -> None:
    for one in (plugins.clients, plugins.runbooks, load):
        one.cache_clear()


@pytest.fixture
def started(package: pytest.MonkeyPatch, answerer: Answerer, tmp_path: Path) -> Run:  # noqa: F811
    """A run in an environment whose only system is the queue of orders."""
    text = CATALOG.format(orders=SETTINGS.format(url=answerer.url))
    (tmp_path / "runbook.toml").write_text(text, encoding="utf-8")
    package.setenv("RUNBOOK_CATALOG", str(tmp_path / "runbook.toml"))
    package.setenv("RUNBOOK_ARCHIVE", str(tmp_path / "outputs"))
    package.setenv("ORDERS_TOKEN", TOKEN)
    answerer.by_path({"/queues/orders": STATE, "/queues/orders/waiting": [[1767323000, 2], [1767323060, 3]]})
    return Run.start("checkout_slow", service="api", environment="shop")


def test_its_client_is_one_of_the_run(started: Run, answerer: Answerer) -> None:  # noqa: F811
    """Its answers are evidence with unit and query, asked with the secret of the catalogue, and stand in the record."""
    state, waiting = started.orders.state(), started.orders.waiting()
    path = started.close().record
    assert STATE == state.document
    assert "3" == str(waiting.latest)
    assert {f"Bearer {TOKEN}"} == {one.headers["authorization"] for one in answerer.requests}
    assert () == tuple(verify(Path(path)).problems)
    kept = [event.data["name"] for event in Record.read(Path(path)).all("evidence") if event.data["source"] == "orders"]
    assert ["state", "state", "waiting"] == kept


def test_its_failures_are_gaps_without_secrets(started: Run, answerer: Answerer) -> None:  # noqa: F811
    """A system that refuses, and a client that stumbles over an answer, are gaps; no secret is shown."""
    answerer.always(403, {"message": f"no entry with {TOKEN}"})
    refused = started.orders.state()
    answerer.always(200, {"queue": "orders"})
    odd = started.orders.state()
    path = started.close().record
    assert ["denied", "answer"] == [one.kind for one in (refused, odd) if isinstance(one, Gap)]
    assert TOKEN not in "".join(str(file.read_bytes()) for file in Path(path).rglob("*") if file.is_file())


def test_a_preflight_lists_it(started: Run) -> None:
    """The first question of the client is a line of the preflight."""
    (line,) = started.preflight("systems")
    started.close()
    assert ("orders", CheckStatus.PASSED) == (line.name, line.status)


@pytest.mark.parametrize(
    ("orders", "key", "says"),
    [
        ('url = "http://localhost"\nqueu = "orders"', "queu", "Did you mean 'queue'?"),
        ('url = "http://localhost"', "queue", "is missing"),
        ('url = "http://localhost"\nqueue = 3', "queue", "must be text"),
        ('url = "http://localhost"\nqueue = "orders"\ntoken = "abc"', "token", "holds a secret"),
    ],
    ids=["unknown", "missing", "type", "secret"],
)
@pytest.mark.usefixtures("package")
def test_its_settings_are_checked(tmp_path: Path, orders: str, key: str, says: str) -> None:
    """Its table in runbook.toml is held to the settings that the client names."""
    (tmp_path / "runbook.toml").write_text(CATALOG.format(orders=orders), encoding="utf-8")
    with pytest.raises(CatalogError) as raised:
        catalog.load(tmp_path / "runbook.toml")
    assert f"environments.shop.orders.{key}" == raised.value.key
    assert says in str(raised.value)


def test_it_is_replayed_from_the_record(started: Run, answerer: Answerer, package: pytest.MonkeyPatch) -> None:  # noqa: F811
    """A replay answers from the record and asks the system nothing."""
    before = started.orders.waiting()
    package.setenv("RUNBOOK_REPLAY", str(started.close().record))
    asked = len(answerer.requests)
    again = Run.start("checkout_slow", service="api", environment="shop")
    after = again.orders.waiting()
    again.close()
    assert before.digest == after.digest
    assert asked == len(answerer.requests)


def start(folder: Path, package: pytest.MonkeyPatch, environment: str) -> Run:
    """A run of a catalogue with one environment, here."""
    text = CATALOG.partition("[environments")[0].replace("{{}}", "{}") + environment
    (folder / "runbook.toml").write_text(text, encoding="utf-8")
    package.setenv("RUNBOOK_CATALOG", str(folder / "runbook.toml"))
    package.setenv("RUNBOOK_ARCHIVE", str(folder / "outputs"))
    return Run.start("checkout_slow", service="api", environment="shop")


def test_where_it_is_not_configured(package: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In an environment that does not have the system, every question is a gap."""
    run = start(tmp_path, package, "[environments.shop]")
    answer = run.orders.state()
    run.close()
    assert isinstance(answer, Gap)
    assert "not configured in environment shop" == answer.reason


def test_a_client_that_cannot_be_loaded_is_a_gap(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An environment with a broken client works without it: its questions are gaps with the error, in the record."""
    monkeypatch.syspath_prepend(str(broken(tmp_path / "broken")))
    _forget()
    run = start(tmp_path, monkeypatch, '[environments.shop.bad]\nurl = "http://localhost"\nwhatever = true')
    answer, (line,) = run.bad.state(), run.preflight("systems")
    path = run.close().record
    _forget()
    assert "its client cannot be loaded: bad: ModuleNotFoundError: No module named 'nowhere'" == answer.reason
    assert ("bad", CheckStatus.UNKNOWN, False) == (line.name, line.status, line.needed)
    assert "state" in [event.data["name"] for event in Record.read(Path(path)).all("gap")]
