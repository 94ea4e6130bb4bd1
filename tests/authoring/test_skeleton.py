"""A new runbook keeps every rule from its first moment."""

from __future__ import annotations

from pathlib import Path

import pytest

from runbook_lib.authoring.cells import text
from runbook_lib.authoring.lint import lint
from runbook_lib.authoring.skeleton import PLANS, skeleton
from runbook_lib.headless.notebooks import describe
from runbook_lib.headless.parameters import Parameters


@pytest.mark.parametrize("plan", list(PLANS), ids=lambda plan: plan or "reads-only")
def test_keeps_every_rule(plan: str, tmp_path: Path) -> None:
    """Nothing has to be mended in a runbook that was just begun."""
    path = tmp_path / "queue_backlog.ipynb"
    path.write_text(text(skeleton("queue_backlog", plan)), encoding="utf-8")
    assert [] == [str(problem) for problem in lint(path)]
    assert "Queue backlog" == describe(path).title


def test_is_about_the_place_of_its_catalogue() -> None:
    """A runbook that is begun names a service and an environment that its catalogue has."""
    parameters = Parameters.of(skeleton("queue_backlog", place=("shop", "staging"))["cells"], "queue_backlog")
    assert ("shop", "staging") == tuple(item.default for item in parameters.items[:2])
