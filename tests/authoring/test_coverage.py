"""Alerts and runbooks are held against each other."""

from __future__ import annotations

from pathlib import Path

import pytest

from runbook_lib.authoring.coverage import coverage, rules
from runbook_lib.errors import UsageError

FILE = """
groups:
  - name: api
    rules:
      - alert: HighLatency
        expr: x > 1
        annotations: {runbook_url: "https://wiki.example.com/runbooks/high-latency"}
      - alert: Silent
        expr: y > 1
      - alert: Broken
        expr: z > 1
        annotations: {runbook: "runbook://gone"}
      - record: job:x:sum
        expr: sum(x)
"""
OPERATOR = """
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
spec:
  groups:
    - name: pods
      rules: [{alert: Routed, expr: up == 0}]
"""


def test_coverage(tmp_path: Path) -> None:
    """Covered, without a runbook, with one that is gone, and runbooks that no alert leads to."""
    (tmp_path / "rules.yml").write_text(FILE, encoding="utf-8")
    (tmp_path / "operator.yml").write_text(OPERATOR, encoding="utf-8")
    found = rules([tmp_path / "rules.yml", tmp_path / "operator.yml"])
    told = coverage(
        found, {"Routed": "preflight"}, ["high_latency", "preflight", "rollback"], {"preflight": "2026-01-01"}
    )
    assert {"HighLatency": "high_latency", "Routed": "preflight"} == told.covered
    assert (("Silent",), {"Broken": "gone"}, ("rollback",)) == (told.without_runbook, told.broken, told.without_alert)
    assert {"high_latency": "", "preflight": "2026-01-01", "rollback": ""} == told.proven
    assert not told.complete


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """A rule file that cannot be read is told as such, not as one without rules."""
    with pytest.raises(UsageError, match=r"nowhere\.yml: cannot be read: No such file"):
        rules([tmp_path / "nowhere.yml"])


@pytest.mark.parametrize(
    "text", ["a: [", "[]", "groups: 3", "x: 1", "\x00"], ids=["yaml", "list", "number", "no-groups", "nul"]
)
def test_no_rule_file(text: str, tmp_path: Path) -> None:
    """A file without rule groups is named in the error."""
    path = tmp_path / "rules.yml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=r"rules\.yml"):
        rules([path])
