"""Checks of a preflight or a validation: what was required, what was observed, and how to mend it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from runbook_lib.model import show


class CheckStatus(StrEnum):
    """How a check ended; ``UNKNOWN`` (could not be read) never counts as passed, ``SKIPPED`` was not asked for."""

    PASSED = "passed"
    FAILED = "failed"
    UNKNOWN = "unknown"
    SKIPPED = "skipped"


_LEVELS = {"passed": "healthy", "failed": "critical", "unknown": "unknown", "skipped": "note"}


@dataclass(frozen=True, slots=True)
class Check:
    """One line of a preflight.

    Args:
        group: what it is about: ``systems``, ``tools``, ``permissions``, ``metrics``, ``service``.
        name: what is checked.
        status: how it ended.
        observed: what was seen.
        required: what had to be seen.
        fix: what a person does about it; empty when it passed.
        needed: whether a failure stops the work; otherwise it is advice.
    """

    group: str
    name: str
    status: CheckStatus
    observed: str
    required: str = ""
    fix: str = ""
    needed: bool = True

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data."""
        return {
            "group": self.group,
            "name": self.name,
            "status": str(self.status),
            "observed": self.observed,
            "required": self.required,
            "fix": self.fix,
            "needed": self.needed,
        }

    def __str__(self) -> str:
        sign = show.SIGNS[_LEVELS[self.status]]
        fix = f" -> {self.fix}" if self.fix else ""
        return f"{sign} {self.status.upper():7} {self.group}: {self.name}: {self.observed}{fix}"

    __repr__ = __str__


@dataclass(frozen=True, slots=True)
class Checks:
    """The lines of one preflight or validation, in the order they were made."""

    items: tuple[Check, ...]

    def __iter__(self) -> Iterator[Check]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)

    def having(self, status: CheckStatus) -> tuple[Check, ...]:
        """The needed checks that ended so."""
        return tuple(check for check in self.items if check.status is status and check.needed)

    @property
    def passed(self) -> bool:
        """Whether nothing that is needed failed or stayed unknown, and something was checked at all."""
        return bool(self.items) and not self.having(CheckStatus.FAILED) and not self.having(CheckStatus.UNKNOWN)

    def __str__(self) -> str:
        return "\n".join(map(str, self.items)) or "nothing was checked"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        cell = "padding:2px 8px;vertical-align:top"
        rows = "".join(
            f'<tr><td style="{cell}">{show.chip(_LEVELS[c.status], c.status)}</td>'
            + "".join(
                f'<td style="{cell};text-align:left">{show.text(v)}</td>'
                for v in (c.group, c.name, c.observed, c.required, c.fix)
            )
            + "</tr>"
            for c in self.items
        )
        head = "".join(
            f'<th scope="col" style="{cell};text-align:left">{name}</th>'
            for name in ("status", "group", "check", "observed", "required", "fix")
        )
        return f'<table style="border-collapse:collapse"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'
