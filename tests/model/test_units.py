"""Numbers with units read as a person on call writes them."""

from __future__ import annotations

import math

import pytest

from runbook_lib.model.units import Quantity, format_value


@pytest.mark.parametrize(
    ("expected", "value", "unit"),
    [
        ("612 ms", 0.612, "s"),
        ("1.9 s", 1.93, "s"),
        ("8.2 ms", 0.0082, "s"),
        ("5m12s", 312.0, "s"),
        ("0.21 %", 0.0021, "ratio"),
        ("99.9 %", 0.999, "ratio"),
        ("41", 41.0, "count"),
        ("12.3/s", 12.34, "1/s"),
        ("3.20 GiB", 3.2 * 2**30, "bytes"),
        ("2 cores", 2.0, "cores"),
        ("0", 0.0, "count"),
    ],
    ids=str,
)
def test_digits_follow_size(expected: str, value: float, unit: str) -> None:
    """A number is written with the digits and the prefix that its size deserves."""
    assert expected == format_value(value, unit)


@pytest.mark.parametrize("missing", [None, math.nan], ids=["none", "nan"])
def test_missing_is_no_data(missing: float | None) -> None:
    """A missing value is never shown as zero."""
    assert format_value(missing, "s") == "no data"


def test_quantity_json_has_no_nan() -> None:
    """A quantity that is not finite becomes null in JSON."""
    assert Quantity(math.inf, "s").to_json() == {"value": None, "unit": "s"}
