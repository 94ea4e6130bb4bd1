"""A real Alertmanager delivers to the receiver: groups, repeats and ends, as it really sends them."""

from __future__ import annotations

import json
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from runbook_lib.catalog import Catalog
from runbook_lib.hooks.queue import Queue
from runbook_lib.hooks.server import Receiver
from runbook_lib.hooks.settings import Settings
from tests.hooks import alerting

CONFIG = """
route: {{receiver: runbook, group_by: [alertname], group_wait: 200ms, group_interval: 500ms, repeat_interval: 1s}}
receivers:
  - name: runbook
    webhook_configs: [{{url: "{url}", send_resolved: true}}]
"""

pytestmark = pytest.mark.skipif(
    alerting.ALERTMANAGER is None, reason="needs Alertmanager (Debian: prometheus-alertmanager)"
)


@pytest.fixture
def receiver(known: Catalog, settings: Settings, queue: Queue) -> Iterator[Receiver]:
    """A running receiver that counts its deliveries."""
    made = Receiver(("127.0.0.1", 0), settings, known, queue, lambda: None)
    threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


@pytest.fixture
def alertmanager(receiver: Receiver, tmp_path: Path) -> Iterator[str]:
    """The address of a real Alertmanager that notifies the receiver."""
    config = tmp_path / "alertmanager.yml"
    host, mine = receiver.server_address[:2]
    config.write_text(CONFIG.format(url=f"http://{host}:{mine}/alertmanager"), encoding="utf-8")
    with alerting.alertmanager(config, tmp_path / "data", alerting.free_port()) as address:
        yield address


def fire(url: str, *pods: str, ends: str = "") -> None:
    """Send alerts as Prometheus does."""
    alerts = [
        {
            "labels": {"alertname": "HighLatency", "service": "api", "pod": pod},
            "annotations": {"summary": "p95 is above 200 ms", "runbook": "runbook://high-latency"},
            "startsAt": "2026-01-01T00:00:00Z",
            **({"endsAt": ends} if ends else {}),
        }
        for pod in pods
    ]
    body = json.dumps(alerts).encode()
    request = urllib.request.Request(f"{url}/api/v2/alerts", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=5) as answer:
        assert 200 == answer.status


def test_a_group_is_one_run_from_its_beginning_to_its_end(alertmanager: str, queue: Queue) -> None:
    """Three alerts, one of them later, with repeats: one run; when all have ended: one verification."""
    fire(alertmanager, "a", "b")
    alerting.wait_for(queue.jobs)
    fire(alertmanager, "a", "b", "c")
    time.sleep(3)
    assert ["run"] == [job.kind for job in queue.jobs()]
    (job,) = queue.jobs()
    assert ("HighLatency", "high_latency", "api") == (job.name, job.runbook, job.service)
    fire(alertmanager, "a", "b", "c", ends="2026-01-01T01:00:00Z")
    alerting.wait_for(lambda: len(queue.jobs()) > 1)
    time.sleep(2)
    assert ["run", "verify"] == [job.kind for job in queue.jobs()]
