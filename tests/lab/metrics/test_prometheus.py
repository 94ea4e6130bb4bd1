"""What the launcher writes for a real Prometheus."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from runbook_lib.lab.metrics import prometheus
from runbook_lib.lab.metrics.config import AlertRule, Config, StaticTarget
from runbook_lib.lab.metrics.discovery import static_targets
from runbook_lib.lab.metrics.labels import make_labels
from runbook_lib.lab.metrics.scrape import Target

CONFIG = Config(
    scrape_interval_seconds=1.5,
    static_targets=(StaticTarget("https://127.0.0.1:1/page?part=one", {"job": "postgres"}),),
    rules=(AlertRule("High", "up == 0", 60, {"severity": "page"}, {"summary": "{{ $labels.job }}"}),),
    alertmanager_url="http://127.0.0.1:2/prefix",
)


def test_targets_file_holds_address_path_scheme_and_parameters(tmp_path: Path) -> None:
    """A pod and a configured page become target groups."""
    pod = Target("http://127.0.0.1:3/metrics", make_labels({"job": "api", "pod": "a"}))
    prometheus.write_targets([*static_targets(CONFIG), pod], tmp_path)
    first, second = json.loads((tmp_path / "targets.json").read_text())
    assert ["127.0.0.1:1"] == first["targets"]
    assert {"__scheme__": "https", "__metrics_path__": "/page", "__param_part": "one"}.items() <= first[
        "labels"
    ].items()
    assert {"job": "api", "pod": "a", "__metrics_path__": "/metrics", "__scheme__": "http"} == second["labels"]


@pytest.mark.skipif(shutil.which("promtool") is None, reason="no promtool on PATH")
def test_files_are_valid_for_prometheus(tmp_path: Path) -> None:
    """Its own checker accepts configuration and rules."""
    prometheus.write_files(CONFIG, tmp_path)
    prometheus.write_targets(static_targets(CONFIG), tmp_path)
    checked = subprocess.run(
        [str(shutil.which("promtool")), "check", "config", str(tmp_path / "prometheus.json")],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (0, True) == (checked.returncode, "1 rules found" in checked.stdout), checked.stdout + checked.stderr
