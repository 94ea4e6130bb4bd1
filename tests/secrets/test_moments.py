"""Lists of moments, such as a chart's axis, are passed over quickly and still hold no known secret."""

from __future__ import annotations

import pytest

from runbook_lib.secrets import Redactor, Secret

AXIS = ["2026-01-01T00:00:00.000000", "2026-01-01 00:00:15+00:00", "2026-01-01"]


def test_moments_stay_as_they_are() -> None:
    """Nothing is taken out of an axis."""
    assert {"x": AXIS} == Redactor([Secret("hunter2-hunter2")]).data({"x": AXIS})


def test_a_known_secret_that_is_a_moment_is_found() -> None:
    """A known value is removed whatever it looks like."""
    redactor = Redactor([Secret("2026-01-01")])
    assert not any("2026-01-01" in one for one in redactor.data(AXIS))
    assert 3 == redactor.count


@pytest.mark.parametrize(
    "odd",
    [
        pytest.param("password=hunter2-hunter2", id="an assignment"),
        pytest.param("1:12345:1:1:123456", id="a line of a password file"),
        pytest.param("AKIA" + "Z" * 16, id="a key by its shape"),
        pytest.param("2026-01-01\ntoken=abcdefgh12345", id="a second line"),
    ],
)
def test_one_secret_among_moments_is_found(odd: str) -> None:
    """A list with anything else in it is looked through one by one."""
    assert odd not in Redactor().data([*AXIS, odd])
