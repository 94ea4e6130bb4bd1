"""What a runbook names is asked for; what does not answer never counts as there."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from runbook_lib import catalog
from runbook_lib.authoring.cells import text
from runbook_lib.authoring.drift import drift, reads
from runbook_lib.authoring.importing import import_page
from runbook_lib.authoring.lint import Notebook
from runbook_lib.model import Check, CheckStatus, Environment, Service

ROOT = Path(__file__).parents[2]
NOWHERE = Environment("nowhere", "", (), {}, {})


@pytest.fixture
def service() -> Service:
    """The example service, without links that would be asked for."""
    return replace(catalog.load(ROOT / "runbook.toml").service("api"), links={})


def page(tmp_path: Path, more: str = "") -> Path:
    """A page and the notebook of it, beside each other."""
    source = tmp_path / "page.md"
    source.write_text(f"# Page\n\n## Diagnosis\n\n- `kubectl get pods -n production`\n{more}", encoding="utf-8")
    return source


def checks(path: Path, service: Service, group: str) -> list[Check]:
    """The checks of one group."""
    return [check for check in drift(path, service, NOWHERE) if check.group == group]


def test_reads_of_the_high_latency_runbook() -> None:
    """Reads through names of one's own and within gather are found."""
    found = reads(Notebook(ROOT / "notebooks" / "high_latency.ipynb"))
    assert {("metrics", "latency_seconds"), ("postgres", "activity"), ("kubernetes", "pods"), ("redis", "info")} <= set(
        found
    )


def test_a_system_that_does_not_answer_is_unknown(tmp_path: Path, service: Service) -> None:
    """Without the system nobody can tell whether a query still exists."""
    path = tmp_path / "page.ipynb"
    path.write_text(text(import_page(page(tmp_path), "page").content), encoding="utf-8")
    found = {check.name: (check.status, check.fix) for check in checks(path, service, "query")}
    assert "kubernetes.pods" in found
    assert {(CheckStatus.UNKNOWN, "mend environments.nowhere")} == set(found.values())


def test_another_place_has_drifted(tmp_path: Path, service: Service) -> None:
    """A namespace that the catalogue does not mean any more has drifted."""
    path = tmp_path / "page.ipynb"
    path.write_text(text(import_page(page(tmp_path), "page").content), encoding="utf-8")
    assert [CheckStatus.PASSED] == [check.status for check in checks(path, service, "place")]
    moved = replace(service, workload={**service.workload, "namespace": "shop"})
    assert [CheckStatus.FAILED] == [check.status for check in checks(path, moved, "place")]


def test_a_page_that_moved_on_has_drifted(tmp_path: Path, service: Service) -> None:
    """A page that changed since its import is told, with the command that brings the notebook up to date."""
    path = tmp_path / "page.ipynb"
    path.write_text(text(import_page(page(tmp_path), "page").content), encoding="utf-8")
    assert [CheckStatus.PASSED] == [check.status for check in checks(path, service, "page")]
    page(tmp_path, "- Check the events\n")
    (check,) = checks(path, service, "page")
    assert (CheckStatus.FAILED, True) == (check.status, "runbook import" in check.fix)


def test_permissions_of_its_actions_are_asked(tmp_path: Path, service: Service) -> None:
    """A runbook that may scale asks for the verbs of it."""
    path = tmp_path / "scales.ipynb"
    content = json.loads((ROOT / "notebooks" / "high_latency.ipynb").read_text(encoding="utf-8"))
    path.write_text(json.dumps(content), encoding="utf-8")
    assert "patch deployments/scale" in [check.name for check in checks(path, service, "permission")]
