"""One HTTP client for every vendor: explicit timeouts, retries of reads only, errors in our words without secrets."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from runbook_lib.clients._clock import skew_warning
from runbook_lib.clients._retry import BusyError, Deadline, with_retries
from runbook_lib.errors import (
    ActionRejectedError,
    OutcomeUnknownError,
    SourceAnswerError,
    SourceDeniedError,
    SourceError,
    SourceTimeoutError,
    SourceUnreachableError,
)
from runbook_lib.secrets import Secret

MAX_BODY_BYTES = 64 * 1024 * 1024
_BUSY = {429: "too many requests", 502: "bad gateway", 503: "unavailable", 504: "gateway timeout"}

Params = Mapping[str, str | int | float]


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer.

    Args:
        source: the system, for errors.
        status: HTTP status code.
        headers: names in lower case.
        body: as sent, decompressed.
        latency_seconds: from the request's first byte to the answer's last, seconds.
        warnings: what speaks against its times.
    """

    source: str
    status: int
    headers: Mapping[str, str]
    body: bytes
    latency_seconds: float
    warnings: tuple[str, ...] = ()

    def json(self) -> Any:
        """The body as JSON data.

        Raises:
            SourceAnswerError: it is not JSON.
        """
        try:
            return json.loads(self.body)
        except ValueError as error:
            kind = self.headers.get("content-type", "no content type")
            raise SourceAnswerError(
                f"answered {self.status} with something that is not JSON ({kind}, {len(self.body)} bytes)",
                source=self.source,
            ) from error


Explain = Callable[[Reply], SourceError | None]


class Http:
    """A base URL with its credentials.

    Args:
        source: the system, for errors.
        base_url: ``http://`` or ``https://`` address; paths are appended to it.
        headers: sent with every request; values may be secrets.
        connect_seconds: time to connect, seconds.
        total_seconds: time for a question with its retries, or for one write, seconds.
        retry: whether a read that could not reach the system is tried again.
    """

    def __init__(
        self,
        source: str,
        base_url: str,
        *,
        headers: Mapping[str, str | Secret] | None = None,
        connect_seconds: float,
        total_seconds: float,
        retry: bool = True,
    ) -> None:
        self.source, self.base_url = source, base_url.rstrip("/")
        self.connect_seconds, self.total_seconds = connect_seconds, total_seconds
        self._headers, self._retry = dict(headers or {}), retry
        self._reader = self._client(keepalive=4)

    def get(
        self, path: str, params: Params | None = None, *, explain: Explain | None = None, any_status: bool = False
    ) -> Reply:
        """Read.

        Args:
            path: appended to the base URL; begins with ``/``.
            params: query parameters.
            explain: turns a vendor's error answer into one of our errors; None leaves it to the status code.
            any_status: return the answer whatever its status says.

        Raises:
            SourceError: no answer, or one that says no.
        """
        return self._read("GET", path, params, None, explain, any_status)

    def search(self, path: str, body: Any, *, explain: Explain | None = None) -> Reply:
        """Read by POST, for systems whose searches are written as a JSON body.

        Raises:
            SourceError: no answer, or one that says no.
        """
        return self._read("POST", path, None, body, explain, any_status=False)

    def send(
        self, method: str, path: str, body: Any, *, headers: Mapping[str, str] | None = None, what: str = ""
    ) -> Reply:
        """Write: exactly one request on a connection of its own, never repeated.

        Args:
            method: HTTP method.
            path: appended to the base URL; begins with ``/``.
            body: JSON data.
            headers: for this request only.
            what: the request in words, for errors; needed where the path itself is a secret.

        Raises:
            ActionRejectedError: nothing was sent, or the system said no.
            OutcomeUnknownError: the request may have had its effect.
        """
        import httpcore

        problem = path_problem(path)
        if problem:
            raise ActionRejectedError(f"{problem}; nothing was sent to {self.source}")
        client = self._client(keepalive=0)
        what = what or f"{method} {path}"
        try:
            reply = self._once(client, method, path, None, body, Deadline(self.total_seconds), headers)
        except (httpcore.ConnectError, httpcore.ConnectTimeout, httpcore.UnsupportedProtocol) as error:
            raise ActionRejectedError(f"{self.source} cannot be reached; nothing was sent: {_words(error)}") from error
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException, SourceAnswerError) as error:
            raise OutcomeUnknownError(
                f"{self.source} gave no usable answer to {what}; it may have taken effect: {_words(error)}"
            ) from error
        finally:
            client.close()
        if 200 <= reply.status < 300:
            return reply
        # 408 and 5xx come from gateways, too, which cannot know what the system behind them did.
        if reply.status == 408 or reply.status >= 500:
            raise OutcomeUnknownError(f"{self.source} answered {reply.status} to {what}; {vendor_words(reply)}")
        raise ActionRejectedError(f"{self.source} answered {reply.status} to {what}: {vendor_words(reply)}")

    def close(self) -> None:
        """Close every connection."""
        self._reader.close()

    def _client(self, keepalive: int) -> Any:
        import httpx

        from runbook_lib.clients._transport import Transport

        address = urlsplit(self.base_url)
        if address.scheme not in {"http", "https"} or not address.hostname:
            raise SourceUnreachableError(f"{address.scheme}://... is no http or https address", source=self.source)
        if address.password is not None:
            raise SourceDeniedError("its url holds a password; give it as a secret", source=self.source)
        # trust_env is off: a variable of the shell must not send production reads through another host.
        return httpx.Client(transport=Transport(tls=address.scheme == "https", keepalive=keepalive), trust_env=False)

    def _read(
        self, method: str, path: str, params: Params | None, body: Any, explain: Explain | None, any_status: bool
    ) -> Reply:
        problem = path_problem(path)
        if problem:
            raise SourceAnswerError(f"cannot be asked: {problem}", source=self.source)
        deadline = Deadline(self.total_seconds)

        def attempt() -> Reply:
            reply = self._translated(method, path, params, body, deadline)
            error = None if any_status else self._judge(reply, explain)
            if error is not None:
                raise error
            return reply

        return with_retries(attempt, deadline) if self._retry else attempt()

    def _translated(self, method: str, path: str, params: Params | None, body: Any, deadline: Deadline) -> Reply:
        """One attempt, with the wire's errors in our words."""
        import httpcore

        try:
            return self._once(self._reader, method, path, params, body, deadline)
        except httpcore.ConnectTimeout as error:
            raise SourceTimeoutError(f"no connection within {self.connect_seconds:g} s", source=self.source) from error
        except httpcore.TimeoutException as error:
            raise SourceTimeoutError(f"no answer within {deadline.seconds:g} s", source=self.source) from error
        except httpcore.ConnectError as error:
            raise SourceUnreachableError(f"cannot be reached: {_words(error)}", source=self.source) from error
        except (httpcore.LocalProtocolError, httpcore.UnsupportedProtocol) as error:
            raise SourceAnswerError(f"cannot be asked: {_words(error)}", source=self.source) from error
        except httpcore.RemoteProtocolError as error:
            # "Server disconnected" is a reset; anything else is bytes that are no HTTP.
            if "disconnected" in str(error):
                raise SourceUnreachableError("closed the connection without an answer", source=self.source) from error
            raise SourceAnswerError(f"does not speak HTTP: {_words(error)}", source=self.source) from error
        except (httpcore.NetworkError, httpcore.ProtocolError) as error:
            raise SourceUnreachableError(f"the connection broke: {_words(error)}", source=self.source) from error

    def _once(
        self,
        client: Any,
        method: str,
        path: str,
        params: Params | None,
        body: Any,
        deadline: Deadline,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        from runbook_lib.clients._transport import DEADLINE

        left = deadline.remaining
        timeouts = {"connect": min(self.connect_seconds, left), "read": left, "write": left, "pool": left}
        request = client.build_request(
            method,
            self.base_url + path,
            params=params or None,
            json=body,
            headers={
                **{
                    name: value.reveal() if isinstance(value, Secret) else value
                    for name, value in self._headers.items()
                },
                **(headers or {}),
            },
            extensions={"timeout": timeouts},
        )
        token = DEADLINE.set(deadline)
        started, sent_at = time.monotonic(), time.time()
        try:
            response = client.send(request, stream=True)
            try:
                content = self._content(response)
            finally:
                response.close()
        finally:
            DEADLINE.reset(token)
        elapsed, warnings = time.monotonic() - started, skew_warning(response.headers.get("date"), sent_at, time.time())
        return Reply(self.source, response.status_code, dict(response.headers), content, elapsed, warnings)

    def _content(self, response: Any) -> bytes:
        import httpx

        content = bytearray()
        try:
            for chunk in response.iter_bytes():
                content += chunk
                if len(content) > MAX_BODY_BYTES:
                    raise SourceAnswerError(f"the answer is larger than {MAX_BODY_BYTES >> 20} MiB", source=self.source)
        except httpx.DecodingError as error:
            raise SourceAnswerError("the answer cannot be decompressed", source=self.source) from error
        return bytes(content)

    def _judge(self, reply: Reply, explain: Explain | None) -> SourceError | None:
        """The error that an answer stands for; None when it is a good one."""
        explained = explain(reply) if explain else None
        if explained is not None:
            return explained
        status = reply.status
        if status < 300:
            return None
        if status in {401, 403}:
            return SourceDeniedError(f"answered {status}: {vendor_words(reply)}", source=self.source)
        if status in _BUSY:
            return BusyError(f"answered {status} ({_BUSY[status]})", source=self.source, after_seconds=_after(reply))
        if status < 400:
            return SourceAnswerError(
                f"answered {status}, a redirect; check its url and credentials", source=self.source
            )
        return SourceAnswerError(f"answered {status}: {vendor_words(reply)}", source=self.source)


def path_problem(path: str) -> str:
    """Why a path must not be asked for; empty when it may be.

    A segment of dots would be resolved before sending and lead out of the part of the API that was meant; quoting
    does not change dots.
    """
    if not path.startswith("/"):
        return f"path {path!r} does not begin with /"
    return f"path {path!r} holds a segment of dots" if {".", ".."} & set(path.split("/")) else ""


def bearer(token: Secret | None) -> dict[str, str | Secret]:
    """The header that carries a token; none when there is no token."""
    return {"Authorization": Secret(f"Bearer {token.reveal()}")} if token else {}


def vendor_words(reply: Reply, limit: int = 200) -> str:
    """What an error answer says, in one short line; vendors put it in one of a few keys."""
    try:
        data = json.loads(reply.body)
    except ValueError:
        return " ".join(reply.body[: 2 * limit].decode(errors="replace").split())[:limit] or "without a word"
    if isinstance(data, dict):
        for key in ("message", "error", "errors", "detail", "status"):
            if data.get(key):
                data = data[key]
                break
    if isinstance(data, list):
        data = "; ".join(str(one) for one in data)
    return " ".join(str(data).split())[:limit]


def _after(reply: Reply) -> float:
    try:
        return max(0.0, float(reply.headers.get("retry-after", "0")))
    except ValueError:  # the date form; its pause is longer than any deadline of ours
        return 3600.0


def _words(error: BaseException) -> str:
    """The deepest cause that says something, in one line."""
    words = ""
    cause: BaseException | None = error
    while cause is not None:
        words = str(cause) or words
        cause = cause.__cause__ or cause.__context__
    return " ".join(words.split()) or type(error).__name__
