"""Backfilled history: what the lab would have measured in the last minutes, had it been up.

Nothing in it is invented: the running, healthy lab is measured over a few short intervals, and every step of the past
is put together from such intervals, drawn at random and the same ones for all series, so that counts, sums and
buckets fit each other. ``lab_history_backfilled`` is 1 for as long as samples are made this way, so that no reader
takes them for measurements.
"""

from __future__ import annotations

import http.client
import itertools
import json
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

from runbook_lib.errors import LabError
from runbook_lib.lab.metrics import remote_write
from runbook_lib.lab.metrics.labels import METRIC_NAME, Labels, make_labels

STEP_SECONDS = 15
MARK = "lab_history_backfilled"
#: Intervals between two scrapes that the history is drawn from.
INTERVALS = 4
#: Measured p95 above which the lab is still settling, seconds: half of the objective.
SETTLED_SECONDS = 0.1
_TIMEOUT_SECONDS = 10.0
_HISTOGRAM_ENDINGS = ("_bucket", "_count", "_sum")
# Facts about one moment: a time at which no process ran must not get a start time.
_LEFT_OUT = ("process_start_time_seconds", "redis_uptime_in_seconds", "scrape_")
#: Share of the load's rate that must have arrived over all the measured intervals.
LOADED_SHARE = 0.8
_REQUESTS = 'http_request_duration_seconds_count{service="api"}'
# Only series that are old enough to be measured: one that was just born would be missing in the history.
_TRAFFIC = f"sum(rate({_REQUESTS}[%s]) and (count_over_time({_REQUESTS}[1m]) > {INTERVALS}))"
_P95 = 'histogram_quantile(0.95, sum by (le) (increase(http_request_duration_seconds_bucket{service="api"}[%s])))'


@dataclass(frozen=True)
class Measured:
    """One series over the last intervals.

    Args:
        labels: with the metric's name.
        steps: for a counter the growth in each interval, for a gauge its value at the end of each.
        counter: which of the two.
        first: time of its oldest sample, seconds since the epoch.
        interval_seconds: mean length of an interval.
    """

    labels: Labels
    steps: Sequence[float]
    counter: bool
    first: float
    interval_seconds: float


def wait_settled(metrics_url: str, scrape_seconds: float, rate: float, timeout_seconds: float = 30.0) -> bool:
    """Wait until every target was scraped often enough, then until the service was healthy under its load in all of it.

    Args:
        metrics_url: base address of the store.
        scrape_seconds: length of one interval.
        rate: requests per second that the load sends; before they arrive there is no service to measure.
        timeout_seconds: for the scrapes; a third of it again for the service.

    Returns:
        False when the service still was not healthy, as on a machine that is busy with other things.

    Raises:
        LabError: a target could not be scraped in time; names it.
    """
    scraped = f"min(sum_over_time(up[1m])) >= {INTERVALS + 1}"
    span = f"{round((INTERVALS + 0.5) * scrape_seconds * 1000)}ms"
    settled = f"({_P95 % span} < {SETTLED_SECONDS}) and ({_TRAFFIC % span} > {LOADED_SHARE * rate})"
    for condition, seconds in ((scraped, timeout_seconds), (settled, timeout_seconds / 3)):
        deadline = time.monotonic() + seconds
        while not _holds(metrics_url, condition):
            if time.monotonic() > deadline:
                if condition is settled:
                    return False
                missing = [row["metric"] for row in _query(metrics_url, f"sum_over_time(up[1m]) <= {INTERVALS}")]
                raise LabError(f"metrics: not scraped {INTERVALS + 1} times within {seconds:g} s: {missing}")
            time.sleep(scrape_seconds / 5)
    return True


def backfill(metrics_url: str, seconds: int, *, seed: int = 1) -> int:
    """Fill the time before the first scrape.

    Args:
        metrics_url: base address of the store; it must take remote write.
        seconds: age of the oldest sample.
        seed: of the random draws.

    Returns:
        How many samples were written.

    Raises:
        LabError: the store has no measurement yet, or refuses the samples.
    """
    measured = _measure(metrics_url)
    end = int(min(one.first for one in measured)) - 1
    times = [stamp * 1000 for stamp in range(end - seconds, end + 1, STEP_SECONDS)]
    series = list(_drawn(measured, times, random.Random(seed)))
    # The 0 ends it: without one the last 1 would be answered for another five minutes.
    marks = [*((stamp, 1.0) for stamp in times), ((end + 1) * 1000, 0.0)]
    series.append((make_labels({METRIC_NAME: MARK}), marks))
    _send(metrics_url, "POST", "/api/v1/write", remote_write.encode(series), remote_write.HEADERS)
    return sum(len(samples) for _, samples in series)


def _measure(metrics_url: str) -> list[Measured]:
    rows = _query(metrics_url, '{__name__=~".+",job!=""}[1m]')
    described = json.loads(_send(metrics_url, "GET", "/api/v1/metadata"))["data"]
    counters = {name + ending for name, kinds in described.items() for ending in _endings(kinds[0]["type"])}
    found = [_series(row, counters) for row in rows if not row["metric"][METRIC_NAME].startswith(_LEFT_OUT)]
    measured = [one for one in found if one is not None]
    if not measured:
        raise LabError(f"the metrics store at {metrics_url} has no series with {INTERVALS} intervals yet")
    return measured


def _endings(kind: str) -> tuple[str, ...]:
    """What a metric's name is followed by in its growing series."""
    return {"counter": ("",), "histogram": _HISTOGRAM_ENDINGS, "summary": ("_count", "_sum")}.get(kind, ())


def _series(row: Mapping[str, Any], counters: set[str]) -> Measured | None:
    """The last intervals of one raw series; None for one that is too young."""
    samples = [(float(stamp), float(value)) for stamp, value in row["values"]]
    last = samples[-(INTERVALS + 1) :]
    if len(last) <= INTERVALS:
        return None
    counter = row["metric"][METRIC_NAME] in counters
    pairs = list(itertools.pairwise(last))
    steps = [max(0.0, new - old) if counter else new for (_, old), (_, new) in pairs]
    length = (last[-1][0] - last[0][0]) / INTERVALS
    return Measured(make_labels(row["metric"]), steps, counter, samples[0][0], length)


def _drawn(
    measured: Sequence[Measured], times: Sequence[int], source: random.Random
) -> Iterator[remote_write.WrittenSeries]:
    """Histories of all series; one draw of intervals for each step, shared by all series."""
    repeats = max(1, round(STEP_SECONDS / measured[0].interval_seconds))
    draws = [[source.randrange(INTERVALS) for _ in range(repeats)] for _ in times]
    weights = [[draw.count(index) for index in range(INTERVALS)] for draw in draws]
    for one in measured:
        if not one.counter:
            yield one.labels, [(stamp, one.steps[draw[0]]) for stamp, draw in zip(times, draws, strict=True)]
            continue
        total, samples = 0.0, []
        for stamp, weight in zip(times, weights, strict=True):
            total += sum(step * count for step, count in zip(one.steps, weight, strict=True) if step)
            samples.append((stamp, total))
        yield one.labels, samples


def _holds(metrics_url: str, condition: str) -> bool:
    """Whether a condition holds; a store that does not answer yet says nothing."""
    try:
        return bool(_query(metrics_url, condition))
    except LabError:
        return False


def _query(metrics_url: str, query: str) -> list[dict[str, Any]]:
    answer = _send(metrics_url, "GET", f"/api/v1/query?{urlencode({'query': query})}")
    rows: list[dict[str, Any]] = json.loads(answer)["data"]["result"]
    return rows


def _send(base_url: str, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> bytes:
    parts = urlsplit(base_url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=_TIMEOUT_SECONDS)
    try:
        connection.request(method, path, body or None, dict(headers or {}))
        answer = connection.getresponse()
        text = answer.read()
    except (OSError, http.client.HTTPException) as error:
        raise LabError(f"metrics store: {method} {path.partition('?')[0]}: {error}") from error
    finally:
        connection.close()
    if answer.status >= 300:
        raise LabError(f"metrics store: {method} {path.partition('?')[0]}: {answer.status} {text[:200]!r}")
    return text
