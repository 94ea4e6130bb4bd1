"""Targets: from files and from the catalogue, each refused with its place when it is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from runbook_lib import catalog as catalogues
from runbook_lib.errors import ParameterError, UnknownNameError, UsageError
from runbook_lib.fleet.targets import check, from_catalog, from_file
from runbook_lib.headless.parameters import Parameters

DECLARED = Parameters.of(
    [
        {
            "metadata": {"tags": ["parameters"]},
            "source": 'service: str = "api"\nenvironment: str = "lab"\nwindow_minutes: int = 60\n',
        }
    ],
    "tiny.ipynb",
)
SERVICE = """
[services.{name}]
description = "d"
owner = "o"
workload = {{ namespace = "n", deployment = "d" }}
[services.{name}.objectives.availability]
kind = "availability"
target = 0.999
"""


@pytest.fixture
def known(tmp_path: Path) -> catalogues.Catalog:
    """A catalogue of three services and two environments."""
    path = tmp_path / "runbook.toml"
    services = "".join(SERVICE.format(name=name) for name in ("api-one", "api-two", "web"))
    path.write_text(services + '[environments.lab]\ndescription = "l"\n[environments.prod]\ndescription = "p"\n')
    return catalogues.load(path)


def test_a_toml_file_gives_each_target_its_parameters(tmp_path: Path) -> None:
    """What a target says itself comes before the defaults."""
    path = tmp_path / "targets.toml"
    path.write_text(
        '[defaults]\nwindow_minutes = 30\n[[target]]\nservice = "a"\n[[target]]\nservice = "b"\nwindow_minutes = 5\n'
    )
    assert [{"window_minutes": 30, "service": "a"}, {"window_minutes": 5, "service": "b"}] == from_file(path)


def test_a_csv_file_gives_each_line_as_a_target(tmp_path: Path) -> None:
    """An empty cell is left to the default."""
    path = tmp_path / "targets.csv"
    path.write_text("service,window_minutes\na,30\nb,\n")
    assert [{"service": "a", "window_minutes": "30"}, {"service": "b"}] == from_file(path)


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        pytest.param("t.csv", "a,b\n1\n", "line 2", id="a short line"),
        pytest.param("t.csv", "a,b\n1,2,3\n", "line 2", id="a long line"),
        pytest.param("t.csv", "a,b\n", "holds no target", id="no line"),
        pytest.param("t.toml", "[[targets]]\na = 1\n", "Did you mean 'target'", id="a key nobody knows"),
        pytest.param("t.toml", "[[target]\n", "cannot be read", id="not TOML"),
        pytest.param("t.toml", "target = 3\n", r"\[\[target\]\]", id="not a table"),
        pytest.param("t.txt", "a", "ends in .toml or .csv", id="another ending"),
    ],
)
def test_a_wrong_file_is_refused_with_its_place(tmp_path: Path, name: str, text: str, expected: str) -> None:
    """The message names the file and what is wrong."""
    (tmp_path / name).write_text(text)
    with pytest.raises(ParameterError, match=expected) as caught:
        from_file(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)


def test_services_of_the_catalogue_are_chosen_by_pattern(known: catalogues.Catalog) -> None:
    """Each service in each of the named environments."""
    found = from_catalog(known, "api-*", ["lab", "prod"])
    assert [("api-one", "lab"), ("api-one", "prod"), ("api-two", "lab"), ("api-two", "prod")] == [
        (one["service"], one["environment"]) for one in found
    ]


def test_an_environment_must_be_named_where_there_are_several(known: catalogues.Catalog) -> None:
    """Nothing is run everywhere by accident."""
    with pytest.raises(UsageError, match="lab, prod"):
        from_catalog(known, "*", [])


def test_a_pattern_that_fits_nothing_is_refused(known: catalogues.Catalog) -> None:
    """An empty fleet would look like a good one."""
    with pytest.raises(UnknownNameError):
        from_catalog(known, "db-*", ["lab"])


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        pytest.param([{"service": "api-one"}, {"service": "db"}], "target 2: unknown service 'db'", id="service"),
        pytest.param([{"environment": "moon"}], "target 1: unknown service 'api'", id="default service"),
        pytest.param([{"service": "web", "window": 1}], "target 1: unknown parameter 'window'", id="parameter"),
        pytest.param([{"service": "web", "window_minutes": "x"}], "target 1: parameter 'window_minutes'", id="type"),
        pytest.param([{"service": "web"}, {"service": "web"}], "target 2: is the same as target 1", id="twice"),
    ],
)
def test_one_wrong_target_refuses_all(known: catalogues.Catalog, given: list[dict[str, Any]], expected: str) -> None:
    """The message says which target."""
    with pytest.raises(ParameterError, match=expected):
        check(given, DECLARED, {}, known, where="targets.toml")


def test_targets_are_named_by_service_and_environment(known: catalogues.Catalog) -> None:
    """The second of a name gets its number; parameters for all yield to a target's own."""
    given = [{"service": "web"}, {"service": "web", "window_minutes": 5}]
    found = check(given, DECLARED, {"window_minutes": 10, "environment": "prod"}, known, where="t")
    assert ["web@prod", "web@prod (2)"] == [one.name for one in found]
    assert [10, 5] == [one.values["window_minutes"] for one in found]
