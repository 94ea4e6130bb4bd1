"""The p95 of 200 pods over 1,440 steps from histograms of twelve buckets: pandas, our arrays, and one copy of them.

The peer takes each histogram as a group of a DataFrame, as an analysis by hand does. Both sides must give the same.
"""

from __future__ import annotations

import math
from array import array
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.table import Row, in_turns, processor_seconds
from runbook_lib import analysis
from runbook_lib.analysis.buckets import bucket_quantile
from runbook_lib.model import Evidence, Series
from runbook_lib.model.times import utc_now

STEPS, PODS, SHARE = 1440, 200, 0.95
BOUNDS = np.array([*(0.005 * 2**power for power in range(11)), math.inf])


def counts() -> Any:
    """Rates of cumulative buckets, bucket-major, shape ``(12, 200 x 1440)``, the same each time."""
    return np.random.default_rng(1).poisson(3, (len(BOUNDS), PODS * STEPS)).cumsum(axis=0) / 60


def main(rounds: int = 5) -> list[Row]:
    """Rows of quantiles."""
    given = counts()
    read = _evidence(given)
    copy, arrays, evidence = (
        min(found)
        for found in in_turns(
            rounds,
            lambda: processor_seconds(given.copy),
            lambda: processor_seconds(lambda: bucket_quantile(BOUNDS, given, SHARE)),
            lambda: processor_seconds(lambda: analysis.quantile(read, SHARE)),
        )
    )
    frame = _frame(given)
    peer = processor_seconds(lambda: _peer(frame))
    _check(given, read, _peer(frame))
    what, by_hand = "288,000 histograms to p95", f"{peer:.1f} (pandas groupby.apply)"
    return [
        Row(f"{what}: s", f"{arrays:.4f}", by_hand, peer / arrays, 400, "every quantile is the one of the peer"),
        Row(f"{what}: s", f"{arrays:.4f}", f"{6 * copy:.4f} (copying them six times)", 6 * copy / arrays, 1),
        Row(f"{what}, as evidence: s", f"{evidence:.4f}", by_hand, peer / evidence, 0),
    ]


def _frame(given: Any) -> pd.DataFrame:
    size = PODS * STEPS
    return pd.DataFrame(
        {
            "histogram": np.repeat(np.arange(size), len(BOUNDS)),
            "le": np.tile(BOUNDS, size),
            "count": given.T.ravel(),
        }
    )


def _peer(frame: pd.DataFrame) -> pd.Series[float]:
    return frame.groupby("histogram", sort=False)[["le", "count"]].apply(_by_hand)


def _by_hand(group: pd.DataFrame) -> float:
    bounds, found = group["le"].to_numpy(), group["count"].to_numpy()
    rank = SHARE * found[-1]
    row = int(np.searchsorted(found, rank))
    if row == len(bounds) - 1:
        return float(bounds[-2])
    lower, below = (bounds[row - 1], found[row - 1]) if row else (0.0, 0.0)
    return float(lower + (bounds[row] - lower) * (rank - below) / (found[row] - below))


def _evidence(given: Any) -> Evidence:
    times = array("d", (1_700_000_000 + 15 * step for step in range(STEPS)))
    series = tuple(
        Series(
            {"pod": f"pod-{pod}", "le": f"{bound:g}" if math.isfinite(bound) else "+Inf"},
            times[:],
            array("d", given[row, pod * STEPS : (pod + 1) * STEPS].tobytes()),
        )
        for pod in range(PODS)
        for row, bound in enumerate(BOUNDS)
    )
    return Evidence("prometheus", "latency_buckets_by_pod", "Buckets", "1/s", "q", {}, None, utc_now(), series)


def _check(given: Any, read: Evidence, peer: pd.Series[float]) -> None:
    """All three must give the same numbers."""
    found = analysis.quantile(read, SHARE)
    if not isinstance(found, Evidence):
        raise SystemExit(str(found))
    joined = np.concatenate([np.array(one.values) for one in found.series])
    for ours in (bucket_quantile(BOUNDS, given, SHARE), joined):
        if not np.allclose(ours, peer.to_numpy(), rtol=1e-9, atol=0):
            raise SystemExit("the quantiles differ from those of the peer")
