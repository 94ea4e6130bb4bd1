"""A range answer of 100 series with 11,000 points to columns, beside prometheus-api-client and bare parsing."""

from __future__ import annotations

import importlib.util
import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.table import ROOT, Row, in_turns, processor_seconds
from runbook_lib.clients import _matrix

SERIES, POINTS, STEP_SECONDS = 100, 11_000, 15
_PEAK = """
import sys
from pathlib import Path
from runbook_lib.clients import _matrix
_matrix.read(b'{"data":{"resultType":"matrix","result":[{"metric":{},"values":[[1,"2"]]}]}}')
body = Path(sys.argv[1]).read_bytes()
# The peak is set back to what is there now; getrusage would tell that of the process that started this one.
Path("/proc/self/clear_refs").write_text("5")
def peak():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
before = peak()
found = _matrix.read(body)
print(1 + (peak() - before) * 1024 / len(body))
"""


def payload() -> bytes:
    """The answer, the same each time."""
    rng, start = random.Random(1), 1_700_000_000
    bodies = []
    for number in range(SERIES):
        size = 10 if number % 2 else 0.3
        pairs = ",".join(f'[{start + STEP_SECONDS * i},"{rng.random() * size!r}"]' for i in range(POINTS))
        bodies.append(f'{{"metric":{{"__name__":"m","pod":"pod-{number}"}},"values":[{pairs}]}}')
    text = ",".join(bodies)
    return f'{{"status":"success","data":{{"resultType":"matrix","result":[{text}]}}}}'.encode()


def main(rounds: int = 3) -> list[Row]:
    """Rows of the data path."""
    body = payload()
    _check(body)
    parse, ours = in_turns(
        rounds,
        lambda: processor_seconds(lambda: json.loads(body)),
        lambda: processor_seconds(lambda: _matrix.read(body)),
    )
    mine = min(ours)
    with tempfile.NamedTemporaryFile() as file:
        Path(file.name).write_bytes(body)
        command = [sys.executable, "-c", _PEAK, file.name]
        peak = float(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)
    shown = f"{mine:.3f}"
    rows = [
        Row("1.1 M samples to columns: s", shown, f"{min(parse):.3f} (json.loads alone)", min(parse) / mine, 0.5,
            "every float is the one of float()"),
        Row("the same: memory beside the payload", f"{peak:.2f}x", "2x (limit)", 2 / max(peak, 0.01), 1),
    ]  # fmt: skip
    if importlib.util.find_spec("prometheus_api_client") is None:
        return [*rows, Row("1.1 M samples to columns: s", shown, "prometheus-api-client is not installed", 0, 0)]
    peers = [processor_seconds(lambda: _peer(body)) for _ in range(rounds)]
    peer = f"{min(peers):.2f} (prometheus-api-client, DataFrame)"
    return [*rows, Row("1.1 M samples to columns: s", shown, peer, min(peers) / mine, 20)]


def _peer(body: bytes) -> Any:
    from prometheus_api_client import MetricRangeDataFrame

    return MetricRangeDataFrame(json.loads(body)["data"]["result"])


def _check(body: bytes) -> None:
    """Both must have the same numbers."""
    frame = json.loads(body)
    for one, (labels, (times, values)) in zip(frame["data"]["result"], _matrix.read(body)[1], strict=True):
        same = labels["pod"] == one["metric"]["pod"] and list(times) == [float(t) for t, _ in one["values"]]
        if not same or list(values) != [float(v) for _, v in one["values"]]:
            raise SystemExit(f"{labels} has other numbers than the answer")
