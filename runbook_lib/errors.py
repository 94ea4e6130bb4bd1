"""Errors of the runbook library; each one owns the exit code that a run or a command ends with.

RunbookError                      1   something failed
|- UsageError                     2   wrong use; nothing ran
|  |- UnknownNameError            2   a name nobody knows; carries the nearest known ones
|  |- ParameterError              2   a parameter is missing, mistyped or unknown
|  |- CatalogError                2   runbook.toml is wrong; carries file and key
|  |- NotebookError               2   the notebook is not a runbook
|  `- SecretError                 2   a secret is missing, or was given where only its name may stand
|- SourceError                    5   a system did not answer a read; becomes a Gap at the tape seam
|  |- SourceUnreachableError      5   refused, reset, name not found
|  |- SourceTimeoutError          5   no answer within the deadline
|  |- SourceDeniedError           5   401, 403, missing role
|  |- SourceAnswerError           5   garbage, a vendor's error, an unexpected shape
|  `- SourceEmptyError            5   a well-formed answer without any data
|- ActionError                    1
|  |- GuardError                  4   a guard or a missing approval refused the plan
|  |- ActionRejectedError         1   the target refused the one request that was sent
|  `- OutcomeUnknownError         6   it cannot be told whether the request took effect
|- RecordError                    7   the record could not be written, sealed or verified
|- LabError                       1   the lab could not start, stop or apply a fault
|- DeadlineError                124   a cell or the run took too long
|- InterruptedRunError          130   Ctrl-C
|- KernelDiedError              138   the kernel died
`- TerminatedError              143   SIGTERM or SIGHUP
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class RunbookError(Exception):
    """Base of every error that this library raises on purpose."""

    exit_code = 1


class UsageError(RunbookError):
    """The call was wrong; nothing was run and nothing was changed."""

    exit_code = 2


class UnknownNameError(UsageError):
    """A name that nobody knows.

    Args:
        kind: what was looked up, such as ``"service"``.
        name: the name as it was given.
        known: every allowed name.
        where: the file or key that defines the names; empty when there is none.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str], where: str = "") -> None:
        self.kind, self.name, self.known, self.where = kind, name, sorted(known), where
        self.nearest = nearest(name, self.known)
        hint = f" Did you mean {self.nearest!r}?" if self.nearest else ""
        allowed = ", ".join(self.known) or "none is defined"
        place = f" in {where}" if where else ""
        super().__init__(f"unknown {kind} {name!r}{place}.{hint} Known: {allowed}")


class ParameterError(UsageError):
    """A runbook parameter is unknown, missing or not of its type."""


class CatalogError(UsageError):
    """The service catalogue is wrong.

    Args:
        message: what is wrong and what is allowed.
        file: path of the catalogue.
        key: dotted key at fault, such as ``services.api.objectives``.
    """

    def __init__(self, message: str, *, file: str = "", key: str = "") -> None:
        self.file, self.key = file, key
        prefix = ": ".join(part for part in (file, key) if part)
        super().__init__(f"{prefix}: {message}" if prefix else message)


class NotebookError(UsageError):
    """A notebook is not a runbook: missing, unreadable, or without a parameters cell."""


class SecretError(UsageError):
    """A secret is missing, or a secret's value was given where only its name may stand."""


class SourceError(RunbookError):
    """A system did not give a usable answer to a read.

    Args:
        reason: one sentence for a person; never holds a credential.
        source: name of the system, such as ``"prometheus"``.
    """

    exit_code = 5

    def __init__(self, reason: str, *, source: str = "") -> None:
        self.reason, self.source = reason, source
        super().__init__(f"{source}: {reason}" if source else reason)


class SourceUnreachableError(SourceError):
    """The system refused the connection, reset it, or has no address."""


class SourceTimeoutError(SourceError):
    """The system did not answer within the deadline."""


class SourceDeniedError(SourceError):
    """The system does not allow this read; the reason names the missing permission."""


class SourceAnswerError(SourceError):
    """The system answered with an error or with something that cannot be read."""


class SourceEmptyError(SourceError):
    """The system answered well, but holds no data for the question."""


class ActionError(RunbookError):
    """An action did not take place as planned."""


class GuardError(ActionError):
    """A guard or a missing approval refused the plan; nothing was sent."""

    exit_code = 4


class ActionRejectedError(ActionError):
    """The target refused the one request that was sent; nothing changed."""


class OutcomeUnknownError(ActionError):
    """One request was sent and its effect cannot be told; it is never sent again."""

    exit_code = 6


class RecordError(RunbookError):
    """The record could not be written, sealed or verified."""

    exit_code = 7


class LabError(RunbookError):
    """A part of the lab could not be started, stopped or broken as asked."""


class DeadlineError(RunbookError):
    """A cell or the whole run took longer than it may."""

    exit_code = 124


class InterruptedRunError(RunbookError):
    """The run was interrupted from the keyboard."""

    exit_code = 130


class KernelDiedError(RunbookError):
    """The kernel that ran the notebook died."""

    exit_code = 138


class TerminatedError(RunbookError):
    """The runner was told to stop."""

    exit_code = 143


def nearest(name: str, known: Iterable[str]) -> str:
    """The known name that looks most like ``name``, or an empty string when none is close."""
    by_folded = {candidate.casefold(): candidate for candidate in known}
    matches = difflib.get_close_matches(name.casefold(), list(by_folded), n=1, cutoff=0.6)
    return by_folded[matches[0]] if matches else ""
