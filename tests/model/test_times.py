"""Times are aware and in UTC everywhere."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from runbook_lib.errors import ParameterError
from runbook_lib.model import Window
from runbook_lib.model.times import duration, parse_rfc3339, relative, rfc3339, seen_from

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def test_other_zones_become_utc() -> None:
    """A time of another zone is written in UTC with Z."""
    tokyo = datetime(2026, 1, 1, 21, tzinfo=timezone(timedelta(hours=9)))
    assert rfc3339(tokyo) == "2026-01-01T12:00:00.000Z"


def test_naive_time_is_refused() -> None:
    """A time without a zone is never guessed."""
    with pytest.raises(ValueError, match="no time zone"):
        rfc3339(datetime(2026, 1, 1))  # noqa: DTZ001 - the naive time is what the test is about
    with pytest.raises(ValueError, match="names no time zone"):
        parse_rfc3339("2026-01-01T12:00:00")


@pytest.mark.parametrize(
    ("expected", "seconds"),
    [("840 ms", 0.84), ("12 s", 12), ("5m12s", 312), ("3h05m", 11100), ("2d04h", 187200)],
    ids=["milliseconds", "seconds", "minutes", "hours", "days"],
)
def test_duration(expected: str, seconds: float) -> None:
    """A length of time takes the two largest units that matter."""
    assert expected == duration(seconds)


def test_relative_has_a_sign() -> None:
    """A moment is told as before or after another."""
    assert relative(NOON + timedelta(minutes=7), NOON) == "+7m00s"
    assert relative(NOON - timedelta(seconds=12), NOON) == "-12 s"


@pytest.mark.parametrize(
    ("expected", "minutes", "name"),
    [
        ("11:57:00 UTC, 3m00s before the alert", -3, "the alert"),
        ("12:07:00 UTC, 7m00s after", 7, ""),
        ("2025-12-31 12:00:00 UTC, 1d00h before", -1440, ""),
    ],
    ids=["before", "after", "another day"],
)
def test_seen_from(expected: str, minutes: float, name: str) -> None:
    """A moment is told in UTC and as seen from another; its date only where the days differ."""
    assert expected == seen_from(NOON + timedelta(minutes=minutes), NOON, name)


@pytest.mark.parametrize("minutes", [0, -5, 10**9, float("nan")], ids=["zero", "negative", "huge", "nan"])
def test_window_of_no_length_is_refused(minutes: float) -> None:
    """A window must have a length, and not more than a quarter year."""
    with pytest.raises(ParameterError, match="minutes must be above 0"):
        Window.last(minutes)


def test_window_is_half_open() -> None:
    """A window holds its start and not its end."""
    window = Window.last(10, end=NOON)
    assert window.holds(window.start)
    assert not window.holds(NOON)
