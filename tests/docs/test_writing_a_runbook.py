"""What docs/writing-a-runbook.md shows of numbers, run on a metrics store that has scraped two pods."""

from __future__ import annotations

import json
import re
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from runbook_lib import analysis, charts
from runbook_lib.clients._tape import LiveTape
from runbook_lib.clients.prometheus import PrometheusClient
from runbook_lib.lab.metrics import remote_write
from runbook_lib.lab.metrics.labels import make_labels
from runbook_lib.lab.metrics.remote_write import WrittenSeries
from runbook_lib.lab.metrics.server import MetricsServer
from runbook_lib.model import Endpoint, Window

DOCUMENT = Path(__file__).parents[2] / "docs" / "writing-a-runbook.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```$", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
PODS = ("api-1", "api-2")
#: Share of requests within each bound: the p99 of both pods is 0.48 s.
SHARES = {"0.1": 0.8, "0.2": 0.85, "0.5": 1.0, "+Inf": 1.0}


def samples() -> list[WrittenSeries]:
    """Ten minutes of 20 requests/s on each pod, up to the present."""
    now = int(time.time() * 1000)
    times = range(now - 600_000, now, 15_000)
    labels = {"__name__": "http_request_duration_seconds_bucket", "namespace": "production", "service": "api"}
    return [
        (make_labels({**labels, "pod": pod, "le": bound}), [(t, 20 * share * (t - times[0]) / 1000) for t in times])
        for pod in PODS
        for bound, share in SHARES.items()
    ]


@pytest.fixture
def names(tmp_path: Path) -> Iterator[dict[str, Any]]:
    """What a cell can name: the library's parts, and a run whose metrics come from the store."""
    config = tmp_path / "metrics.json"
    config.write_text(json.dumps({"scrape_interval_seconds": 15, "retention_seconds": 3600}))
    server = MetricsServer(config)
    server.start()
    url = f"http://127.0.0.1:{server.port}"
    request = urllib.request.Request(
        f"{url}/api/v1/write", data=remote_write.encode(samples()), headers=remote_write.HEADERS, method="POST"
    )
    urllib.request.urlopen(request, timeout=20).close()
    metrics = PrometheusClient(
        endpoint=Endpoint("prometheus", {"url": url}, {}),
        workload={"namespace": "production", "selector": {"namespace": "production", "service": "api"}},
        tape=LiveTape(lambda _: None),
        window=Window.last(8),
        environment="production",
    )
    yield {"analysis": analysis, "charts": charts, "run": SimpleNamespace(metrics=metrics)}
    metrics.close()
    server.stop()


def shown(block: str, names: dict[str, Any]) -> Any:
    """What a cell of the block's lines shows: the value of its last line."""
    *before, last = block.strip().splitlines()
    exec("\n".join(before), names)
    return eval(last, names)


def test_further_into_the_numbers(names: dict[str, Any]) -> None:
    """The first block draws both pods' p99, the second makes a table of five minutes a row."""
    chart, table = (shown(block, names) for block in BLOCKS)
    assert "480 ms" in chart.sentence
    assert set(PODS) == {trace["name"] for trace in chart.figure_json["data"]}
    assert isinstance(table, pd.DataFrame)
    assert [f"pod={pod}" for pod in PODS] == list(table.columns)
    assert pd.Timedelta(minutes=5) == table.index[1] - table.index[0]
    assert 0.4 == pytest.approx(table.max().max())
