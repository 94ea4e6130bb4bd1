"""Change-point detection."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runbook_lib.analysis.shifts import last_fall, last_rise, rise_after, segments

from .builders import END, STEP, line

NOW = END.timestamp()


@pytest.mark.parametrize("ago", [60, 300, 1800, 3300], ids=["a minute", "five minutes", "half an hour", "55 minutes"])
@pytest.mark.parametrize("factor", [2.0, 5.0, 20.0], ids=["twofold", "fivefold", "twentyfold"])
def test_a_step_is_dated_within_two_samples(ago: float, factor: float) -> None:
    """A step up is found at its time, whatever its size and age."""
    shift = last_rise(line(0.04, 0.04 * factor, ago=ago))
    assert shift is not None
    assert pytest.approx(NOW - ago, abs=2 * STEP) == shift.at


@pytest.mark.parametrize("seed", range(20))
def test_noise_is_no_step(seed: int) -> None:
    """Noise of a fifth around one level is not called a change."""
    assert last_rise(line(0.04, noise=0.2, seed=seed)) is None


def test_a_spike_is_no_step() -> None:
    """One sample ten times the level does not make a new level."""
    points = line(0.04)
    points[200] = (points[200][0], 0.4)
    assert last_rise(points) is None


def test_a_level_that_came_back_is_no_rise() -> None:
    """A rise that is over is not the present state."""
    points = [(t, 0.4 if NOW - 1200 <= t < NOW - 600 else v) for t, v in line(0.04)]
    assert last_rise(points) is None


def test_a_rise_in_stairs_is_dated_at_its_first_stair() -> None:
    """What began in two stairs began at the first one."""
    points = [(t, 3 * v if t >= NOW - 300 else v) for t, v in line(0.04, 0.2, ago=600)]
    shift = last_rise(points)
    assert shift is not None
    assert pytest.approx(NOW - 600, abs=2 * STEP) == shift.at


def test_an_earlier_incident_is_another_one() -> None:
    """Between two incidents the level came back, though not quite to what it was: the second one is the present one."""
    points = [(t, 4.0 if NOW - 1500 <= t < NOW - 1200 else 2 * v if t >= NOW - 1200 else v) for t, v in line(0.05)]
    shift = last_rise([(t, 5.0 if t >= NOW - 300 else v) for t, v in points])
    assert shift is not None
    assert pytest.approx(NOW - 300, abs=2 * STEP) == shift.at


def test_a_ramp_is_dated_at_its_foot() -> None:
    """A rate over a minute climbs for a minute after the event; the event is its foot, not its middle."""
    points = [(t, 0.04 + min(max(t - (NOW - 600), 0) / 60, 1) * 0.5) for t, _ in line(0.04)]
    shift = last_rise(points)
    assert shift is not None
    assert pytest.approx(NOW - 600, abs=2 * STEP) == shift.at


def test_missing_samples_do_not_hide_a_step() -> None:
    """A hole of ten minutes and every third sample lost still leave the step visible."""
    points = [p for i, p in enumerate(line(0.04, 0.4, ago=300)) if i % 3 and not 60 <= i < 100]
    shift = last_rise(points)
    assert shift is not None
    assert pytest.approx(NOW - 300, abs=4 * STEP) == shift.at


def test_a_rise_from_nothing_has_no_finite_factor() -> None:
    """Errors that start from zero rise by no finite factor."""
    shift = last_rise([(t, 0.0 if t < NOW - 300 else 0.2) for t, _ in line(1)])
    assert shift is not None
    assert math.inf == shift.factor


def test_a_fall_is_found_like_a_rise() -> None:
    """A level that fell to a third is dated as a rise would be."""
    shift = last_fall(line(3.0, 1.0, ago=300, noise=0.05))
    assert shift is not None
    assert pytest.approx(NOW - 300, abs=2 * STEP) == shift.at


@pytest.mark.parametrize(
    ("moment", "expected"),
    [(310, True), (200, False), (800, False)],
    ids=["just before the rise", "after it", "long before it"],
)
def test_a_rise_belongs_to_the_moment_before_it(moment: float, expected: bool) -> None:
    """A rise within two minutes of a moment is its doing; one before or long after is not."""
    assert expected is (rise_after(line(0.05, 0.6, ago=300), NOW - moment, 120) is not None)


def test_an_incident_that_ended_just_before_does_not_hide_a_rise() -> None:
    """Half a minute of calm between two incidents is enough to see the second one begin."""
    points = [(t, 6.0 if NOW - 400 <= t < NOW - 345 else v) for t, v in line(0.05, 0.6, ago=300)]
    assert rise_after(points, NOW - 305, 120) is not None


@pytest.mark.parametrize(("moment", "expected"), [(305.0, True), (1500.0, False)], ids=["just before", "long before"])
def test_a_rise_from_nothing_belongs_to_the_moment_before_it(moment: float, expected: bool) -> None:
    """Errors that began after a release, where there were none, are held against that release and no other."""
    points = [(t, 0.25 if t >= NOW - 300 else 0.0) for t, _ in line(1.0)]
    assert expected is (rise_after(points, NOW - moment, 120) is not None)


def test_one_fresh_sample_is_a_rise() -> None:
    """What began seconds ago shows in one sample only."""
    assert rise_after(line(0.05, 0.6, ago=10), NOW - 20, 120) is not None


@pytest.mark.parametrize("count", [0, 1, 2, 3], ids=["none", "one", "two", "three"])
def test_few_samples_make_no_change(count: int) -> None:
    """Fewer than four samples never make a change."""
    assert last_rise(line(0.04, 4.0, ago=15)[-count:] if count else []) is None


@settings(deadline=None, max_examples=40)
@given(scale=st.floats(1e-6, 1e6), shift=st.floats(-1e6, 1e6), stretch=st.floats(0.1, 100))
def test_units_and_clock_do_not_matter(scale: float, shift: float, stretch: float) -> None:
    """The same picture in other units, at another time, and drawn wider has the same step."""
    points = line(0.04, 0.4, ago=600, noise=0.2)
    index = {t: i for i, (t, _) in enumerate(points)}
    plain = last_rise(points)
    moved = [((t - NOW) * stretch + NOW + shift, v * scale) for t, v in points]
    other = last_rise(moved)
    assert plain is not None
    assert other is not None
    assert index[plain.at] == [t for t, _ in moved].index(other.at)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.floats(0, 1e9, allow_subnormal=False), max_size=60))
def test_any_values_are_cut_into_segments_that_cover_them(values: list[float]) -> None:
    """Segments hold every sample exactly once, in order."""
    points = [(float(i), v) for i, v in enumerate(values)]
    parts = segments(points)
    assert len(values) == sum(part.samples for part in parts)
    assert sorted(parts, key=lambda part: part.start) == parts
