"""Scraping: one thread for each target, on a fixed grid of times."""

from __future__ import annotations

import contextlib
import http.client
import threading
import time
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from runbook_lib.lab.metrics import labels as label_sets
from runbook_lib.lab.metrics.chunks import SampleSeries
from runbook_lib.lab.metrics.errors import ExpositionError
from runbook_lib.lab.metrics.exposition import PageParser
from runbook_lib.lab.metrics.labels import METRIC_NAME, Labels
from runbook_lib.lab.metrics.promql.floats import STALE
from runbook_lib.lab.metrics.store import Store

_MAX_PAGE_BYTES = 16 * 1024 * 1024
# A scrape that starts this close to its planned time is stamped with the planned time, as Prometheus does: even
# intervals compress better and make rates exact.
_ALIGN_SHARE = 0.01
_ACCEPT = "text/plain;version=0.0.4;q=1,*/*;q=0.1"


@dataclass(frozen=True, slots=True)
class Target:
    """A page to scrape and the labels that every series of it gets, ``job`` and ``instance`` among them."""

    url: str
    labels: Labels
    discovered: Mapping[str, str] = field(default_factory=dict, hash=False, compare=False)


@dataclass(slots=True)
class TargetHealth:
    """The last scrape; ``error`` is empty when it went well."""

    health: str = "unknown"
    error: str = ""
    last_scrape_seconds: float = 0.0
    duration_seconds: float = 0.0


class _Loop:
    """Scrapes one target until it is stopped."""

    def __init__(self, target: Target, store: Store, interval_seconds: float) -> None:
        self.target, self.store, self.interval_seconds = target, store, interval_seconds
        self.health = TargetHealth()
        self._parser = PageParser()
        self._known: dict[str, SampleSeries] = {}
        self._present: set[str] = set()
        self._connection: http.client.HTTPConnection | None = None
        self._stop = threading.Event()
        self._ends_series = True
        self._reports = {
            name: store.series(label_sets.replace(target.labels, METRIC_NAME, name))
            for name in ("up", "scrape_duration_seconds", "scrape_samples_scraped")
        }
        self._thread = threading.Thread(target=self._run, name=f"scrape {target.url}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, *, ends_series: bool = True) -> None:
        self._ends_series = ends_series
        self._stop.set()

    def join(self, timeout_seconds: float) -> None:
        self._thread.join(timeout_seconds)

    def _run(self) -> None:
        # Targets start at different points of the interval, always the same one for the same target.
        share = zlib.crc32(self.target.url.encode()) / 2**32
        interval = self.interval_seconds
        planned = (time.time() // interval + share) * interval
        while True:
            if planned < time.time():
                planned += interval * -(-(time.time() - planned) // interval)
            if self._stop.wait(max(0.0, planned - time.time())):
                break
            started = time.time()
            aligned = planned if abs(started - planned) <= interval * _ALIGN_SHARE else started
            self._scrape(round(aligned * 1000))
            planned += interval
        if self._ends_series:
            self._mark_all_stale(round(time.time() * 1000))
        self._close()

    def _scrape(self, time_ms: int) -> None:
        begun = time.perf_counter()
        try:
            samples = self._read_page(time_ms)
            error = ""
        except (OSError, http.client.HTTPException, ExpositionError) as failure:
            samples, error = [], f"{type(failure).__name__}: {failure}"
            self._close()
        duration = time.perf_counter() - begun
        gone = self._gone([text for text, _, _ in samples])
        self.store.append(
            [(series, value) for _, series, value in samples] + [(series, STALE) for series in gone], time_ms
        )
        self.store.append(
            [
                (self._reports["up"], 0.0 if error else 1.0),
                (self._reports["scrape_duration_seconds"], duration),
                (self._reports["scrape_samples_scraped"], float(len(samples))),
            ],
            time_ms,
        )
        self.health = TargetHealth("down" if error else "up", error, time_ms / 1000, duration)

    def _read_page(self, time_ms: int) -> list[tuple[str, SampleSeries, float]]:
        samples: list[tuple[str, SampleSeries, float]] = []
        for text, sample in self._parser.parse(self._fetch()):
            series = self._known.get(text)
            if series is None:
                series = self._known[text] = self.store.series(self._labelled(sample.labels))
            if sample.time_ms is not None:
                # The page's own time: such series end when the page says so, not when they are missing.
                del self._known[text]
                if sample.time_ms <= time_ms:
                    self.store.append([(series, sample.value)], sample.time_ms)
                continue
            samples.append((text, series, sample.value))
        self.store.metadata.update(self._parser.metadata)
        return samples

    def _labelled(self, labels: Labels) -> Labels:
        own = dict(self.target.labels)
        pairs = {f"exported_{name}" if name in own else name: value for name, value in labels}
        return label_sets.make_labels({**pairs, **own})

    def _gone(self, texts: list[str]) -> list[SampleSeries]:
        """The series of the previous page that are missing now."""
        present = set(texts)
        missing = self._present - present
        self._present = present
        for text in missing:
            self._parser.known.pop(text, None)
        return [self._known.pop(text) for text in missing]

    def _mark_all_stale(self, time_ms: int) -> None:
        gone = self._gone([]) + list(self._reports.values())
        self.store.append([(series, STALE) for series in gone], time_ms)

    def _fetch(self) -> str:
        kept = self._connection is not None
        try:
            body = self._request()
        except ConnectionError:
            if not kept:
                raise
            # The target closed the kept connection between two scrapes; a new one decides.
            self._close()
            body = self._request()
        try:
            return body.decode("utf-8")
        except UnicodeDecodeError as error:
            raise ExpositionError("the page is not UTF-8", 1) from error

    def _request(self) -> bytes:
        parts = urlsplit(self.target.url)
        if self._connection is None:
            kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
            self._connection = kind(parts.netloc, timeout=self.interval_seconds)
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._connection.request("GET", path, headers={"Accept": _ACCEPT})
        response = self._connection.getresponse()
        body = response.read(_MAX_PAGE_BYTES + 1)
        if response.status != 200:
            raise http.client.HTTPException(f"server returned HTTP status {response.status} {response.reason}")
        if len(body) > _MAX_PAGE_BYTES:
            raise http.client.HTTPException(f"page is larger than {_MAX_PAGE_BYTES} bytes")
        return body

    def _close(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(OSError):
                self._connection.close()
            self._connection = None


class Scraper:
    """Keeps one scraping thread for each target of a changing set.

    Args:
        store: where samples go.
        interval_seconds: between two scrapes of one target, and the timeout of each.
    """

    def __init__(self, store: Store, interval_seconds: float) -> None:
        self.store, self.interval_seconds = store, interval_seconds
        self._lock = threading.Lock()
        self._loops: dict[Target, _Loop] = {}

    def set_targets(self, targets: Iterable[Target]) -> None:
        """Scrape exactly these targets from now on; the series of removed ones end now."""
        wanted = set(targets)
        with self._lock:
            removed = [self._loops.pop(target) for target in set(self._loops) - wanted]
            for target in wanted - set(self._loops):
                self._loops[target] = _Loop(target, self.store, self.interval_seconds)
                self._loops[target].start()
        for loop in removed:
            loop.stop()

    def targets(self) -> list[tuple[Target, TargetHealth]]:
        """Every target with its last scrape, ordered by address."""
        with self._lock:
            loops = list(self._loops.values())
        return sorted(((loop.target, loop.health) for loop in loops), key=lambda pair: pair[0].url)

    def stop(self, *, ends_series: bool = True) -> None:
        """End all scraping; waits for scrapes in flight.

        Args:
            ends_series: whether the targets are gone; False when another scraper goes on with them.
        """
        with self._lock:
            loops = list(self._loops.values())
            self._loops.clear()
        for loop in loops:
            loop.stop(ends_series=ends_series)
        for loop in loops:
            loop.join(self.interval_seconds + 1)
