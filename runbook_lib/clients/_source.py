"""What every client shares: its endpoint, its secrets, and the one way in which it asks through the tape."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, ClassVar, Protocol, TypeVar

from runbook_lib.clients._tape import Answer, Question, Tape
from runbook_lib.errors import (
    ActionError,
    ActionRejectedError,
    SecretError,
    SourceAnswerError,
    SourceDeniedError,
    SourceError,
    SourceUnreachableError,
)
from runbook_lib.model import Endpoint, Evidence, Gap, Window
from runbook_lib.model.evidence import Scalar
from runbook_lib.model.times import utc_now
from runbook_lib.queries import Query, load
from runbook_lib.secrets import Redactor, Secret, SecretRef

#: Time to connect and time for a whole question, seconds: an investigation waits for no system longer than this.
CONNECT_SECONDS = 3.0
TOTAL_SECONDS = 10.0

Resolve = Callable[[str], Secret]


class _Closes(Protocol):
    def close(self) -> None: ...


Closes = TypeVar("Closes", bound=_Closes)


def resolve_secret(reference: str) -> Secret:
    """The secret behind ``env:NAME`` or ``file:PATH``."""
    return SecretRef.parse(reference).resolve()


class SourceClient:
    """One system of one environment. Usable from several threads.

    Args:
        endpoint: how it is reached; None when the environment does not have it, then every read is a Gap.
        tape: answers the questions.
        window: the interval that ranged questions are about.
        workload: the service's workload in the catalogue.
        environment: name of the environment, for messages.
        resolve: reads a secret by its name; default: ``env:`` and ``file:`` only.
        connect_seconds: time to connect, seconds.
        total_seconds: time for a whole question, retries included, seconds.
    """

    source: ClassVar[str]

    def __init__(
        self,
        *,
        endpoint: Endpoint | None,
        tape: Tape,
        window: Window,
        workload: Mapping[str, Any],
        environment: str = "",
        resolve: Resolve = resolve_secret,
        connect_seconds: float = CONNECT_SECONDS,
        total_seconds: float = TOTAL_SECONDS,
    ) -> None:
        self.endpoint, self.tape, self.window, self.workload = endpoint, tape, window, workload
        self.environment, self._resolve = environment, resolve
        self.connect_seconds, self.total_seconds = connect_seconds, total_seconds
        self.queries: Mapping[str, Query] = load(self.source)
        self._redactor = Redactor()
        self._lock = threading.Lock()
        self._making = threading.Lock()
        self._held: Any = None

    def close(self) -> None:
        """Let go of connections; the client may be used again afterwards."""
        with self._making:
            held, self._held = self._held, None
        if held is not None:
            held.close()

    def _shared(self, make: Callable[[], Closes]) -> Closes:
        """What all threads use together, such as a pool of connections; made once, closed by ``close``."""
        with self._making:
            if self._held is None:
                self._held = make()
            held: Closes = self._held
            return held

    def _ask(
        self,
        name: str,
        fetch: Callable[[Question], Answer],
        *,
        parameters: Mapping[str, Scalar] | None = None,
        window: Window | None = None,
        text: Callable[[Query, Window | None], str] | None = None,
    ) -> Evidence | Gap:
        """Ask a named question through the tape.

        Args:
            name: name of the query.
            fetch: asks the system itself and raises SourceError.
            parameters: values for the query's parameters.
            window: the interval of a ranged question; None for a reading of the present.
            text: writes the exact text for a window; default: the query's own text.
        """
        query = self.queries[name]
        bound = query.bind(parameters or {})
        question = Question(query, bound, window, text(query, window) if text else query.text)

        def again() -> Evidence | Gap:
            later = window.ending(utc_now()) if window else None
            return self._ask(name, fetch, parameters=bound, window=later, text=text)

        result = self.tape.read(question, lambda: self._guarded(fetch, question))
        return replace(result, reader=again)

    def _guarded(self, fetch: Callable[[Question], Answer], question: Question) -> Answer:
        """Run ``fetch``; whatever it raises is a SourceError without a secret in its reason."""
        try:
            self._configured()
            return fetch(question)
        except SourceError as error:
            reason = self._redactor.text(error.reason)
            if reason == error.reason:
                raise
            raise type(error)(reason, source=error.source) from None
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            # An answer that parses but has another shape than its documentation fails somewhere in the reading of it.
            problem = f"the answer has an unexpected shape ({type(error).__name__}: {error})"
            raise SourceAnswerError(self._redactor.text(problem), source=self.source) from error

    def _configured(self) -> Endpoint:
        """The endpoint.

        Raises:
            SourceUnreachableError: the environment has none.
        """
        if self.endpoint is None:
            place = f"environment {self.environment}" if self.environment else "this environment"
            raise SourceUnreachableError(f"not configured in {place}", source=self.source)
        return self.endpoint

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Around a write: what stops it before anything is sent is a rejection, and no error shows a secret."""
        try:
            yield
        except SourceError as error:
            reason = self._redactor.text(error.reason)
            raise ActionRejectedError(f"nothing was sent to {self.source}: {reason}") from None
        except ActionError as error:
            raise type(error)(self._redactor.text(str(error))) from None

    def _setting(self, name: str, default: str = "") -> str:
        """A plain setting of the endpoint as text."""
        return str(self._configured().settings.get(name, default))

    def _secret(self, name: str) -> Secret | None:
        """A secret of the endpoint, read now; None when the catalogue names none.

        Raises:
            SourceDeniedError: it is named, but is not there.
        """
        reference = self._configured().secrets.get(name)
        if reference is None:
            return None
        try:
            secret = self._resolve(reference)
        except SecretError as error:
            raise SourceDeniedError(str(error), source=self.source) from error
        self._redactor.learn(secret)
        return secret
