"""docs/coverage.md names cells and tests that exist, for every section of the written runbook."""

from __future__ import annotations

import ast
import json
import re
from functools import cache
from pathlib import Path

import pytest

from runbook_lib import catalog

ROOT = Path(__file__).parents[2]
#: Section of the written runbook to its number of instructions, counted there.
INSTRUCTIONS = {"1": 3, "2": 8, "3": 6, "4A": 5, "4B": 8, "5": 4, "5R": 5, "6": 3, "7": 2, "8": 2}


def rows() -> list[tuple[str, list[str], list[str]]]:
    """Instruction, cells and tests of each row."""
    text = (ROOT / "docs" / "coverage.md").read_text(encoding="utf-8").replace("\\|", "\0")
    found = [line.strip("| ").split(" | ") for line in text.splitlines() if re.match(r"\| \d", line)]
    return [(name, re.findall(r"`([^`]+)`", cells), re.findall(r"`([^`]+)`", tests)) for name, cells, tests in found]


@cache
def cells(notebook: str) -> set[str]:
    """Ids of the cells of a shipped notebook; empty when there is no such notebook."""
    path = ROOT / "notebooks" / f"{notebook}.ipynb"
    return {cell["id"] for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]} if path.is_file() else set()


@cache
def names_in(path: str) -> set[str]:
    """Names of the tests in a file; empty when there is no such file."""
    place = ROOT / path
    tree = ast.parse(place.read_text(encoding="utf-8")) if place.is_file() else ast.Module([], [])
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name.startswith("test")}


@pytest.mark.parametrize(("instruction", "named", "shown"), rows(), ids=lambda one: str(one)[:40])
def test_cells_and_tests_exist(instruction: str, named: list[str], shown: list[str]) -> None:
    """Every row names at least one cell and one test, and all of them exist."""
    assert named, instruction
    assert shown, instruction
    assert [] == [one for one in named if one.partition("#")[2] not in cells(one.partition("#")[0])]
    assert [] == [one for one in shown if one.partition("::")[2] not in names_in(one.partition("::")[0])]


def test_every_section_has_its_rows() -> None:
    """No section of the written runbook lost an instruction, and none stands twice."""
    names = [name for name, _, _ in rows()]
    assert len(names) == len(set(names))
    found = {section: sum(re.split(r"[. ]", name)[0] == section for name in names) for section in INSTRUCTIONS}
    assert INSTRUCTIONS == found


def test_the_catalogue_holds_the_facts() -> None:
    """Owner, contacts, access, tools, links and alerts of the written runbook are data, not text in a notebook."""
    api = catalog.load(ROOT / "runbook.toml").service("api")
    assert ("Platform Engineering", "slack:#platform-oncall") == (api.owner, api.contacts["primary"])
    assert "pagerduty:platform-escalation@company.pagerduty.com" == api.contacts["secondary"]
    assert {"kubectl": "1.28", "docker": "24", "helm": "3.12"} == api.tools
    assert {"postgres", "redis"} == set(api.dependencies)
    assert 3 == len(api.access)
    assert ("slack:#api-alerts", "pagerduty:API Service") == api.alerts
    assert "https://grafana.example.com/api" == api.links["dashboard"].partition("?")[0]
    assert "https://app.datadoghq.com/logs/api" == api.links["logs"].partition("?")[0]
    assert "Kubernetes cluster without downtime" in api.description
