"""Quantities are read exactly and written in the server's canonical form."""

from __future__ import annotations

from fractions import Fraction

import pytest

from runbook_lib.lab.controlplane.quantity import canonical_quantity, quantity


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("0.3", "300m"),
        ("1000m", "1"),
        ("1024Mi", "1Gi"),
        ("0.25Gi", "256Mi"),
        ("268435456", "268435456"),
        ("1e3", "1e3"),
        ("2000k", "2M"),
    ],
)
def test_canonical_form(text: str, canonical: str) -> None:
    """One amount has one spelling within its family of suffixes."""
    assert canonical == canonical_quantity(text)


def test_exact_value() -> None:
    """No precision is lost on the way."""
    assert (Fraction(1, 10), Fraction(256 * 2**20)) == (quantity("100m"), quantity("256Mi"))


@pytest.mark.parametrize("text", ["", "abc", "1 Gi", "1KiB", "--1"])
def test_not_a_quantity(text: str) -> None:
    """Anything else is refused."""
    with pytest.raises(ValueError, match="quantities must match"):
        quantity(text)
