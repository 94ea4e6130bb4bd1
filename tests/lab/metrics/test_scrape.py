"""Scraping: what is stored when a target answers, changes, fails or disappears."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from runbook_lib.lab.metrics import labels as label_sets
from runbook_lib.lab.metrics.labels import Matcher, make_labels
from runbook_lib.lab.metrics.promql.floats import is_stale
from runbook_lib.lab.metrics.scrape import Scraper, Target
from runbook_lib.lab.metrics.store import Store

INTERVAL_SECONDS = 0.1


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def scraper(store: Store) -> Iterator[Scraper]:
    scraper = Scraper(store, INTERVAL_SECONDS)
    yield scraper
    scraper.stop()


def values(store: Store, name: str) -> list[float]:
    """All values of all series of a name."""
    return [value for samples in store.read([Matcher("__name__", "=", name)], 0, 2**60) for value in samples.values]


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "did not happen within 10 s"
        threading.Event().wait(0.01)


def target(page: Any, **labels: str) -> Target:
    return Target(page.url, make_labels({"job": "api", "instance": page.address, **labels}))


def last(store: Store, name: str) -> float:
    found = values(store, name)
    return found[-1] if found else math.nan


def test_samples_carry_the_labels_of_target_and_page(store: Store, scraper: Scraper, page: Any) -> None:
    """A page's label that the target has too is kept under another name."""
    page.text = 'requests_total{code="200",job="mine"} 5\n'
    scraper.set_targets([target(page, pod="a")])
    wait_for(lambda: bool(values(store, "requests_total")))
    (labels,) = store.matching([Matcher("__name__", "=", "requests_total")], 0, 2**60)
    wanted = {"code": "200", "exported_job": "mine", "job": "api", "instance": page.address, "pod": "a"}
    assert make_labels({"__name__": "requests_total", **wanted}) == labels
    assert (1.0, 1.0) == (last(store, "up"), last(store, "scrape_samples_scraped"))


def test_scrapes_are_stamped_with_even_intervals(store: Store, scraper: Scraper, page: Any) -> None:
    """The times of most samples are exactly one interval apart."""
    page.text = "a 1\n"
    scraper.set_targets([target(page)])
    wait_for(lambda: len(values(store, "a")) >= 10)
    (samples,) = store.read([Matcher("__name__", "=", "a")], 0, 2**60)
    distances = [after - before for before, after in zip(samples.times_ms, samples.times_ms[1:], strict=False)]
    assert len(distances) / 2 < sum(abs(distance - 100) <= 2 for distance in distances)


def test_series_missing_from_the_page_ends(store: Store, scraper: Scraper, page: Any) -> None:
    """A series that a page does not show any more gets a staleness marker, the others go on."""
    page.text = "a 1\nb 2\n"
    scraper.set_targets([target(page)])
    wait_for(lambda: bool(values(store, "b")))
    page.text = "a 1\n"
    wait_for(lambda: is_stale(last(store, "b")))
    assert not is_stale(last(store, "a"))
    page.text = "a 1\nb 3\n"
    wait_for(lambda: last(store, "b") == 3)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda page: setattr(page, "status", 500), "500"),
        (lambda page: setattr(page, "text", "a one\n"), "invalid value"),
        (lambda page: setattr(page, "delay_seconds", 0.5), "timed out"),
        (lambda page: page.close(), "refused"),
    ],
    ids=["error status", "wrong page", "too slow", "gone"],
)
def test_failed_scrape_is_down_and_ends_the_series(
    store: Store, scraper: Scraper, page: Any, change: Callable[[Any], None], word: str
) -> None:
    """A target that does not answer is 0 in ``up``; its other series have no value, not their last one."""
    page.text = "a 1\n"
    scraper.set_targets([target(page)])
    wait_for(lambda: last(store, "a") == 1)
    change(page)
    wait_for(lambda: last(store, "up") == 0 and is_stale(last(store, "a")))
    wait_for(lambda: word in scraper.targets()[0][1].error)
    assert "down" == scraper.targets()[0][1].health


def test_removed_target_ends_with_all_its_series(store: Store, scraper: Scraper, page: Any) -> None:
    """A pod that is gone has no ``up`` any more, neither 1 nor 0."""
    page.text = "a 1\n"
    scraper.set_targets([target(page)])
    wait_for(lambda: last(store, "a") == 1)
    scraper.set_targets([])
    wait_for(lambda: is_stale(last(store, "up")))
    assert is_stale(last(store, "a"))
    hits = page.hits
    threading.Event().wait(3 * INTERVAL_SECONDS)
    assert hits == page.hits


def test_same_series_twice_on_a_page_counts_once(store: Store, scraper: Scraper, page: Any) -> None:
    """The first of two samples of one series is taken."""
    page.text = "a 1\na 2\n"
    scraper.set_targets([target(page)])
    wait_for(lambda: len(values(store, "a")) > 2)
    assert {1.0} == set(values(store, "a"))


def test_own_time_of_a_page_is_used(store: Store, scraper: Scraper, page: Any) -> None:
    """A sample with a time is stored at that time and once."""
    page.text = "a 1 1700000000000\n"
    scraper.set_targets([target(page)])
    wait_for(lambda: len(values(store, "up")) > 2)
    (samples,) = store.read([Matcher("__name__", "=", "a")], 0, 2**60)
    assert [1700000000000] == list(samples.times_ms)


def test_labels_are_written_as_in_a_query() -> None:
    """The notation of a series escapes what needs it."""
    assert 'a{b="\\"c\\""}' == label_sets.text(make_labels({"__name__": "a", "b": '"c"'}))


def test_another_scraper_goes_on_without_a_gap(store: Store, page: Any) -> None:
    """A change of the interval does not end any series."""
    page.text = "a 1\n"
    first = Scraper(store, INTERVAL_SECONDS)
    first.set_targets([target(page)])
    wait_for(lambda: last(store, "a") == 1)
    first.stop(ends_series=False)
    assert [] == [value for name in ("a", "up") for value in values(store, name) if is_stale(value)]
