"""The house and docs/architecture.md say the same."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest

import runbook_lib
from runbook_lib import errors
from runbook_lib.cli import VERBS
from runbook_lib.cli.run import MEANINGS
from runbook_lib.record.status import EXIT_CODES

ROOT = Path(__file__).parents[2]
LIBRARY = ROOT / "runbook_lib"
PAGE = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")


def tracked(pattern: str) -> list[Path]:
    """Files that git knows."""
    listed = subprocess.run(["git", "ls-files", pattern], cwd=ROOT, capture_output=True, text=True, check=True)
    return [ROOT / name for name in listed.stdout.split()]


def test_every_room_is_on_the_page() -> None:
    """The table of rooms lists exactly the rooms there are."""
    here = {path.name + "/" for path in LIBRARY.iterdir() if (path / "__init__.py").is_file()}
    here |= {path.name for path in LIBRARY.glob("*.py") if path.name != "__init__.py"}
    named = set(
        re.findall(r"^\| `([a-z_]+(?:\.py|/))` \|", PAGE.partition("## Rooms")[2].partition("## Words")[0], re.M)
    )
    assert here == named


def test_public_door_is_exact() -> None:
    """What the library offers is what its list says, and each name can be imported."""
    assert ["Run", "actions", "analysis", "charts"] == runbook_lib.__all__
    assert all(getattr(runbook_lib, name) for name in runbook_lib.__all__)


def test_error_tree_is_drawn() -> None:
    """The tree in the docstring of errors.py names every error with its exit code, as a child of its parent."""
    drawn = dict(re.findall(r"(\w+Error)\s+(\d+)", errors.__doc__ or ""))
    defined = {
        name: str(one.exit_code)
        for name, one in vars(errors).items()
        if isinstance(one, type) and issubclass(one, errors.RunbookError)
    }
    assert defined == drawn


def test_exit_codes_are_on_the_page() -> None:
    """Every exit code that a run can have has a row on the page and a meaning in the command."""
    rows = {int(code) for row in re.findall(r"^\| ([\d, ]+) \|", PAGE, re.M) for code in row.split(",")}
    assert set(EXIT_CODES.values()) | {2, 143} <= rows
    assert set(EXIT_CODES.values()) <= set(MEANINGS)


@pytest.mark.parametrize("verb", VERBS, ids=str)
def test_every_verb_has_its_module(verb: str) -> None:
    """A verb of the help screen is a module of its own."""
    assert (LIBRARY / "cli" / f"{VERBS[verb][0]}.py").is_file()


@pytest.mark.parametrize("path", tracked("runbook_lib/*.py"), ids=lambda path: str(path.relative_to(LIBRARY)))
def test_modules_stay_small_and_explained(path: Path) -> None:
    """A module has at most 400 lines and says what it is for."""
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 400
    assert not text.strip() or ast.get_docstring(ast.parse(text))


@pytest.mark.parametrize("pattern", ["*.py", "*.md", "*.toml", "*.ipynb", "*.lock", "*.yml", "Makefile"], ids=str)
def test_speaks_of_itself_alone(pattern: str) -> None:
    """No file names a package registry's host or a folder of somebody's machine."""
    host = re.compile(r"files\.pythonhosted|pypi\.org/simple|registry\.npmjs|proxy\.golang|index-url")
    place = re.compile(r"(?<![\w.])/(?:root|work)/\w")
    bad = [
        path.name
        for path in tracked(pattern)
        if path != Path(__file__) and (host.search(text := path.read_text(encoding="utf-8")) or place.search(text))
    ]
    assert [] == bad
