"""Slack: one message for an incident, edited in place; and the incoming webhook where there is no more than that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from runbook_lib.clients._http import Http, bearer
from runbook_lib.clients._tape import Answer, Question
from runbook_lib.clients._vendor import VendorClient
from runbook_lib.errors import (
    ActionRejectedError,
    SourceAnswerError,
    SourceDeniedError,
)
from runbook_lib.model import Evidence, Gap
from runbook_lib.secrets import Secret

_URL = "https://slack.com"
#: Slack's own words for credentials that do not do; https://docs.slack.dev/reference/methods/auth.test#errors.
_DENIED = frozenset(
    {
        "not_authed",
        "invalid_auth",
        "account_inactive",
        "token_revoked",
        "token_expired",
        "missing_scope",
        "no_permission",
    }
)
_EVENT = "runbook_message"


class SlackClient(VendorClient):
    """Messages to Slack. Settings of the endpoint: ``webhook`` (a secret), or ``token`` and ``channel``; ``url``."""

    source = "slack"

    def identity(self) -> Evidence | Gap:
        """Document ``{team, user, url}`` of the token."""
        return self._ask("identity", self._fetch_identity)

    def message(self, key: str) -> Evidence | Gap:
        """Document ``{found, channel, ts, text}`` of the message that was posted with ``key``.

        After a post with an unknown outcome this tells whether the message is there.
        """
        return self._ask("message", self._fetch_message, parameters={"key": key})

    def post(
        self, text: str, *, key: str, channel: str = "", thread: str = "", blocks: Sequence[Mapping[str, Any]] = ()
    ) -> dict[str, str]:
        """Post a message with the token; one request.

        Args:
            text: the message; also what a notification shows.
            key: found again by ``message``; for the reader of a record it is the deduplication key.
            channel: where; default: the endpoint's channel.
            thread: ``ts`` of the message to answer in its thread.
            blocks: Block Kit blocks.

        Returns:
            ``{channel, ts}``; both are needed to edit it.

        Raises:
            ActionRejectedError: Slack said no, or nothing was sent.
            OutcomeUnknownError: it may have been posted; ``message(key)`` tells.
        """
        body: dict[str, Any] = {
            "channel": channel or self._channel(),
            "text": text,
            "metadata": {"event_type": _EVENT, "event_payload": {"key": key}},
            "unfurl_links": False,
        }
        if thread:
            body["thread_ts"] = thread
        if blocks:
            body["blocks"] = list(blocks)
        answer = self._write("chat.postMessage", body)
        return {"channel": str(answer["channel"]), "ts": str(answer["ts"])}

    def update(self, text: str, *, channel: str, ts: str, blocks: Sequence[Mapping[str, Any]] = ()) -> dict[str, str]:
        """Edit a message in place; the same text twice is harmless.

        Raises:
            ActionRejectedError: Slack said no, or nothing was sent.
            OutcomeUnknownError: it may have been edited.
        """
        body: dict[str, Any] = {"channel": channel, "ts": ts, "text": text}
        if blocks:
            body["blocks"] = list(blocks)
        answer = self._write("chat.update", body)
        return {"channel": str(answer["channel"]), "ts": str(answer["ts"])}

    def post_to_webhook(self, text: str, *, blocks: Sequence[Mapping[str, Any]] = ()) -> None:
        """Post a message with the incoming webhook, which can neither edit nor find it; one request.

        Raises:
            ActionRejectedError: Slack said no, or nothing was sent.
            OutcomeUnknownError: it may have been posted.
        """
        body: dict[str, Any] = {"text": text, **({"blocks": list(blocks)} if blocks else {})}
        with self._writing():
            webhook = self._secret("webhook")
            if webhook is None:
                raise ActionRejectedError("slack.webhook is not set in the catalogue; nothing was sent")
            # The whole address is the credential, and so is its path alone.
            address = urlsplit(webhook.reveal())
            self._redactor.learn(Secret(address.path))
            url = f"{address.scheme}://{address.netloc}"
            self._post_once(url, address.path, body, what="the incoming webhook")

    def _open(self) -> Http:
        token = self._secret("token")
        if token is None:
            raise SourceDeniedError("slack.token is not set in the catalogue", source=self.source)
        return self._http_to(self._setting("url", _URL), bearer(token))

    def _channel(self) -> str:
        with self._writing():
            channel = self._setting("channel")
            if not channel:
                raise ActionRejectedError("slack.channel is not set in the catalogue; nothing was sent")
            return channel

    def _write(self, method: str, body: Mapping[str, Any]) -> dict[str, Any]:
        with self._writing():
            reply = self._http.send("POST", f"/api/{method}", body, what=method)
            answer = self._answer_to(reply, method, needs="ok")
            if not answer["ok"]:
                raise ActionRejectedError(f"Slack refused {method}: {answer.get('error', 'without a word')}")
            return answer

    def _read(self, method: str, body: Mapping[str, Any]) -> dict[str, Any]:
        answer: dict[str, Any] = self._http.search(f"/api/{method}", body).json()
        if not answer["ok"]:
            words = str(answer.get("error", "without a word"))
            kind = SourceDeniedError if words in _DENIED else SourceAnswerError
            raise kind(f"refused {method}: {words}", source=self.source)
        return answer

    def _fetch_identity(self, question: Question) -> Answer:
        found = self._read("auth.test", {})
        return Answer({key: str(found.get(key, "")) for key in ("team", "user", "url")})

    def _fetch_message(self, question: Question) -> Answer:
        asked = {"channel": self._setting("channel"), "limit": 100, "include_all_metadata": True}
        for one in self._read("conversations.history", asked)["messages"]:
            mark = one.get("metadata") or {}
            if (mark.get("event_payload") or {}).get("key") == question.parameters["key"]:
                text = self._redactor.text(str(one.get("text", "")))
                return Answer({"found": True, "channel": asked["channel"], "ts": str(one["ts"]), "text": text})
        return Answer({"found": False, "channel": asked["channel"], "ts": "", "text": ""})
