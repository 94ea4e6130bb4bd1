"""The pages of failures and of bad input name tests that exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "failures-held.md").read_text(encoding="utf-8")
SAFETY = (ROOT / "docs" / "safety-model.md").read_text(encoding="utf-8")
NAMED = re.compile(r"`([\w/]+\.py)::(\w+)`")
ROWS = re.findall(r"^\| ([AB]\d+[ab]?) \| (.*) \|$", PAGE, re.MULTILINE)


@pytest.mark.parametrize("row", [pytest.param(row, id=name) for name, row in ROWS])
def test_every_row_names_a_test(row: str) -> None:
    """Each row names at least one test or benchmark."""
    assert NAMED.search(row) or "benchmarks." in row


@pytest.mark.parametrize("file", sorted({file for file, _ in NAMED.findall(PAGE + SAFETY)}))
def test_every_named_test_exists(file: str) -> None:
    """Each test that the pages name is a function of its file."""
    tree = ast.parse((ROOT / "tests" / file).read_text(encoding="utf-8"))
    there = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    assert set() == {test for of, test in NAMED.findall(PAGE + SAFETY) if of == file} - there


def test_every_bad_input_of_a_release_names_a_test() -> None:
    """No row of that table stands without a test, and each input of the issue that asked for it has its row."""
    table = SAFETY.partition("## Bad input of a release\n")[2].partition("\n## ")[0]
    rows = [line for line in table.splitlines() if line.startswith("| ")][1:]
    assert [] == [row for row in rows if not NAMED.search(row)]
    words = ("tag", "render", "secret", "CI", "quota", "denied", "option", "cluster", "changed", "expired", "used",
             "requester", "environment", "webhook")  # fmt: skip
    assert [] == [word for word in words if not any(word in row.split(" | ")[0] for row in rows)]


def test_every_row_about_the_record_is_there() -> None:
    """The page has the promises and scenarios that concern the record, each once."""
    promises = [f"A{n}" for n in (1, 2, 3, *range(7, 13), *range(14, 23), *range(32, 36))]
    scenarios = [*(f"B{n}" for n in range(1, 8)), "B8a", "B8b", "B9", *(f"B{n}" for n in (12, 13, 14, *range(16, 28)))]
    assert [*promises, *scenarios] == [name for name, _ in ROWS]


def test_every_benchmark_named_exists() -> None:
    """A benchmark that the page names can be run."""
    for module in re.findall(r"python -m benchmarks\.(\w+)", PAGE):
        assert (ROOT / "benchmarks" / f"{module}.py").is_file()
