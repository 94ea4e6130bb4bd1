"""What other packages bring, and what is said of a package that brings it wrongly."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest

from runbook_lib import plugins
from runbook_lib.run import Run
from runbook_lib.run.systems import CLIENTS
from runbook_lib.sources import SETTINGS

MODULE = """
from pathlib import Path
class Good:
    source, settings, required, queries_file, first = "queue", {"url": str}, ("url",), Path("queue.toml"), ""
class Bare:
    source = "queue"
class Typed(Good):
    settings = {"url": list}
class Needing(Good):
    required = ("address",)
class First(Good):
    first = "state"
class Findings(Good):
    source = "findings"
class Metrics(Good):
    source = "metrics"
"""


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A module of clients on the path, and nothing remembered."""
    (tmp_path / "queue_clients.py").write_text(MODULE, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    plugins.clients.cache_clear()
    yield
    plugins.clients.cache_clear()


def package(folder: Path, name: str, point: str) -> None:
    """A package that brings one client."""
    place = folder / f"{name}-1.dist-info"
    place.mkdir()
    (place / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n", encoding="utf-8")
    (place / "entry_points.txt").write_text(f"[{plugins.CLIENTS}]\n{point}\n", encoding="utf-8")


def test_a_client_is_found(tmp_path: Path) -> None:
    """A class that says what the catalogue needs is a client, under its source."""
    package(tmp_path, "good", "queue = queue_clients:Good")
    found = plugins.clients()["queue"]
    assert ("good", "", "Good") == (found.package, found.problem, found.value.__name__)


@pytest.mark.parametrize(
    ("point", "says"),
    [
        ("queue = queue_clients:Nothing", "AttributeError"),
        ("queue = queue_clients:MODULE_NAME.x", "AttributeError"),
        ("queue = queue_clients:Bare", "is no class with settings, required, queries_file, first"),
        ("queue = queue_clients:Typed", "settings.url is <class 'list'>; allowed: str, int, float, bool, Path"),
        ("queue = queue_clients:Needing", "'address' is neither a setting nor a method of Needing"),
        ("queue = queue_clients:First", "'state' is neither a setting nor a method of First"),
        ("cue = queue_clients:Good", "its class has the source 'queue'; both must be one name"),
        ("my-queue = queue_clients:Good", "its name can be no attribute of a run"),
        ("findings = queue_clients:Findings", "run.findings is the library's own; give the system another name"),
        ("metrics = queue_clients:Metrics", "run.metrics is the library's own; give the system another name"),
    ],
    ids=["missing", "deep", "bare", "type", "required", "first", "two names", "no name", "of a run", "of a client"],
)
def test_a_wrong_client_is_told(tmp_path: Path, point: str, says: str) -> None:
    """A class that cannot be used is left out with the reason."""
    package(tmp_path, "wrong", point)
    (found,) = plugins.clients().values()
    assert found.value is None
    assert says in found.problem
    assert f"client {found.name} of wrong: {found.problem}" == str(found)


def test_taken_names_are_those_of_a_run() -> None:
    """Every public name of a run, of its clients and of the catalogue's systems is refused, and no other."""
    tree = ast.parse(inspect.getsource(Run))
    fields = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and ast.unparse(node.value) == "self"
    }
    names = {*dir(Run), *fields, *CLIENTS, *SETTINGS}
    assert {name for name in names if not name.startswith("_")} == plugins.TAKEN


def test_two_packages_for_one_system(tmp_path: Path) -> None:
    """When two packages bring a client of one name, neither is used and both are named."""
    package(tmp_path, "one", "queue = queue_clients:Good")
    package(tmp_path, "two", "queue = queue_clients:Good")
    found = plugins.clients()["queue"]
    assert ("one and two", None) == (found.package, found.value)
