"""The chart, and Helm's own view of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from runbook_lib.errors import LabError
from runbook_lib.lab.release import CHART, Helm

helm_python = pytest.importorskip("helm_python", reason="the Helm SDK is not installed")


def rendered(values: dict[str, Any]) -> dict[str, Any]:
    """Kind -> object of the chart with ``values-prod.yaml`` and values on top."""
    production = yaml.safe_load((CHART / "values-prod.yaml").read_text())
    with helm_python.Chart.load(str(CHART)) as chart:
        answer = chart.render(values={**production, **values}, name="api-release")
    texts = answer.values() if isinstance(answer, dict) else [answer]
    objects = [one for text in texts for one in yaml.safe_load_all(text) if one]
    return {one["kind"]: one for one in objects}


def test_chart_passes_helm_lint() -> None:
    """Helm finds no error in the chart."""
    assert [] == helm_python.lint(str(CHART))["errors"]


def test_production_values_allow_a_change_without_downtime() -> None:
    """Three replicas, none of which is missing during a rollout, behind a readiness probe."""
    spec = rendered({})["Deployment"]["spec"]
    container = spec["template"]["spec"]["containers"][0]
    assert (3, {"maxSurge": 1, "maxUnavailable": 0}) == (spec["replicas"], spec["strategy"]["rollingUpdate"])
    assert "/health" == container["readinessProbe"]["httpGet"]["path"]
    assert {"cpu": "300m", "memory": "256Mi"} == container["resources"]["limits"]


def test_new_configuration_is_a_new_rollout() -> None:
    """A change of the ConfigMap changes the pod template."""
    before, after = (rendered({"config": {"WORK_MS": work}})["Deployment"] for work in ("4", "48"))
    assert before["spec"]["template"] != after["spec"]["template"]


def test_selector_does_not_change_with_the_image() -> None:
    """The selector is immutable, so it must not hold the version."""
    first, second = (rendered({"image": {"repository": "acme/api", "tag": tag}})["Deployment"] for tag in ("v1", "v2"))
    assert first["spec"]["selector"] == second["spec"]["selector"]


def test_unreachable_cluster_is_one_clear_error(tmp_path: Path) -> None:
    """An operation without a cluster fails with Helm's sentence, not with a traceback."""
    with pytest.raises(LabError, match=r"helm failed: .*unreachable"):
        Helm(tmp_path / "nowhere", deadline_seconds=20).history()
