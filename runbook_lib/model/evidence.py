"""What a system answered (Evidence), and what could not be read (Gap)."""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from runbook_lib.model import show
from runbook_lib.model.canonical import digest
from runbook_lib.model.times import clock, parse_rfc3339, rfc3339
from runbook_lib.model.units import Quantity
from runbook_lib.model.window import Window

Scalar = str | int | float | bool | None


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """One labelled line of samples.

    Args:
        labels: label name to value.
        times: epoch seconds, rising, shape ``(n,)``, typecode ``d``.
        values: in the unit of the evidence, shape ``(n,)``, typecode ``d``; NaN where the source said NaN.
    """

    labels: Mapping[str, str]
    times: array[float]
    values: array[float]

    @classmethod
    def of(cls, points: Iterable[tuple[float, float]], labels: Mapping[str, str] | None = None) -> Series:
        """A series from ``(epoch seconds, value)`` pairs."""
        pairs = list(points)
        return cls(dict(labels or {}), array("d", (t for t, _ in pairs)), array("d", (v for _, v in pairs)))

    def points(self) -> Iterator[tuple[float, float]]:
        """``(epoch seconds, value)`` of every finite sample."""
        return ((t, v) for t, v in zip(self.times, self.values, strict=True) if math.isfinite(v))

    @property
    def last(self) -> float | None:
        """The newest finite value; None when there is none."""
        return next((v for v in reversed(self.values) if math.isfinite(v)), None)

    @property
    def maximum(self) -> float | None:
        """The largest finite value; None when there is none."""
        return max((v for v in self.values if math.isfinite(v)), default=None)

    def mean(self, start: float = -math.inf, end: float = math.inf) -> float | None:
        """The mean of the finite values with ``start <= time < end`` (epoch seconds); None when there is none."""
        chosen = [v for t, v in self.points() if start <= t < end]
        return sum(chosen) / len(chosen) if chosen else None

    def __len__(self) -> int:
        return len(self.times)


@dataclass(frozen=True, slots=True)
class Table:
    """Rows as a system answered them; ``rows`` has shape ``(n, len(columns))``."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Scalar, ...], ...]

    def records(self) -> list[dict[str, Scalar]]:
        """The rows as mappings from column to value."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]

    @classmethod
    def of(cls, records: Iterable[Mapping[str, Scalar]], columns: Iterable[str]) -> Table:
        """A table of the given columns; a record without a column has None there."""
        names = tuple(columns)
        return cls(names, tuple(tuple(record.get(name) for name in names) for record in records))

    def __len__(self) -> int:
        return len(self.rows)


Data = tuple[Series, ...] | Table | Mapping[str, Any]
Reader = Callable[[], "Evidence | Gap"]


@dataclass(frozen=True, slots=True)
class Evidence:
    """What one system answered to one query.

    Args:
        source: the system, such as ``"prometheus"``.
        name: the query's name, such as ``"latency_seconds"``.
        title: the question in words.
        unit: unit of the numbers, see ``model.units.UNITS``.
        query: the exact text that was asked.
        parameters: the values bound into the query.
        window: the interval asked about; None for a reading of the present moment.
        read_at: when the answer arrived.
        data: series, a table, or a document (a JSON object).
        warnings: what the source itself said against its answer.
        reader: asks the same question again about the present; None on a replayed tape.
    """

    source: str
    name: str
    title: str
    unit: str
    query: str
    parameters: Mapping[str, Scalar]
    window: Window | None
    read_at: datetime
    data: Data
    warnings: tuple[str, ...] = ()
    reader: Reader | None = field(default=None, repr=False, compare=False)

    @property
    def series(self) -> tuple[Series, ...]:
        """The series; empty when the data is a table or a document."""
        return self.data if isinstance(self.data, tuple) else ()

    @property
    def table(self) -> Table:
        """The table; one without rows when the data is of another kind."""
        return self.data if isinstance(self.data, Table) else Table((), ())

    @property
    def document(self) -> Mapping[str, Any]:
        """The document; an empty one when the data is of another kind."""
        return self.data if isinstance(self.data, Mapping) else {}

    @property
    def key(self) -> str:
        """``source.name``, as findings cite it."""
        return f"{self.source}.{self.name}"

    @property
    def digest(self) -> str:
        """``sha256:`` of the canonical form of everything the source answered."""
        return digest(self.to_json())

    @property
    def latest(self) -> Quantity:
        """The newest finite value over all series, the largest where several are equally new."""
        newest = [(t, v) for one in self.series for t, v in list(one.points())[-1:]]
        return Quantity(max(newest)[1] if newest else None, self.unit)

    def again(self) -> Evidence | Gap:
        """Ask the same question about the present.

        Raises:
            RuntimeError: the evidence came from a file and has no source behind it.
        """
        if self.reader is None:
            raise RuntimeError(f"{self.key} was read from a record; there is no source to ask again")
        return self.reader()

    def read_by(self, reader: Reader | None) -> Evidence:
        """The same evidence with another way to ask again."""
        return replace(self, reader=reader)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data from which ``from_json`` rebuilds the evidence; numbers that are not finite are text."""
        return {
            "source": self.source,
            "name": self.name,
            "title": self.title,
            "unit": self.unit,
            "query": self.query,
            "parameters": dict(self.parameters),
            "window": self.window.to_json() if self.window else None,
            "read_at": rfc3339(self.read_at),
            "warnings": list(self.warnings),
            "data": _data_to_json(self.data),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Evidence:
        """The evidence that ``to_json`` wrote, without a reader."""
        window = value["window"]
        return cls(
            source=value["source"],
            name=value["name"],
            title=value["title"],
            unit=value["unit"],
            query=value["query"],
            parameters=value["parameters"],
            window=Window.from_json(window) if window else None,
            read_at=parse_rfc3339(value["read_at"]),
            data=_data_from_json(value["data"]),
            warnings=tuple(value["warnings"]),
        )

    def __str__(self) -> str:
        if isinstance(self.data, tuple):
            what = f"{len(self.data)} series, now {self.latest}"
        elif isinstance(self.data, Table):
            what = f"{len(self.data)} rows"
        else:
            what = f"{len(self.data)} fields"
        return f"{self.title}: {what} ({self.source}, {clock(self.read_at)} UTC)"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return show.evidence_html(self)


@dataclass(frozen=True, slots=True)
class Gap:
    """Evidence that could not be read.

    Args:
        source: the system that did not answer.
        name: the query's name.
        title: the question in words.
        reason: one sentence for a person.
        kind: ``unreachable``, ``timeout``, ``denied``, ``answer`` or ``empty``.
        needed: whether a verdict needs this answer; when True the verdict cannot be healthy.
        read_at: when the attempt ended.
        parameters: the values bound into the query; None in a record that is older than this field.
        reader: tries again.
    """

    source: str
    name: str
    title: str
    reason: str
    kind: str
    needed: bool
    read_at: datetime
    parameters: Mapping[str, Scalar] | None = None
    reader: Reader | None = field(default=None, repr=False, compare=False)

    @property
    def key(self) -> str:
        """``source.name``, as findings cite it."""
        return f"{self.source}.{self.name}"

    def again(self) -> Evidence | Gap:
        """Try to read it again; on a replayed tape the gap stays."""
        return self.reader() if self.reader else self

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data from which ``from_json`` rebuilds the gap."""
        return {
            "source": self.source,
            "name": self.name,
            "title": self.title,
            "reason": self.reason,
            "kind": self.kind,
            "needed": self.needed,
            "read_at": rfc3339(self.read_at),
            "parameters": None if self.parameters is None else dict(self.parameters),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Gap:
        """The gap that ``to_json`` wrote."""
        return cls(**{**value, "read_at": parse_rfc3339(value["read_at"])})

    def __str__(self) -> str:
        return f"no data: {self.title} ({self.source}: {self.reason})"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return show.chip("unknown", "no data") + show.text(f" {self.title}: {self.source} - {self.reason}")


def _data_to_json(data: Data) -> dict[str, Any]:
    if isinstance(data, tuple):
        return {
            "series": [
                {"labels": dict(s.labels), "times": list(s.times), "values": [_plain(v) for v in s.values]}
                for s in data
            ]
        }
    if isinstance(data, Table):
        return {"columns": list(data.columns), "rows": [[_plain(cell) for cell in row] for row in data.rows]}
    return {"document": dict(data)}


def _data_from_json(value: Mapping[str, Any]) -> Data:
    if "series" in value:
        return tuple(
            Series(s["labels"], array("d", s["times"]), array("d", (float(v) for v in s["values"])))
            for s in value["series"]
        )
    if "columns" in value:
        return Table(tuple(value["columns"]), tuple(tuple(row) for row in value["rows"]))
    document: Mapping[str, Any] = value["document"]
    return document


def _plain(value: Scalar) -> Scalar:
    # JSON has no NaN or infinity; Python's own words for them read back with float().
    return value if not isinstance(value, float) or math.isfinite(value) else str(value)
