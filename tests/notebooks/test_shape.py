"""Every shipped notebook keeps the rules of ``runbook lint``."""

from __future__ import annotations

from pathlib import Path

import pytest

from runbook_lib.authoring.lint import lint
from runbook_lib.lab.faults import registry

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_keeps_every_rule(path: Path) -> None:
    """A shipped notebook breaks no rule, and every scenario that it names exists."""
    scenarios = frozenset(fault.name for fault in registry.all_faults())
    assert [] == [str(problem) for problem in lint(path, scenarios=scenarios)]
