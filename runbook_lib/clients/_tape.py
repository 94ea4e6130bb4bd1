"""The seam between a question and its answer: live, where answers are kept, or replayed, without any network."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from runbook_lib.errors import (
    SourceAnswerError,
    SourceDeniedError,
    SourceEmptyError,
    SourceError,
    SourceTimeoutError,
    SourceUnreachableError,
)
from runbook_lib.model import Evidence, Gap, Window
from runbook_lib.model.canonical import canonical
from runbook_lib.model.evidence import Data, Scalar
from runbook_lib.model.times import utc_now
from runbook_lib.queries import Query

_KINDS: Mapping[type[SourceError], str] = {
    SourceUnreachableError: "unreachable",
    SourceTimeoutError: "timeout",
    SourceDeniedError: "denied",
    SourceEmptyError: "empty",
    SourceAnswerError: "answer",
}


@dataclass(frozen=True, slots=True)
class Question:
    """One question as it is asked.

    Args:
        query: the named query.
        parameters: the values bound into it.
        window: the interval asked about; None for the present moment.
        text: the exact text that is sent.
    """

    query: Query
    parameters: Mapping[str, Scalar]
    window: Window | None
    text: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What a system answered.

    Args:
        data: series, a table or a document.
        warnings: what the system said against its own answer.
        unit: unit of the numbers where the system decides it; None for that of the query.
    """

    data: Data
    warnings: tuple[str, ...] = ()
    unit: str | None = None


Fetch = Callable[[], Answer]


class Tape(Protocol):
    """Answers questions."""

    def read(self, question: Question, fetch: Fetch) -> Evidence | Gap:
        """The answer to ``question``; ``fetch`` asks the system itself."""
        ...


class LiveTape:
    """Asks the systems, and gives every result to ``keep`` before anybody sees it.

    Args:
        keep: stores a result, such as into a record; called by one thread at a time.
    """

    def __init__(self, keep: Callable[[Evidence | Gap], object] = lambda _: None) -> None:
        self._keep = keep
        self._lock = threading.Lock()

    def read(self, question: Question, fetch: Fetch) -> Evidence | Gap:
        """Ask now; a SourceError becomes a Gap."""
        result: Evidence | Gap
        query = question.query
        try:
            answer = fetch()
        except SourceError as error:
            result = gap(question, error)
        else:
            result = Evidence(
                source=query.source,
                name=query.name,
                title=query.title,
                unit=query.unit if answer.unit is None else answer.unit,
                query=question.text,
                parameters=question.parameters,
                window=question.window,
                read_at=utc_now(),
                data=answer.data,
                warnings=answer.warnings,
            )
        with self._lock:
            self._keep(result)
        return result


class ReplayTape:
    """Answers from what an earlier run kept; never touches a network.

    The nth time a question is asked it gets the nth answer that was kept for it.

    Args:
        entries: everything that was kept, in order.
        keep: stores each answer again, such as into the record of the replay.
    """

    def __init__(
        self, entries: Sequence[Evidence | Gap], keep: Callable[[Evidence | Gap], object] = lambda _: None
    ) -> None:
        self._keep = keep
        self._entries: dict[str, list[Evidence | Gap]] = {}
        for entry in entries:
            self._entries.setdefault(entry.key, []).append(replace(entry, reader=None))
        self._lock = threading.Lock()
        #: Questions that the earlier run did not ask, in words.
        self.divergences: list[str] = []

    def read(self, question: Question, fetch: Fetch) -> Evidence | Gap:
        """The next kept answer to the question; a Gap of kind ``empty`` when there is none."""
        with self._lock:
            result = self._next(question)
            self._keep(result)
        return result

    def _next(self, question: Question) -> Evidence | Gap:
        query = question.query
        wanted = canonical(question.parameters)
        kept = self._entries.get(f"{query.source}.{query.name}", [])
        for index, entry in enumerate(kept):
            # A gap of an older record holds no parameters: it answers the first question of its name.
            if entry.parameters is None or canonical(entry.parameters) == wanted:
                return kept.pop(index)
        self.divergences.append(f"{query.source}.{query.name} {wanted.decode()} was not asked in the record")
        return gap(question, SourceEmptyError("the record holds no answer to this question"))

    def more(self, answer: Evidence | Gap) -> bool:
        """Whether the earlier run asked the question of this answer again, and this one has not yet."""
        with self._lock:
            return any(entry.parameters in (None, answer.parameters) for entry in self._entries.get(answer.key, ()))

    @property
    def unread(self) -> tuple[Evidence | Gap, ...]:
        """What the earlier run read and this one has not asked for."""
        with self._lock:
            return tuple(entry for kept in self._entries.values() for entry in kept)


def gap(question: Question, error: SourceError) -> Gap:
    """What could not be read, and why."""
    query = question.query
    kind = next((word for known, word in _KINDS.items() if isinstance(error, known)), "answer")
    return Gap(query.source, query.name, query.title, error.reason, kind, query.needed, utc_now(), question.parameters)
