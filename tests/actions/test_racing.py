"""Many processes that apply one plan at once have exactly one effect; the benchmark does the same 10,000 times."""

from __future__ import annotations

from benchmarks.racing import race


def test_one_effect_of_many_processes() -> None:
    """25 to 40 processes, answers lost after the effect, with an approval, without one, and without a lock."""
    assert [] == race(90, most=40)
