"""Slack: incoming webhook and the Web API methods that post, change and find messages.

The Web API answers 200 with ``ok: false`` for its errors; the webhook answers with a status and a word. Rate limiting
(429 with Retry-After) comes on demand: ``PUT /slack/lab {"rate_limit_next": 1, "retry_after_seconds": 2}``.
"""

from __future__ import annotations

import hmac
import json
import time
from typing import Any
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from runbook_lib.lab.vendors.settings import Settings
from runbook_lib.lab.vendors.wire import Inbox, VendorError, bearer, body_bytes, json_object

CHANNELS = {"#api-alerts": "C0APIALERTS", "#platform-oncall": "C0ONCALL"}
MAX_TEXT_CHARACTERS = 40_000  # Slack truncates above this
MAX_BLOCKS = 50


def routes(settings: Settings, inbox: Inbox) -> list[Route]:
    """Slack's routes, to be mounted at ``/slack``."""
    slack = _Slack(settings, inbox)
    return [
        Route("/services/{team}/{bot}/{secret}", slack.webhook, methods=["POST"]),
        Route("/api/{method}", slack.web_api, methods=["POST", "GET"]),
        Route("/lab", slack.control, methods=["PUT"]),
    ]


class _Slack:
    def __init__(self, settings: Settings, inbox: Inbox) -> None:
        self._settings = settings
        self._inbox = inbox
        self._messages: dict[tuple[str, str], dict[str, Any]] = {}
        self._limited, self._retry_after_seconds = 0, 1
        self._last_ts = 0

    async def control(self, request: Request) -> Response:
        body = await json_object(request, VendorError(400, {"error": "a JSON object is expected"}))
        self._limited = int(body.get("rate_limit_next", 0))
        self._retry_after_seconds = int(body.get("retry_after_seconds", 1))
        return JSONResponse({"rate_limit_next": self._limited, "retry_after_seconds": self._retry_after_seconds})

    def _limit(self, body: Any) -> None:
        if self._limited > 0:
            self._limited -= 1
            raise VendorError(429, body, {"Retry-After": str(self._retry_after_seconds)})

    async def webhook(self, request: Request) -> Response:
        if not hmac.compare_digest(request.url.path, f"/slack/{self._settings.secrets['slack_webhook_path']}"):
            raise VendorError(404, "no_service")
        self._limit("rate_limited")
        form = request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded")
        raw = await body_bytes(request)
        text = dict(parse_qsl(raw.decode(errors="replace"))).get("payload", "") if form else raw
        try:
            body = json.loads(text)
        except ValueError:
            raise VendorError(400, "invalid_payload") from None
        if not isinstance(body, dict):
            raise VendorError(400, "invalid_payload")
        if not any(body.get(key) for key in ("text", "blocks", "attachments")):
            raise VendorError(400, "no_text")
        if len(body.get("blocks") or ()) > MAX_BLOCKS:
            raise VendorError(400, "invalid_blocks")
        self._inbox.add("slack", "webhook", body)
        return PlainTextResponse("ok")

    async def web_api(self, request: Request) -> Response:
        method = request.path_params["method"]
        self._limit({"ok": False, "error": "ratelimited"})
        body = await _arguments(request)
        given = bearer(request) or str(body.pop("token", ""))
        if not given:
            return _failed("not_authed")
        if not hmac.compare_digest(given, self._settings.secrets["slack_token"]):
            return _failed("invalid_auth")
        handlers = {
            "auth.test": self._auth_test,
            "chat.postMessage": self._post,
            "chat.update": self._update,
            "chat.getPermalink": self._permalink,
            "conversations.history": self._history,
            "conversations.replies": self._replies,
        }
        handler = handlers.get(method)
        return _failed("unknown_method", req_method=method) if handler is None else handler(body)

    def _auth_test(self, _body: dict[str, Any]) -> Response:
        url = f"{self._settings.base_url}/slack/"
        return JSONResponse(
            {
                "ok": True,
                "url": url,
                "team": "Acme",
                "user": "runbook",
                "team_id": "T0LAB",
                "user_id": "U0LAB",
                "bot_id": "B0LAB",
            }
        )

    def _post(self, body: dict[str, Any]) -> Response:
        channel = _channel(body)
        if channel is None:
            return _failed("channel_not_found")
        if error := _content_error(body):
            return _failed(error)
        kept = ("text", "blocks", "attachments", "thread_ts", "metadata")
        message: dict[str, Any] = {key: body[key] for key in kept if key in body}
        message |= {"type": "message", "user": "U0LAB", "bot_id": "B0LAB", "ts": self._next_ts()}
        self._messages[channel, message["ts"]] = message
        self._inbox.add("slack", "chat.postMessage", {**body, "ts": message["ts"]})
        return JSONResponse({"ok": True, "channel": channel, "ts": message["ts"], "message": message})

    def _update(self, body: dict[str, Any]) -> Response:
        channel = _channel(body)
        if channel is None:
            return _failed("channel_not_found")
        message = self._messages.get((channel, str(body.get("ts", ""))))
        if message is None:
            return _failed("message_not_found")
        if error := _content_error(body):
            return _failed(error)
        message.update({key: body[key] for key in ("text", "blocks", "attachments") if key in body})
        message["edited"] = {"user": "U0LAB", "ts": self._next_ts()}
        self._inbox.add("slack", "chat.update", body)
        text = message.get("text", "")
        return JSONResponse({"ok": True, "channel": channel, "ts": message["ts"], "text": text, "message": message})

    def _permalink(self, body: dict[str, Any]) -> Response:
        channel, stamp = _channel(body), str(body.get("message_ts", ""))
        if channel is None or (channel, stamp) not in self._messages:
            return _failed("message_not_found" if channel else "channel_not_found")
        link = f"{self._settings.base_url}/slack/archives/{channel}/p{stamp.replace('.', '')}"
        return JSONResponse({"ok": True, "channel": channel, "permalink": link})

    def _history(self, body: dict[str, Any]) -> Response:
        return self._list(body, lambda message: message.get("thread_ts") in (None, message["ts"]), newest_first=True)

    def _replies(self, body: dict[str, Any]) -> Response:
        root = str(body.get("ts", ""))
        return self._list(body, lambda message: root in (message["ts"], message.get("thread_ts")), newest_first=False)

    def _list(self, body: dict[str, Any], wanted: Any, *, newest_first: bool) -> Response:
        channel = _channel(body)
        if channel is None:
            return _failed("channel_not_found")
        found = [message for (place, _), message in self._messages.items() if place == channel and wanted(message)]
        return JSONResponse({"ok": True, "messages": found[::-1] if newest_first else found, "has_more": False})

    def _next_ts(self) -> str:
        """Microseconds since the epoch as Slack writes them; strictly growing, since a ts names its message."""
        self._last_ts = max(self._last_ts + 1, int(time.time() * 1_000_000))
        return f"{self._last_ts // 1_000_000}.{self._last_ts % 1_000_000:06d}"


def _failed(error: str, **more: Any) -> Response:
    return JSONResponse({"ok": False, "error": error, **more})


def _channel(body: dict[str, Any]) -> str | None:
    name = str(body.get("channel", ""))
    if name in CHANNELS.values():
        return name
    return CHANNELS.get(name if name.startswith("#") else f"#{name}")


def _content_error(body: dict[str, Any]) -> str:
    if not any(body.get(key) for key in ("text", "blocks", "attachments")):
        return "no_text"
    if len(str(body.get("text", ""))) > MAX_TEXT_CHARACTERS:
        return "msg_too_long"
    return "invalid_blocks" if len(body.get("blocks") or ()) > MAX_BLOCKS else ""


async def _arguments(request: Request) -> dict[str, Any]:
    """Arguments of a Web API call: JSON body, form body or query string."""
    if request.method == "GET":
        return dict(request.query_params)
    raw = await body_bytes(request)
    if request.headers.get("content-type", "").startswith("application/json"):
        try:
            value = json.loads(raw or b"{}")
        except ValueError:
            raise VendorError(200, {"ok": False, "error": "invalid_json"}) from None
        if not isinstance(value, dict):
            raise VendorError(200, {"ok": False, "error": "json_not_object"})
        return value
    form: dict[str, Any] = dict(parse_qsl(raw.decode(errors="replace")))
    for key in ("blocks", "attachments", "metadata"):
        if key in form:
            form[key] = json.loads(form[key])
    return form
