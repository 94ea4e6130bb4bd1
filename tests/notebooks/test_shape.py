"""Every shipped notebook has the shape that docs/architecture.md gives."""

from __future__ import annotations

import ast
import json
import re
import statistics
from pathlib import Path
from typing import Any

import pytest

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
ORDER = ["parameters", "setup", "evidence", "findings", "plan", "action", "verify", "record"]

pytestmark = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def cells(path: Path, kind: str = "code") -> list[dict[str, Any]]:
    """The cells of one kind."""
    return [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == kind]


def source(cell: dict[str, Any]) -> str:
    """The cell's text."""
    return "".join(cell["source"])


def tree(cell: dict[str, Any]) -> ast.Module:
    """The cell's syntax; `await` is allowed at its top."""
    return compile(source(cell), "cell", "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)  # type: ignore[return-value]


def tag(cell: dict[str, Any]) -> str:
    """The one tag of a code cell."""
    return " ".join(cell["metadata"].get("tags", []))


def test_has_no_outputs(path: Path) -> None:
    """Outputs and execution counts live in records, never in the repository."""
    assert [] == [cell["id"] for cell in cells(path) if cell["outputs"] or cell["execution_count"]]


def test_cell_ids_are_words(path: Path) -> None:
    """Every cell can be named in a document, so its id is made of words and unique."""
    ids = [cell["id"] for kind in ("code", "markdown") for cell in cells(path, kind)]
    assert [] == [one for one in ids if not re.fullmatch(r"[a-z]+(-[a-z]+)*", one)]
    assert len(ids) == len(set(ids))


def test_size(path: Path) -> None:
    """A notebook has 12 to 20 cells, code cells of at most 10 lines, 5 in the median."""
    lengths = [len(source(cell).splitlines()) for cell in cells(path)]
    assert 12 <= len(lengths) + len(cells(path, "markdown")) <= 20
    assert max(lengths) <= 10
    assert statistics.median(lengths) <= 5


def test_order(path: Path) -> None:
    """Cells carry one tag each and come in the order of the house."""
    tags = [tag(cell) for cell in cells(path)]
    assert tags[:2] == ["parameters", "setup"]
    assert tags[-1] == "record"
    assert tags == sorted(tags, key=ORDER.index)
    assert tags.count("parameters") == 1


def test_code_is_plain(path: Path) -> None:
    """No definitions, loops, handlers, printing or shell escapes: logic lives in the library."""
    banned = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda, ast.For, ast.While, ast.Try, ast.With)
    for cell in cells(path):
        assert not re.search(r"^\s*[!%]", source(cell), re.MULTILINE), cell["id"]
        for node in ast.walk(tree(cell)):
            assert not isinstance(node, banned), f"{cell['id']}: {type(node).__name__}"
            assert not (isinstance(node, ast.Name) and node.id == "print"), cell["id"]


def test_shows_one_object(path: Path) -> None:
    """A code cell after the parameters ends by showing exactly one object."""
    for cell in cells(path)[1:]:
        shown = tree(cell).body[-1]
        assert isinstance(shown, ast.Expr), cell["id"]
        assert not isinstance(shown.value, ast.Tuple), cell["id"]


def test_action_stands_alone(path: Path) -> None:
    """An action cell binds no name that a later cell uses: running on must not depend on a change."""
    code = cells(path)
    for index, cell in enumerate(code):
        if tag(cell) == "action":
            bound = {n.id for n in ast.walk(tree(cell)) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
            used = {n.id for later in code[index + 1 :] for n in ast.walk(tree(later)) if isinstance(n, ast.Name)}
            assert set() == bound & used


def test_says_what_it_is(path: Path) -> None:
    """The title cell gives meaning, impact, when to use it, what it changes, and who owns it."""
    title = source(cells(path, "markdown")[0])
    assert title.startswith("# ")
    for word in ("Meaning", "Impact", "When", "Changes", "Owner"):
        assert f"**{word}.**" in title


def test_headings_are_questions(path: Path) -> None:
    """Sections are headed by the question that they answer."""
    headings = [
        line for cell in cells(path, "markdown")[1:] for line in source(cell).splitlines() if line.startswith("## ")
    ]
    assert headings
    assert [] == [heading for heading in headings if not heading.endswith("?")]


def test_is_proven_by_a_scenario(path: Path) -> None:
    """Every notebook names at least one lab scenario that runs it, and every name exists."""
    from runbook_lib.lab.faults import registry

    named = json.loads(path.read_text(encoding="utf-8"))["metadata"]["runbook"]["scenarios"]
    assert named
    assert set() == set(named) - {fault.name for fault in registry.all_faults()}
