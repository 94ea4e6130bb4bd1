"""Canonical JSON follows RFC 8785."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbook_lib.model.canonical import canonical, digest

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("expected", "number"),
    [
        # Values of RFC 8785, appendix B, and of ECMAScript's Number::toString.
        ("0", 0.0),
        ("0", -0.0),
        ("5e-324", 5e-324),
        ("1.7976931348623157e+308", 1.7976931348623157e308),
        ("9007199254740992", 9007199254740992.0),
        ("295147905179352830000", 295147905179352830000.0),
        ("1e+21", 1e21),
        ("9.999999999999997e+22", 9.999999999999997e22),
        ("0.000001", 1e-6),
        ("1e-7", 1e-7),
        ("333333333.3333332", 333333333.3333332),
        ("0.002", 0.002),
        ("4.5", 4.5),
    ],
    ids=str,
)
def test_numbers(expected: str, number: float) -> None:
    """A number is written as ECMAScript writes it."""
    assert expected == canonical(number).decode()


def test_keys_sort_by_utf16() -> None:
    """Object keys are ordered by their UTF-16 code units, as the RFC's own example shows."""
    names = ["\u20ac", "\r", "\ufb33", "1", "\U0001f600", "\u0080", "\u00f6"]
    expected = ["\r", "1", "\u0080", "\u00f6", "\u20ac", "\U0001f600", "\ufb33"]
    assert expected == list(json.loads(canonical(dict.fromkeys(names, 0))))


@given(JSON)
def test_reads_back_the_same(value: object) -> None:
    """Canonical text is JSON that means the same value."""
    # Every JSON number is a double: Python would read a large one as an integer of other digits.
    assert value == json.loads(canonical(value), parse_int=float)


@given(st.dictionaries(st.text(), st.integers(-9, 9), min_size=2))
def test_order_does_not_matter(value: dict[str, int]) -> None:
    """The digest of an object does not depend on the order of its keys."""
    assert digest(value) == digest(dict(reversed(list(value.items()))))


@pytest.mark.parametrize("bad", [math.nan, math.inf, 2**60, {1: 2}, b"x", object()], ids=lambda v: type(v).__name__)
def test_refuses_what_is_no_json(bad: object) -> None:
    """What has no exact JSON form is refused, never approximated."""
    with pytest.raises(ValueError, match="JSON"):
        canonical(bad)
