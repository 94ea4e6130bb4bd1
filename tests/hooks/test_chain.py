"""From a fault of the lab to the finished record, over a real rule in Prometheus and a real Alertmanager."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from runbook_lib.hooks.queue import Queue
from runbook_lib.lab.faults import registry
from runbook_lib.record.record import Record
from runbook_lib.record.verify import verify
from tests.conftest import COMMAND, Practice
from tests.hooks import alerting

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples" / "alerts"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(alerting.PROMETHEUS is None, reason="needs prometheus on PATH (Debian: prometheus)"),
    pytest.mark.skipif(alerting.ALERTMANAGER is None, reason="needs Alertmanager (Debian: prometheus-alertmanager)"),
]


def example(name: str, folder: Path, **other: str) -> Path:
    """A file of the documentation, with the addresses of this test in the place of its own."""
    text = (EXAMPLES / name).read_text(encoding="utf-8")
    for old, new in other.items():
        assert old in text
        text = text.replace(old, new)
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


@pytest.fixture
def chain(practice: Practice, tmp_path: Path) -> Iterator[Path]:
    """Prometheus on the lab, Alertmanager and the hook, as the documentation starts them; the folder of the queue."""
    port = {name: alerting.free_port() for name in ("hook", "alertmanager", "prometheus")}
    hook, address = tmp_path / "hook", f"127.0.0.1:{port['hook']}"
    table = str(example("hook.toml", tmp_path))
    serve = [str(COMMAND), "hook", "serve", "--config", table, "--dir", str(hook), "--listen", address]
    notify = example("alertmanager.yml", tmp_path, **{"127.0.0.1:9099": address})
    example("rules.yml", tmp_path)
    places = {"127.0.0.1:9093": f"127.0.0.1:{port['alertmanager']}", "../../../.lab": str(practice.folder)}
    scrape = example("prometheus.yml", tmp_path, **places)
    with ExitStack() as stack:
        serving = alerting.serving(serve, f"http://{address}/healthz", env=practice.environment, cwd=practice.folder)
        stack.enter_context(serving)
        stack.enter_context(alerting.alertmanager(notify, tmp_path / "alerts", port["alertmanager"]))
        stack.enter_context(alerting.prometheus(scrape, tmp_path / "samples", port["prometheus"]))
        yield hook


def test_a_fault_becomes_one_record_that_names_its_cause(practice: Practice, chain: Path) -> None:
    """A session that blocks others raises p95, the rule fires, and one run ends as a record that names the session."""
    registry.apply(practice.folder, "idle_in_transaction", {})
    queue = Queue(chain / "queue.sqlite")
    try:
        alerting.wait_for(lambda: queue.jobs("done", "failed"), 150)
    finally:
        registry.heal(practice.folder)
    (job,) = json.loads(practice.command("hook", "jobs", "--dir", str(chain), "--json").stdout)["jobs"]
    assert ("run", "done", "HighLatency") == (job["kind"], job["state"], job["name"])
    folder = Path(job["record"])
    record = Record.read(folder)
    assert [] == list(verify(folder).problems)
    assert (True, "HighLatency") == (record.sealed, record.run["alert"]["name"])
    assert "db.idle_in_transaction" == str(record.findings[0]["cause"])
    assert 1 == len(list((practice.folder / "outputs").glob("*/*/*/*/events.jsonl")))
