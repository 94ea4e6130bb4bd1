"""The hook of this repository in a real pre-commit: a notebook that breaks a rule is not committed."""

from __future__ import annotations

import os
import shutil
import site
import subprocess
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
#: Below the next major version, whose configuration may differ.
PRE_COMMIT = "pre-commit>=4,<5"
CONFIG = """
repos:
  - repo: {repo}
    rev: {rev}
    hooks: [{{id: runbook-lint}}]
"""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


def call(argv: list[str], cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a program; what it says comes back as one text."""
    return subprocess.run(
        argv,
        cwd=cwd,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture(scope="module")
def pre_commit(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The program: from PATH, else installed for this test; skips where it cannot be had."""
    found = shutil.which("pre-commit")
    if found:
        return found
    folder = tmp_path_factory.mktemp("pre-commit")
    venv.create(folder, with_pip=True)
    try:
        done = call([str(folder / "bin" / "pip"), "install", "--quiet", "--retries", "0", PRE_COMMIT], folder)
    except subprocess.TimeoutExpired:
        pytest.skip("pre-commit could not be installed in five minutes")
    if done.returncode:
        pytest.skip(f"pre-commit cannot be installed here: {done.stdout[-200:]}")
    return str(folder / "bin" / "pre-commit")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A git repository with one runbook that keeps every rule, and this repository's hook."""
    revision = call(["git", "rev-parse", "HEAD"], ROOT)
    if revision.returncode:
        pytest.skip("pre-commit takes hooks from a git repository, and this is none")
    folder = tmp_path / "runbooks"
    (folder / "notebooks").mkdir(parents=True)
    shutil.copy(ROOT / "notebooks" / "verify_fix.ipynb", folder / "notebooks")
    config = CONFIG.format(repo=ROOT, rev=revision.stdout.strip())
    (folder / ".pre-commit-config.yaml").write_text(config, encoding="utf-8")
    for argv in (["init", "--quiet"], ["add", "--all"]):
        assert 0 == call(["git", *argv], folder).returncode
    return folder


def test_a_broken_rule_stops_the_commit(pre_commit: str, repository: Path, tmp_path: Path) -> None:
    """The hook passes a runbook that keeps the rules, and fails with the rule when one is broken."""
    # The hook gets an environment of its own from the package; what the package needs is lent by this one.
    own = {
        "PRE_COMMIT_HOME": str(tmp_path / "home"),
        "PIP_NO_DEPS": "1",
        "PIP_NO_BUILD_ISOLATION": "0",  # pip reads it as: without isolation
        "PYTHONPATH": os.pathsep.join(site.getsitepackages()),
    }
    good = call([pre_commit, "run", "--all-files"], repository, **own)
    assert (0, True) == (good.returncode, "Passed" in good.stdout), good.stdout
    notebook = repository / "notebooks" / "verify_fix.ipynb"
    broken = notebook.read_text(encoding="utf-8").replace(
        "charts.timeline(latency", "print(latency)\\ncharts.timeline(latency"
    )
    notebook.write_text(broken, encoding="utf-8")
    assert 0 == call(["git", "add", "--all"], repository).returncode
    bad = call([pre_commit, "run"], repository, **own)
    assert 1 == bad.returncode, bad.stdout
    assert "plain" in bad.stdout
