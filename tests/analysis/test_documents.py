"""The page about diagnosis says what the code does."""

from __future__ import annotations

from pathlib import Path

from runbook_lib import analysis
from runbook_lib.analysis.rules import RULES
from runbook_lib.analysis.thresholds import THRESHOLDS
from runbook_lib.model import CAUSES

PAGE = (Path(__file__).parents[2] / "docs" / "diagnosis.md").read_text(encoding="utf-8")


DIAGNOSE = (
    "objective_breached",
    "errors",
    "shifted_after",
    "driven_by",
    "database",
    "pool",
    "cache",
    "dependencies",
    "saturated",
    "replicas",
    "health",
    "weigh",
    "conclude",
)


def rows(mark: str) -> list[str]:
    """The rows of the table under a mark, without its head."""
    block = PAGE.split(f"<!-- {mark} -->", 1)[1].split("<!-- end -->", 1)[0]
    return [line for line in block.strip().splitlines()[2:] if line]


def test_the_page_lists_every_threshold() -> None:
    """Each threshold stands on the page with its value, meaning and source, and no other does."""
    expected = [f"| `{name}` | {one.quantity} | {one.meaning} | {one.source} |" for name, one in THRESHOLDS.items()]
    assert expected == rows("thresholds")


def test_the_page_lists_every_rule() -> None:
    """Each rule stands on the page with its condition and reason, and no other does."""
    expected = []
    for rule in RULES:
        roots, victims = (", ".join(f"`{cause}`" for cause in causes) for causes in (rule.roots, rule.victims))
        expected.append(f"| {roots} | {victims} | {rule.when.words or 'always'} | {rule.because} |")
    assert expected == rows("rules")


def test_the_page_lists_every_function_and_cause() -> None:
    """Every function that diagnoses and every cause is on the page."""
    assert set(DIAGNOSE) <= set(analysis.__all__)
    missing = [name for name in DIAGNOSE if f"| `{name}` |" not in PAGE]
    missing += [cause for cause in CAUSES if cause not in {"none", "unknown"} and f"`{cause}`" not in PAGE]
    assert [] == missing


def test_every_threshold_has_a_source_and_a_use() -> None:
    """A threshold without a source is an opinion, one without a use is noise."""
    code = "".join(
        path.read_text(encoding="utf-8")
        for path in (Path(__file__).parents[2] / "runbook_lib" / "analysis").glob("*.py")
        if path.name != "thresholds.py"
    )
    assert all(one.source and one.meaning for one in THRESHOLDS.values())
    assert [] == [name for name in THRESHOLDS if f'"{name}"' not in code]
