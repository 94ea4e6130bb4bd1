"""The live picture's sentence, which is also what a screen reader speaks."""

from __future__ import annotations

import pytest

from runbook_lib.charts.live import live_sentence, live_svg
from runbook_lib.model import Evidence, Series, Window
from runbook_lib.model.times import parse_rfc3339

NOW = parse_rfc3339("2026-03-01T12:00:00Z")


def replicas(*lines: tuple[str, float, float]) -> Evidence:
    """Lines by state, each with its newest value and the age of that, seconds."""
    end = NOW.timestamp()
    series = tuple(Series.of([(end - 60, 3.0), (end - age, value)], {"state": name}) for name, value, age in lines)
    return Evidence("prometheus", "replicas", "Replicas", "count", "q", {}, Window.last(5, NOW), NOW, series)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([("available", 1, 0), ("wanted", 3, 0)], "now available 1, wanted 3"),
        ([("available", 1, 30), ("wanted", 3, 0)], "now wanted 3"),
        ([("wanted", 3, 0)], "now 3"),
        ([(f"pod-{i}", i, 0) for i in range(9)], "now 8"),
    ],
    ids=["two", "one ended", "one", "too many to name"],
)
def test_sentence_names_each_of_a_few_lines(lines: list[tuple[str, float, float]], expected: str) -> None:
    """A few lines are told one by one, with what each is at now; a line that ended is not told as if it went on."""
    assert f"Replicas: {expected} (read 12:00:00 UTC)" == live_sentence(replicas(*lines))


def test_headline_is_never_cut_within_the_time() -> None:
    """A sentence that is too long for the picture leaves the time of the reading to the right edge."""
    shown = live_svg(replicas(("available in every zone", 1, 0), ("wanted by the deployment", 3, 0)), NOW)
    assert "wanted by the deployment 3</text>" in shown
    assert "(read" not in shown
