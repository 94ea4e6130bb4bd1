"""What expressions evaluate to: series with one value or none for each step of a grid."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from runbook_lib.lab.metrics import labels as label_sets
from runbook_lib.lab.metrics.errors import EvaluationError
from runbook_lib.lab.metrics.labels import Labels, Matcher

Values = list[float | None]
"""One entry for each step; None where the series has no value."""

DUPLICATE = "vector cannot contain metrics with the same labelset"


@dataclass(slots=True)
class Series:
    """One series of an instant vector over all steps.

    Attributes:
        labels: its name.
        values: one entry for each step.
        drop_name: the metric's name is still in ``labels`` but does not belong to the result.
    """

    labels: Labels
    values: Values
    drop_name: bool = False


Vector = list[Series]


@dataclass(frozen=True, slots=True)
class Samples:
    """The raw samples of one series, oldest first.

    Attributes:
        times_ms: milliseconds since the epoch.
        values: the samples' values, staleness markers included.
        drop_name: see `Series`.
    """

    labels: Labels
    times_ms: Sequence[int]
    values: Sequence[float]
    drop_name: bool = False


class Source(Protocol):
    """Where the evaluator reads raw samples."""

    def read(self, matchers: Sequence[Matcher], start_ms: int, end_ms: int) -> Iterator[Samples]:
        """Yield the samples with ``start_ms <= time <= end_ms`` of each matching series, ordered by labels."""
        ...


@dataclass(frozen=True, slots=True)
class Grid:
    """The evaluation times: ``start_ms``, every ``step_ms``, up to and including ``end_ms``."""

    start_ms: int
    end_ms: int
    step_ms: int

    @property
    def times_ms(self) -> range:
        """Each step's time."""
        return range(self.start_ms, self.end_ms + 1, max(1, self.step_ms))

    def __len__(self) -> int:
        return len(self.times_ms)


def merge(series: Iterable[Series]) -> Vector:
    """Join series that have the same labels.

    Raises:
        EvaluationError: two of them have a value at the same step.
    """
    merged: dict[Labels, Series] = {}
    for item in series:
        known = merged.get(item.labels)
        if known is None:
            merged[item.labels] = item
            continue
        if any(a is not None and b is not None for a, b in zip(known.values, item.values, strict=True)):
            raise EvaluationError(DUPLICATE)
        values = [b if a is None else a for a, b in zip(known.values, item.values, strict=True)]
        merged[item.labels] = Series(item.labels, values, known.drop_name or item.drop_name)
    return list(merged.values())


def without_names(series: Iterable[Series]) -> Vector:
    """Take the names off that do not belong to the result."""
    return merge(Series(label_sets.drop_name(item.labels), item.values) if item.drop_name else item for item in series)
