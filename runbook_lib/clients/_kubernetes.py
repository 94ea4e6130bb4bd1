"""The wire to a Kubernetes API server: the official client's credentials and connections, our timeouts and errors."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from runbook_lib.clients._clock import skew_warning
from runbook_lib.clients._kubeconfig import refuse_program
from runbook_lib.clients._retry import BusyError, Deadline, with_retries
from runbook_lib.errors import (
    ActionRejectedError,
    OutcomeUnknownError,
    ParameterError,
    SourceAnswerError,
    SourceDeniedError,
    SourceEmptyError,
    SourceError,
    SourceTimeoutError,
    SourceUnreachableError,
)

SOURCE = "kubernetes"
MAX_BODY_BYTES = 64 * 1024 * 1024
_PAGE = 500
_MAX_PAGES = 20
_BUSY = {429: "too many requests", 502: "bad gateway", 503: "unavailable", 504: "gateway timeout"}
_ACCESS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
#: Who we are in managedFields.
FIELD_MANAGER = "runbook"


class ApiServer:
    """One API server as one user sees it.

    Args:
        kubeconfig: file that says where it is and who we are.
        context: context of that file; empty for its current one.
        connect_seconds: time to connect, seconds.
        total_seconds: time for a question with its retries, or for one write, seconds.
        allow_exec: whether the file may name a program that fetches credentials.

    Raises:
        SourceError: the file is not there, cannot be used, or names a program that is not allowed.
    """

    def __init__(
        self, kubeconfig: str, context: str, *, connect_seconds: float, total_seconds: float, allow_exec: bool = False
    ) -> None:
        if not allow_exec:
            refuse_program(kubeconfig, context)
        self.connect_seconds, self.total_seconds = connect_seconds, total_seconds
        self.warnings: tuple[str, ...] = ()
        #: What speaks against the times of the newest answer.
        self.skew: tuple[str, ...] = ()
        self._api = _bounded(lambda: self._load(kubeconfig, context), total_seconds)

    def _load(self, kubeconfig: str, context: str) -> Any:
        import urllib3
        from kubernetes import client, config

        if not Path(kubeconfig).is_file():
            raise SourceUnreachableError(f"there is no kubeconfig {kubeconfig}", source=SOURCE)
        settings = client.Configuration()
        # The client's own retries repeat PUT and DELETE after a lost answer.
        settings.retries = False
        try:
            api = config.new_client_from_config(  # type: ignore[no-untyped-call]
                config_file=kubeconfig, context=context or None, persist_config=False, client_configuration=settings
            )
        except _malformed() as error:
            reason = f"kubeconfig {kubeconfig} cannot be used: {_words(error)}"
            raise SourceDeniedError(reason, source=SOURCE) from error
        if not settings.verify_ssl:
            # Whoever wrote the kubeconfig chose this; it is said in the evidence rather than on every request.
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
            self.warnings = ("the kubeconfig does not check the API server's certificate",)
        return api

    def get(self, path: str, **query: str | int) -> dict[str, Any]:
        """Read one object.

        Raises:
            SourceError: no answer, or one that says no.
        """
        return self._read("GET", path, query, None)

    def review(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Ask by creating a review object, which stores nothing.

        Raises:
            SourceError: no answer, or one that says no.
        """
        return self._read("POST", path, {}, body)

    def access(self, attributes: Mapping[str, Any]) -> dict[str, Any]:
        """Whether we may do something: ``{allowed, denied, reason}``; nothing is tried.

        Args:
            attributes: ``namespace``, ``verb``, ``group``, ``resource``, ``subresource``, ``name``; empty ones are left
                out.

        Raises:
            SourceError: no answer, or one that says no.
        """
        body = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": {name: value for name, value in attributes.items() if value}},
        }
        status = self.review(_ACCESS, body)["status"]
        denied = bool(status.get("denied", False))
        reason = str(status.get("reason") or status.get("evaluationError") or "")
        return {"allowed": bool(status["allowed"]) and not denied, "denied": denied, "reason": reason}

    def items(self, path: str, **query: str | int) -> list[dict[str, Any]]:
        """Read a whole list, page by page.

        Raises:
            SourceError: no answer, one that says no, or more pages than anybody reads.
        """
        found: list[dict[str, Any]] = []
        token = ""
        for _ in range(_MAX_PAGES):
            page = self.get(path, limit=_PAGE, **query, **({"continue": token} if token else {}))
            found += page.get("items") or []
            token = page.get("metadata", {}).get("continue") or ""
            if not token:
                return found
        raise SourceAnswerError(f"{path} has more than {_PAGE * _MAX_PAGES} objects", source=SOURCE)

    def write(
        self, method: str, path: str, body: Any, *, content_type: str = "application/json", dry_run: bool = False
    ) -> dict[str, Any]:
        """Send exactly one request that changes something, or that says what it would change.

        Raises:
            ActionRejectedError: nothing was sent, or the server said no.
            OutcomeUnknownError: the request may have had its effect.
        """
        query = {"fieldManager": FIELD_MANAGER, "fieldValidation": "Strict", **({"dryRun": "All"} if dry_run else {})}
        if method == "DELETE":
            query = {"dryRun": "All"} if dry_run else {}
        try:
            status, content = self._once(method, path, query, body, content_type, Deadline(self.total_seconds))
        except _NotSentError as error:
            raise ActionRejectedError(f"nothing was sent: {error.reason}") from error
        except SourceError as error:
            raise OutcomeUnknownError(
                f"no answer to {method} {path}; it may have taken effect: {error.reason}"
            ) from error
        if status == 408 or (status >= 500 and status not in {501, 505}):
            raise OutcomeUnknownError(f"the cluster answered {status} to {method} {path}: {_message(content)}")
        if status >= 300:
            hint = ""
            if status == 422 and any(isinstance(one, dict) and one.get("op") == "test" for one in body):
                # The server says no more than "an error in our request" when a test of a JSON patch fails.
                hint = " (the object is not as it was observed, or the change is not valid)"
            raise ActionRejectedError(f"the cluster answered {status} to {method} {path}: {_message(content)}{hint}")
        try:
            return _object(content)
        except SourceError as error:
            raise OutcomeUnknownError(f"the answer to {method} {path} cannot be read: {error.reason}") from error

    def dry_apply(self, path: str, body: Mapping[str, Any], *, manager: str, force: bool) -> tuple[int, dict[str, Any]]:
        """What a server-side apply would do, in the server's own words; changes nothing.

        Args:
            path: path of the object.
            body: the object as it is to be.
            manager: the field manager that would apply it.
            force: whether fields of other managers are taken over.

        Returns:
            The HTTP status with the object as it would be, or with the Status of a conflict (409) or of an object
            that is not valid (422).

        Raises:
            SourceError: no answer, or one that says no.
        """
        query = {"dryRun": "All", "fieldManager": manager, "force": str(force).lower(), "fieldValidation": "Warn"}
        # JSON is YAML; as text, for the official client does not know how to write this type.
        text, kind = json.dumps(body), "application/apply-patch+yaml"
        status, content = self._once("PATCH", path, query, text, kind, Deadline(self.total_seconds))
        if status >= 300 and status not in {409, 422}:
            raise _status_error(status, content)
        return status, _object(content)

    def close(self) -> None:
        """Close the connections."""
        self._api.close()

    def _read(self, method: str, path: str, query: Mapping[str, Any], body: Any) -> dict[str, Any]:
        deadline = Deadline(self.total_seconds)

        def attempt() -> dict[str, Any]:
            status, content = self._once(method, path, query, body, "application/json", deadline)
            if status >= 300:
                raise _status_error(status, content)
            return _object(content)

        return with_retries(attempt, deadline)

    def _once(
        self, method: str, path: str, query: Mapping[str, Any], body: Any, content_type: str, deadline: Deadline
    ) -> tuple[int, bytes]:
        headers = {"Accept": "application/json", "Content-Type": content_type}
        _, url, headers, body, _ = self._api.param_serialize(
            method, path, header_params=headers, body=body, auth_settings=["BearerToken"]
        )
        if query:
            url += "?" + urlencode(query)
        left, sent_at = max(0.001, deadline.remaining), time.time()
        with _wire_errors(self.connect_seconds, deadline.seconds):
            response = self._api.call_api(
                method, url, headers, body, _request_timeout=(min(self.connect_seconds, left), left)
            ).response
            content = bytearray()
            try:
                # One read for what has arrived: stream() would wait for a full block, past the deadline.
                while chunk := response.read1(65536):
                    content += chunk
                    if len(content) > MAX_BODY_BYTES:
                        raise SourceAnswerError("the answer is too large", source=SOURCE)
                    if deadline.expired:
                        raise SourceTimeoutError(f"no complete answer within {deadline.seconds:g} s", source=SOURCE)
            finally:
                response.release_conn()
        self.skew = skew_warning(response.headers.get("Date"), sent_at, time.time())
        return response.status, bytes(content)


def _malformed() -> tuple[type[Exception], ...]:
    """What reading a malformed kubeconfig ends with: whatever the reader stumbles over."""
    import yaml
    from kubernetes import config

    return (config.ConfigException, yaml.YAMLError, OSError, ValueError, TypeError, KeyError, AttributeError)


class _NotSentError(SourceUnreachableError):
    """The connection was never made."""


@contextlib.contextmanager
def _wire_errors(connect_seconds: float, total_seconds: float) -> Iterator[None]:
    """The HTTP library's errors in our words."""
    from kubernetes.client import ApiException
    from urllib3 import exceptions

    try:
        yield
    except exceptions.ConnectTimeoutError as error:
        raise _NotSentError(f"no connection within {connect_seconds:g} s", source=SOURCE) from error
    except (exceptions.NewConnectionError, exceptions.NameResolutionError, exceptions.LocationValueError) as error:
        raise _NotSentError(f"cannot be reached: {_words(error)}", source=SOURCE) from error
    except exceptions.ReadTimeoutError as error:
        raise SourceTimeoutError(f"no answer within {total_seconds:g} s", source=SOURCE) from error
    except ApiException as error:  # only TLS failures come this way
        raise _NotSentError(f"no secure connection: {_words(error)}", source=SOURCE) from error
    except exceptions.HTTPError as error:
        raise SourceUnreachableError(f"the connection broke: {_words(error)}", source=SOURCE) from error


def path(*parts: str) -> str:
    """A path of the API from its parts, each quoted.

    Raises:
        ParameterError: a part is empty or made of dots, and would lead to another place.
    """
    for part in parts:
        if part in {"", ".", ".."}:
            raise ParameterError(f"{part!r} is no name of a Kubernetes object")
    return "/" + "/".join(quote(part, safe="") for part in parts)


def _status_error(status: int, content: bytes) -> SourceError:
    message = _message(content)
    if status in {401, 403}:
        return SourceDeniedError(f"answered {status}: {message}", source=SOURCE)
    if status == 404:
        return SourceEmptyError(message, source=SOURCE)
    if status in _BUSY:
        return BusyError(f"answered {status} ({_BUSY[status]}): {message}", source=SOURCE)
    return SourceAnswerError(f"answered {status}: {message}", source=SOURCE)


def _message(content: bytes) -> str:
    """The message of a Status object, or the start of whatever came."""
    try:
        data = json.loads(content)
    except ValueError:
        data = None
    text = str(data.get("message") or data.get("reason") or "") if isinstance(data, dict) else ""
    return " ".join((text or content[:200].decode(errors="replace")).split())[:300] or "without a word"


def _object(content: bytes) -> dict[str, Any]:
    try:
        data = json.loads(content)
    except ValueError as error:
        raise SourceAnswerError("answered with something that is not JSON", source=SOURCE) from error
    if not isinstance(data, dict):
        raise SourceAnswerError("answered with something that is no object", source=SOURCE)
    return data


def _words(error: BaseException) -> str:
    """The part of an error that says what happened; urllib3 puts the connection's repr before it."""
    return " ".join(str(error).rpartition(">: ")[2].split()) or type(error).__name__


def _bounded(load: Any, seconds: float) -> Any:
    """Run ``load`` with a limit: a kubeconfig may name a program that fetches credentials, and it may hang."""
    result: list[Any] = []

    def run() -> None:
        try:
            result.append(load())
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            result.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if not result:
        raise SourceTimeoutError(f"credentials of the kubeconfig were not ready within {seconds:g} s", source=SOURCE)
    if isinstance(result[0], BaseException):
        raise result[0]
    return result[0]
