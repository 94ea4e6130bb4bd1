"""What a client of another package is built from, and what stands in for one that cannot be loaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from runbook_lib.clients._http import Http, Reply, bearer
from runbook_lib.clients._source import SourceClient
from runbook_lib.clients._tape import Answer, Question, Tape
from runbook_lib.errors import RunbookError, SourceAnswerError, SourceUnreachableError
from runbook_lib.model import Evidence, Gap
from runbook_lib.queries import Query


class PluginClient(SourceClient):
    """A system that another package speaks to; ``run.<source>`` in a notebook, ``environments.*.<source>`` in
    runbook.toml. Each method asks one named question through ``_ask``, and so its answers are evidence or gaps, stand
    in the record without secrets, and are replayed from it.

    Attributes:
        source: name of the system; its entry point in the group ``runbook_lib.clients`` has the same name.
        settings: what runbook.toml may say, name to type: str, int, float, bool, or Path (relative to that file). A
            secret is a str, given there as ``env:NAME`` or ``file:PATH``, and read with ``_secret``.
        required: settings that must be there.
        queries_file: the questions, as TOML; see ``runbook_lib/queries/`` for examples.
        first: method that asks a first, cheap question when a run begins and in a preflight; empty for none.
    """

    settings: ClassVar[Mapping[str, type]]
    required: ClassVar[tuple[str, ...]] = ()
    queries_file: ClassVar[Path]
    first: ClassVar[str] = ""

    def _guarded(self, fetch: Callable[[Question], Answer], question: Question) -> Answer:
        try:
            return super()._guarded(fetch, question)
        except RunbookError:
            raise
        except Exception as error:
            # A vendor's library raises what it likes; an investigation goes on without that system.
            problem = f"{type(error).__name__}: {' '.join(str(error).split())}"
            raise SourceAnswerError(self._redactor.text(problem), source=self.source) from error


class BrokenClient:
    """Stands for a client that cannot be loaded: whatever it is asked is a gap that says why.

    Args:
        source: name of the system.
        problem: why it cannot be loaded.
        tape: keeps the gaps.
    """

    def __init__(self, source: str, problem: str, tape: Tape) -> None:
        self.source, self._problem, self._tape = source, problem, tape

    def close(self) -> None:
        """Nothing is held."""

    def __getattr__(self, name: str) -> Callable[..., Evidence | Gap]:
        if name.startswith("_"):
            raise AttributeError(name)
        query = Query(self.source, name, f"{self.source}: {name.replace('_', ' ')}", self._problem, name)

        def ask(*_: Any, **__: Any) -> Evidence | Gap:
            return self._tape.read(Question(query, {}, None, name), self._fetch)

        return ask

    def _fetch(self) -> Answer:
        raise SourceUnreachableError(f"its client cannot be loaded: {self._problem}", source=self.source)


__all__ = ["Answer", "BrokenClient", "Http", "PluginClient", "Question", "Reply", "bearer"]
