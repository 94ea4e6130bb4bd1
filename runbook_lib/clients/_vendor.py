"""What the clients of systems with an HTTP API share: the open connection, and a request of its own with its answer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from runbook_lib.clients._http import Http, Reply
from runbook_lib.clients._source import SourceClient
from runbook_lib.errors import OutcomeUnknownError, SourceError
from runbook_lib.secrets import Secret

Headers = Mapping[str, str | Secret]


class VendorClient(SourceClient, ABC):
    """A system that is reached by HTTP; a kind of it says in ``_open`` with which address and credentials."""

    @property
    def _http(self) -> Http:
        return self._shared(self._open)

    @abstractmethod
    def _open(self) -> Http:
        """The connection that all questions share.

        Raises:
            SourceDeniedError: the catalogue names no credentials, or they are not there.
        """

    def _http_to(self, url: str, headers: Headers | None = None) -> Http:
        return Http(
            self.source,
            url,
            headers=headers,
            connect_seconds=self.connect_seconds,
            total_seconds=self.total_seconds,
        )

    def _post_once(self, url: str, path: str, body: Any, *, what: str) -> Reply:
        """One request to another address than that of the questions; see ``Http.send``."""
        http = self._http_to(url)
        try:
            return http.send("POST", path, body, what=what)
        finally:
            http.close()

    def _answer_to(self, reply: Reply, what: str, *, needs: str) -> dict[str, Any]:
        """The body of an accepted write; one that cannot be read leaves the outcome open.

        Args:
            reply: what came.
            what: the request in words.
            needs: the member without which the answer says nothing.

        Raises:
            OutcomeUnknownError: it is no JSON object with this member.
        """
        try:
            found = reply.json()
        except SourceError:
            found = None
        if not isinstance(found, dict) or needs not in found:
            raise OutcomeUnknownError(f"the answer of {self.source} to {what} cannot be read")
        return found
