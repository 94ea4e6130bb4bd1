"""The example package: built, installed, and its runbook found by name."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from runbook_lib.authoring.lint import lint

PLUGIN = Path(__file__).parents[2] / "docs" / "examples" / "plugin"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package, installed as a person would."""
    target = tmp_path_factory.mktemp("installed")
    argv = ["-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index",
            "--disable-pip-version-check", "--target", str(target), str(PLUGIN)]  # fmt: skip
    subprocess.run([sys.executable, *argv], check=True, timeout=120)
    return target


def runbooks(folder: Path, where: Path) -> tuple[dict[str, str], str]:
    """Name to path as ``runbook list`` tells, and what it wrote to stderr."""
    code = "import sys; from runbook_lib.cli import main; sys.argv = ['runbook', 'list', '--json']; main()"
    variables = {**os.environ, "PYTHONPATH": f"{folder}:{Path(__file__).parents[2]}"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=where, env=variables, capture_output=True, text=True, timeout=60, check=True
    )
    return {one["name"]: one["path"] for one in json.loads(done.stdout)["runbooks"]}, done.stderr


def test_its_runbook_is_found(installed: Path, tmp_path: Path) -> None:
    """An installed package's runbook stands in the list, beside our own."""
    found, errors = runbooks(installed, tmp_path)
    assert found["checkout_slow"].startswith(str(installed))
    assert "high_latency" in found
    assert "" == errors


def test_a_broken_package_hides_no_other(installed: Path, tmp_path: Path) -> None:
    """A package that cannot be loaded is told of and left out; every other runbook stays."""
    broken = tmp_path / "broken"
    (broken / "bad-1.dist-info").mkdir(parents=True)
    (broken / "bad-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: bad\nVersion: 1\n")
    (broken / "bad-1.dist-info" / "entry_points.txt").write_text("[runbook_lib.runbooks]\nbad = nowhere:folder\n")
    found, errors = runbooks(broken, tmp_path)
    assert "high_latency" in found
    assert "runbooks of bad are left out" in errors


def test_it_keeps_the_rules() -> None:
    """The example's runbook breaks no rule."""
    (path,) = (PLUGIN / "acme_runbooks" / "notebooks").glob("*.ipynb")
    assert [] == [str(problem) for problem in lint(path)]
