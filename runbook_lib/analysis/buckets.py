"""Quantiles from the buckets of classic histograms, by the rules of Prometheus's ``histogram_quantile``.

Rules: ``BucketQuantile`` and its helpers in Prometheus 3, promql/quantile.go. Counts lie bucket-major, one row a bucket
and one column a histogram, so that every step of the calculation reads memory in order; a block of columns stays in
the processor's cache until it is done.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from runbook_lib.model import Evidence, Gap, Series

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

# Relative differences between neighbouring counts up to this size are rounding, not observations (smallDeltaTolerance).
_ROUNDING = 1e-12
# Twelve buckets of so many columns are 200 kB: they fit the second level of any processor's cache.
_BLOCK_COLUMNS = 2048

Labels = tuple[tuple[str, str], ...]


def quantile(buckets: Evidence | Gap, share: float = 0.95) -> Evidence | Gap:
    """A quantile over time from counts or rates of cumulative buckets, read once for any number of quantiles.

    Args:
        buckets: one series a bucket; its label ``le`` is the bucket's upper bound, in seconds for a latency. A series
            whose ``le`` is no number is left out.
        share: which quantile, 0 to 1; 0.95 is the value that 95 % of the observations do not exceed.

    Returns:
        One series for each set of the other labels, in the unit of the bounds, taken to be seconds. NaN where there
        are no observations, where the bucket ``+Inf`` is missing, or where a count is NaN. A gap stays a gap; evidence
        without any bucket has no series.

    Raises:
        ValueError: ``share`` is not between 0 and 1.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share must be between 0 and 1, such as 0.95, not {share}")
    if isinstance(buckets, Gap):
        return buckets
    reader = buckets.reader
    return replace(
        buckets,
        name=f"{buckets.name}_quantile",
        title=f"{buckets.title}: quantile {share:g}",
        unit="s",
        parameters={**buckets.parameters, "quantile": share},
        data=tuple(_over_time(dict(labels), members, share) for labels, members in _histograms(buckets.series)),
        reader=(lambda: quantile(buckets.again(), share)) if reader else None,
    )


def bucket_quantile(bounds: Floats, counts: Floats, share: float) -> Floats:
    """The quantile of many histograms that have the same buckets.

    Args:
        bounds: upper bounds, rising, shape ``(b,)``.
        counts: cumulative counts or rates, bucket-major, shape ``(b, n)``; they are not changed.
        share: which quantile, 0 to 1.

    Returns:
        Shape ``(n,)``, in the unit of the bounds, linear inside a bucket; a quantile in the highest bucket is the
        highest finite bound. NaN without observations, without a bucket for ``+Inf``, or where a count is NaN.
    """
    import numpy as np

    size = counts.shape[1]
    found = np.full(size, np.nan)
    if len(bounds) < 2 or bounds[-1] != math.inf:
        return found
    for begin in range(0, size, _BLOCK_COLUMNS):
        block = slice(begin, begin + _BLOCK_COLUMNS)
        found[block] = _of_block(bounds, counts[:, block], share)
    return found


def _of_block(bounds: Floats, counts: Floats, share: float) -> Floats:
    import numpy as np

    # A block of its own in one piece: neighbouring rows of the whole would fall on the same lines of the cache.
    rising = np.array(counts, order="C")
    with np.errstate(divide="ignore", invalid="ignore"):
        _make_rise(rising)
        total = rising[-1]
        rank = share * total
        # Counts rise, so the bucket of a rank is as many rows down as there are finite bounds below it. A sum in the
        # smallest type that holds it takes a fiftieth of the time.
        smaller = (rising[:-1] < rank).view(np.uint8)
        row = np.add.reduce(smaller, axis=0, dtype=np.min_scalar_type(len(bounds))).astype(np.intp)
        flat, at = rising.ravel(), row * len(row) + np.arange(len(row))
        below = np.where(row > 0, flat.take(np.maximum(at - len(row), 0)), 0.0)
        # Below the first bound lies 0; where the bound itself is not above 0, nothing is known but the bound.
        lower = np.concatenate(([min(0.0, bounds[0])], bounds[:-1]))
        width = np.append(bounds[:-1] - lower[:-1], 0.0)
        found: Floats = lower.take(row) + width.take(row) * ((rank - below) / (flat.take(at) - below))
    # The highest bucket has no upper bound.
    found[row == len(bounds) - 1] = bounds[-2]
    if bounds[0] <= 0:
        found[row == 0] = bounds[0]
    found[(total == 0) | np.isnan(total)] = np.nan
    return found


def _make_rise(counts: Floats) -> None:
    """Take falls and rounding out of counts that should rise; columns that hold a NaN become NaN."""
    import numpy as np

    added = counts[1:] - counts[:-1]
    # Held against the total, so that one pass finds every column that may need more care, those with NaN too.
    good = added > 2 * _ROUNDING * counts[-1]
    good |= added == 0
    wrong = ~good.all(axis=0)
    if not wrong.any():
        return
    careful = counts[:, wrong]
    careful[:, np.isnan(careful).any(axis=0)] = np.nan
    for before, one in pairwise(careful):
        np.copyto(one, before, where=~(one - before >= _ROUNDING * (one + before)))
    counts[:, wrong] = careful


def _histograms(series: Sequence[Series]) -> Iterator[tuple[Labels, list[tuple[float, Series]]]]:
    """Buckets of one histogram each, by rising bound."""
    groups: dict[Labels, list[tuple[float, Series]]] = {}
    for one in series:
        bound = _bound(one.labels)
        if bound is not None:
            others = tuple(sorted((key, value) for key, value in one.labels.items() if key != "le"))
            groups.setdefault(others, []).append((bound, one))
    for labels, members in groups.items():
        yield labels, sorted(members, key=lambda member: member[0])


def _bound(labels: Mapping[str, str]) -> float | None:
    try:
        bound = float(labels.get("le", ""))
    except ValueError:
        return None
    return None if math.isnan(bound) else bound


def _over_time(labels: dict[str, str], members: list[tuple[float, Series]], share: float) -> Series:
    import numpy as np

    first = members[0][1].times
    same = first.tobytes()
    if all(one.times.tobytes() == same for _, one in members):
        bounds, counts = _joined([bound for bound, _ in members], np.stack([_column(one) for _, one in members]))
        found = bucket_quantile(bounds, counts, share)
        return Series(labels, first[:], array("d", found.tobytes()))
    return _in_parts(labels, members, share)


def _in_parts(labels: dict[str, str], members: list[tuple[float, Series]], share: float) -> Series:
    """Where buckets come and go: times at which the same ones are there are measured together."""
    import numpy as np

    times = np.unique(np.concatenate([np.frombuffer(one.times) for _, one in members]))
    counts, there = np.zeros((len(members), len(times))), np.zeros((len(members), len(times)), dtype=bool)
    for row, (_, one) in enumerate(members):
        at = np.searchsorted(times, np.frombuffer(one.times))
        counts[row, at], there[row, at] = _column(one), True
    found = np.full(len(times), np.nan)
    for pattern in np.unique(there, axis=1).T:
        columns = (there == pattern[:, None]).all(axis=0)
        bounds = [bound for (bound, _), present in zip(members, pattern, strict=True) if present]
        found[columns] = bucket_quantile(*_joined(bounds, counts[np.ix_(pattern, columns)]), share)
    return Series(labels, array("d", times.tobytes()), array("d", found.tobytes()))


def _joined(bounds: Sequence[float], counts: Floats) -> tuple[Floats, Floats]:
    """Each bound once: ``1`` and ``1.0`` are one bucket, whose counts are added."""
    import numpy as np

    distinct, firsts = np.unique(np.array(bounds, dtype=np.float64), return_index=True)
    return distinct, counts if len(distinct) == len(bounds) else np.add.reduceat(counts, firsts, axis=0)


def _column(one: Series) -> Any:
    import numpy as np

    return np.frombuffer(one.values)
