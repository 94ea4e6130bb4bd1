"""The half-open UTC interval that all evidence of a run shares."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from runbook_lib.errors import ParameterError
from runbook_lib.model.times import clock, duration, parse_rfc3339, rfc3339, utc_now


@dataclass(frozen=True, slots=True)
class Window:
    """``[start, end)``, both aware.

    Raises:
        ParameterError: a bound has no zone, or the window holds no time.
    """

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        if self.start.tzinfo is None or self.end.tzinfo is None:
            raise ParameterError("a window needs times with a zone")
        if self.start >= self.end:
            raise ParameterError(f"a window must end after it starts: {self.start} to {self.end}")

    @classmethod
    def last(cls, minutes: float, end: datetime | None = None) -> Window:
        """The ``minutes`` before ``end`` (now when omitted).

        Raises:
            ParameterError: ``minutes`` is not above zero or more than 92 days.
        """
        if not 0 < minutes <= 92 * 24 * 60:
            raise ParameterError(f"minutes must be above 0 and at most {92 * 24 * 60} (92 days), not {minutes}")
        end = end or utc_now()
        return cls(end - timedelta(minutes=minutes), end)

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return (self.end - self.start).total_seconds()

    def ending(self, end: datetime) -> Window:
        """The window of the same length that ends at ``end``."""
        return Window(end - (self.end - self.start), end)

    def holds(self, moment: datetime) -> bool:
        """Whether ``moment`` lies in the window."""
        return self.start <= moment < self.end

    def __str__(self) -> str:
        return f"{self.start:%Y-%m-%d} {clock(self.start)} - {clock(self.end)} UTC ({duration(self.seconds)})"

    def to_json(self) -> dict[str, str]:
        """``{start, end}`` as RFC 3339 text."""
        return {"start": rfc3339(self.start), "end": rfc3339(self.end)}

    @classmethod
    def from_json(cls, value: dict[str, str]) -> Window:
        """The window that ``to_json`` wrote."""
        return cls(parse_rfc3339(value["start"]), parse_rfc3339(value["end"]))
