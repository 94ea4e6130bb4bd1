"""One series of samples in memory: sealed, compressed chunks and an open head."""

from __future__ import annotations

import sys
import zlib
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from runbook_lib.lab.metrics.labels import Labels

# The size at which Prometheus closes a chunk; long enough to compress well, short enough to unpack quickly.
CHUNK_SAMPLES = 120
_WIDTH = 8


@dataclass(frozen=True, slots=True)
class _Chunk:
    first_ms: int
    last_ms: int
    times: bytes
    values: bytes


def _pack(column: array[int] | array[float]) -> bytes:
    """Compress a column; equal bytes of neighbouring numbers are laid side by side first."""
    raw = column.tobytes()
    return zlib.compress(b"".join(raw[offset::_WIDTH] for offset in range(_WIDTH)), 1)


def _pack_values(column: array[float]) -> bytes:
    """Compress values; a column of one value, the most common kind, is that value alone."""
    raw = column.tobytes()
    return raw[:_WIDTH] if raw == raw[:_WIDTH] * len(column) else _pack(column)


def _unpack(packed: bytes) -> bytes:
    if len(packed) == _WIDTH:
        return packed * CHUNK_SAMPLES
    planes = zlib.decompress(packed)
    raw = bytearray(len(planes))
    count = len(planes) // _WIDTH
    for offset in range(_WIDTH):
        raw[offset::_WIDTH] = planes[offset * count : (offset + 1) * count]
    return bytes(raw)


# Series that were scraped together refer to the same column, and a query reads many of them.
_unpack_times = lru_cache(maxsize=256)(_unpack)


class SampleSeries:
    """The samples of one series, ordered by time.

    Args:
        labels: the series' name.
        shared_times: compressed columns of times that series scraped together have in common.
    """

    __slots__ = ("_chunks", "_shared_times", "_times", "_values", "labels")

    def __init__(self, labels: Labels, shared_times: dict[bytes, bytes]) -> None:
        self.labels = labels
        self._chunks: list[_Chunk] = []
        self._times: array[int] = array("q")
        self._values: array[float] = array("d")
        self._shared_times = shared_times

    @property
    def first_ms(self) -> int:
        """Time of the oldest sample; the end of time when there is none."""
        if self._chunks:
            return self._chunks[0].first_ms
        return self._times[0] if self._times else sys.maxsize

    @property
    def last_ms(self) -> int:
        """Time of the newest sample; the beginning of time when there is none."""
        if self._times:
            return self._times[-1]
        return self._chunks[-1].last_ms if self._chunks else -sys.maxsize

    @property
    def last_value(self) -> float | None:
        """The newest sample's value."""
        return self._values[-1] if self._values else None

    def append(self, time_ms: int, value: float) -> bool:
        """Add a sample that is newer than all others.

        Returns:
            False when it is not newer; nothing was added.
        """
        if time_ms <= self.last_ms:
            return False
        if len(self._times) >= CHUNK_SAMPLES:
            self._seal()
        self._times.append(time_ms)
        self._values.append(value)
        return True

    def insert(self, samples: Iterable[tuple[int, float]]) -> int:
        """Add samples of any age; where there is a sample of that time already, it stays.

        Returns:
            How many were added.
        """
        late: dict[int, float] = {}
        added = 0
        for time_ms, value in samples:
            if self.append(time_ms, value):
                added += 1
            else:
                late.setdefault(time_ms, value)
        if late:
            added += self._rebuild(late)
        return added

    def _rebuild(self, late: dict[int, float]) -> int:
        times, values = self.read(-sys.maxsize, sys.maxsize)
        merged = {**late, **dict(zip(times, values, strict=True))}
        added = len(merged) - len(times)
        if added:
            self._chunks, self._times, self._values = [], array("q"), array("d")
            for time_ms in sorted(merged):
                self.append(time_ms, merged[time_ms])
        return added

    def _seal(self) -> None:
        times = _pack(self._times)
        self._chunks.append(
            _Chunk(
                first_ms=self._times[0],
                last_ms=self._times[-1],
                times=self._shared_times.setdefault(times, times),
                values=_pack_values(self._values),
            )
        )
        self._times, self._values = array("q"), array("d")

    def read(self, start_ms: int, end_ms: int) -> tuple[Sequence[int], Sequence[float]]:
        """The samples with ``start_ms <= time <= end_ms``."""
        times: array[int] = array("q")
        values: array[float] = array("d")
        for chunk in self._chunks:
            if chunk.last_ms >= start_ms and chunk.first_ms <= end_ms:
                times.frombytes(_unpack_times(chunk.times))
                values.frombytes(_unpack(chunk.values))
        times.extend(self._times)
        values.extend(self._values)
        low, high = bisect_left(times, start_ms), bisect_right(times, end_ms)
        return times[low:high], values[low:high]

    def forget_before(self, time_ms: int) -> None:
        """Drop whole chunks that end before a time, and the head when all of it does."""
        self._chunks = [chunk for chunk in self._chunks if chunk.last_ms >= time_ms]
        if self._times and self._times[-1] < time_ms:
            self._times, self._values = array("q"), array("d")

    def __len__(self) -> int:
        return len(self._chunks) * CHUNK_SAMPLES + len(self._times)

    @property
    def shared_columns(self) -> list[bytes]:
        """The compressed time columns that this series refers to."""
        return [chunk.times for chunk in self._chunks]
