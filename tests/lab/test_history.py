"""Backfilled history is put together from measured intervals."""

from __future__ import annotations

import itertools
import random
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from runbook_lib.lab.history import INTERVALS, Measured, _drawn, wait_settled
from runbook_lib.lab.metrics.labels import make_labels

TIMES = [1_000_000 + 15_000 * step for step in range(40)]


def measured(name: str, steps: list[float], *, counter: bool = True) -> Measured:
    """One series that was measured over the intervals."""
    return Measured(make_labels({"__name__": name}), steps, counter, 0.0, 0.5)


def history(*series: Measured) -> list[list[float]]:
    """The drawn values of each series."""
    return [[value for _, value in samples] for _, samples in _drawn(series, TIMES, random.Random(7))]


def test_counter_never_falls() -> None:
    """A drawn counter only grows."""
    (values,) = history(measured("requests_total", [3.0, 0.0, 5.0, 1.0]))
    assert all(low <= high for low, high in itertools.pairwise(values))


def test_buckets_of_a_histogram_fit_each_other() -> None:
    """All series share the drawn intervals, so a larger bucket never holds less than a smaller one."""
    small, large = history(measured("x_bucket", [1.0, 2.0, 0.0, 4.0]), measured("x_bucket", [2.0, 2.0, 1.0, 6.0]))
    assert all(low <= high for low, high in zip(small, large, strict=True))


def test_rate_is_the_measured_one() -> None:
    """Over the whole history the growth is that of the measurement, give or take the draw."""
    (values,) = history(measured("requests_total", [4.0, 6.0, 5.0, 5.0]))
    per_second = (values[-1] - values[0]) / ((TIMES[-1] - TIMES[0]) / 1000)
    assert 9.0 < per_second < 11.0


def test_gauge_takes_only_measured_values() -> None:
    """A drawn gauge never has a value that nobody measured."""
    (values,) = history(measured("connections", [5.0, 7.0, 6.0, 5.0], counter=False))
    assert set(values) <= {5.0, 6.0, 7.0}
    assert INTERVALS == 4


class _Late(BaseHTTPRequestHandler):
    """A metrics store that is not ready for its first three questions."""

    asked = 0

    def do_GET(self) -> None:
        type(self).asked += 1
        body = b'{"data": {"result": [{}]}}'
        self.send_response(503 if type(self).asked <= 3 else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def test_store_that_is_not_ready_is_waited_for() -> None:
    """On a busy machine the store listens before it answers: that is no reason to give the lab up."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Late) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        assert wait_settled(f"http://127.0.0.1:{server.server_port}", 0.01, 20.0, timeout_seconds=30)
        server.shutdown()
    assert 5 == _Late.asked
