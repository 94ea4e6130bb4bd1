"""PagerDuty: Events API v2 (enqueue) and the REST API's incidents, notes, services and on-call list.

An event with a ``dedup_key`` opens, acknowledges or resolves the incident of that key, as PagerDuty does.
"""

from __future__ import annotations

import hashlib
import hmac
import uuid
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from runbook_lib.lab.vendors.settings import Settings
from runbook_lib.lab.vendors.wire import Inbox, VendorError, json_object, rfc3339

SERVICE = {"id": "PAPISVC", "type": "service_reference", "summary": "API Service"}
POLICY = {"id": "PPLATFM", "type": "escalation_policy_reference", "summary": "platform-escalation"}
SEVERITIES = ("critical", "error", "warning", "info")
ACTIONS = {"trigger": "triggered", "acknowledge": "acknowledged", "resolve": "resolved"}


def routes(settings: Settings, inbox: Inbox) -> list[Route]:
    """PagerDuty's routes, to be mounted at ``/pagerduty``."""
    pagerduty = _PagerDuty(settings, inbox)
    return [
        Route("/v2/enqueue", pagerduty.enqueue, methods=["POST"]),
        Route("/incidents", pagerduty.incidents, methods=["GET"]),
        Route("/incidents/{id}", pagerduty.incident, methods=["GET"]),
        Route("/incidents/{id}", pagerduty.change, methods=["PUT"]),
        Route("/incidents/{id}/notes", pagerduty.notes, methods=["GET"]),
        Route("/incidents/{id}/notes", pagerduty.add_note, methods=["POST"]),
        Route("/services", pagerduty.services),
        Route("/oncalls", pagerduty.oncalls),
    ]


class _PagerDuty:
    def __init__(self, settings: Settings, inbox: Inbox) -> None:
        self._settings = settings
        self._inbox = inbox
        self._incidents: dict[str, dict[str, Any]] = {}
        self._notes: dict[str, list[dict[str, Any]]] = {}

    async def enqueue(self, request: Request) -> Response:
        body = await json_object(request, VendorError(400, _invalid_event(["JSON object expected"])))
        if errors := _event_errors(body):
            raise VendorError(400, _invalid_event(errors))
        if not hmac.compare_digest(str(body["routing_key"]), self._settings.secrets["pagerduty_routing_key"]):
            raise VendorError(400, _invalid_event(["'routing_key' is invalid"]))
        key = str(body.get("dedup_key") or uuid.uuid4().hex)
        kept = {name: value for name, value in body.items() if name != "routing_key"}
        self._inbox.add("pagerduty", f"event.{body['event_action']}", {**kept, "dedup_key": key})
        self._apply(body, key)
        return JSONResponse({"status": "success", "message": "Event processed", "dedup_key": key}, 202)

    def _apply(self, body: dict[str, Any], key: str) -> None:
        status = ACTIONS[body["event_action"]]
        open_incident = next(
            (one for one in self._incidents.values() if one["incident_key"] == key and one["status"] != "resolved"),
            None,
        )
        if open_incident is not None:
            if status != "triggered":
                open_incident["status"] = status
        elif status == "triggered":
            number = len(self._incidents) + 1
            # The id of a real incident is opaque; this one is stable for a key, so that a rehearsal can be repeated.
            identity = "Q" + hashlib.sha256(f"{key}:{number}".encode()).hexdigest()[:13].upper()
            self._incidents[identity] = self._new_incident(identity, number, key, body["payload"])

    def _new_incident(self, identity: str, number: int, key: str, payload: dict[str, Any]) -> dict[str, Any]:
        url = f"{self._settings.base_url}/pagerduty/incidents/{identity}"
        return {
            "id": identity,
            "type": "incident",
            "incident_number": number,
            "incident_key": key,
            "title": payload["summary"],
            "summary": f"[#{number}] {payload['summary']}",
            "status": "triggered",
            "urgency": "high" if payload["severity"] in ("critical", "error") else "low",
            "created_at": rfc3339(datetime.now(UTC)),
            "service": SERVICE,
            "escalation_policy": POLICY,
            "assignments": [],
            "self": url,
            "html_url": url,
        }

    def _check(self, request: Request) -> None:
        scheme, _, rest = request.headers.get("authorization", "").partition(" ")
        given = rest.removeprefix("token=").strip('" ') if scheme == "Token" else ""
        if not hmac.compare_digest(given, self._settings.secrets["pagerduty_token"]):
            raise VendorError(401, {"error": {"message": "Unauthorized", "code": 2006, "errors": ["Invalid token"]}})

    def _find(self, request: Request) -> dict[str, Any]:
        self._check(request)
        found = self._incidents.get(request.path_params["id"])
        if found is None:
            raise VendorError(404, {"error": {"message": "Not Found", "code": 2100}})
        return found

    async def incidents(self, request: Request) -> Response:
        self._check(request)
        statuses = request.query_params.getlist("statuses[]")
        key = request.query_params.get("incident_key", "")
        found = [
            one
            for one in self._incidents.values()
            if (not statuses or one["status"] in statuses) and key in ("", one["incident_key"])
        ]
        limit, offset = _whole(request, "limit", 25), _whole(request, "offset", 0)
        more = len(found) > offset + limit
        page = found[offset : offset + limit]
        return JSONResponse({"incidents": page, "limit": limit, "offset": offset, "more": more, "total": None})

    async def incident(self, request: Request) -> Response:
        return JSONResponse({"incident": self._find(request)})

    async def change(self, request: Request) -> Response:
        found = self._find(request)
        _sender(request)
        body = await json_object(request, _invalid_input("Incident must be an object"))
        status = (body.get("incident") or {}).get("status")
        if status not in ("acknowledged", "resolved"):
            raise _invalid_input("Status must be one of acknowledged, resolved")
        if found["status"] == "resolved":
            raise _invalid_input("Incident Already Resolved")
        found["status"] = status
        self._inbox.add("pagerduty", "incident.update", {"id": found["id"], **body})
        return JSONResponse({"incident": found})

    async def notes(self, request: Request) -> Response:
        return JSONResponse({"notes": self._notes.get(self._find(request)["id"], [])})

    async def add_note(self, request: Request) -> Response:
        found = self._find(request)
        sender = _sender(request)
        body = await json_object(request, _invalid_input("Note must be an object"))
        content = (body.get("note") or {}).get("content")
        if not content:
            raise _invalid_input("Content cannot be empty.")
        kept = self._notes.setdefault(found["id"], [])
        user = {"id": "PUSER01", "type": "user_reference", "summary": sender}
        note = {
            "id": f"PNOTE{len(kept) + 1:03d}",
            "content": content,
            "created_at": rfc3339(datetime.now(UTC)),
            "user": user,
            "channel": {"summary": "The PagerDuty website or APIs", "type": "web"},
        }
        kept.append(note)
        self._inbox.add("pagerduty", "note", {"incident": found["id"], "content": content, "from": sender})
        return JSONResponse({"note": note}, 201)

    async def services(self, request: Request) -> Response:
        self._check(request)
        service = {
            **SERVICE,
            "type": "service",
            "name": SERVICE["summary"],
            "status": "active",
            "escalation_policy": POLICY,
        }
        return JSONResponse({"services": [service], "limit": 25, "offset": 0, "more": False, "total": None})

    async def oncalls(self, request: Request) -> Response:
        self._check(request)
        user = {"id": "PUSER01", "type": "user_reference", "summary": "Platform on-call"}
        oncall = {"user": user, "escalation_policy": POLICY, "escalation_level": 1, "start": None, "end": None}
        return JSONResponse({"oncalls": [oncall], "limit": 25, "offset": 0, "more": False, "total": None})


def _event_errors(body: dict[str, Any]) -> list[str]:
    errors = []
    if not body.get("routing_key"):
        errors.append("'routing_key' is missing or blank")
    action = body.get("event_action")
    if action not in ACTIONS:
        errors.append("'event_action' is invalid (must be one of 'trigger', 'acknowledge', or 'resolve')")
    if action in ("acknowledge", "resolve") and not body.get("dedup_key"):
        errors.append("'dedup_key' is missing or blank")
    if action == "trigger":
        payload = body.get("payload")
        payload = payload if isinstance(payload, dict) else {}
        errors += [f"'payload.{key}' is missing or blank" for key in ("summary", "source") if not payload.get(key)]
        if payload.get("severity") not in SEVERITIES:
            errors.append(f"'payload.severity' is invalid (must be one of {', '.join(SEVERITIES)})")
    if len(str(body.get("dedup_key", ""))) > 255:
        errors.append("'dedup_key' is longer than 255 characters")
    return errors


def _invalid_event(errors: list[str]) -> dict[str, Any]:
    return {"status": "invalid event", "message": "Event object is invalid", "errors": errors}


def _invalid_input(error: str) -> VendorError:
    return VendorError(400, {"error": {"message": "Invalid Input Provided", "code": 2001, "errors": [error]}})


def _sender(request: Request) -> str:
    """The From header, which PagerDuty wants for every change."""
    sender = request.headers.get("from", "")
    if "@" not in sender:
        raise VendorError(400, {"error": {"message": "Requester User Not Found", "code": 1008}})
    return sender


def _whole(request: Request, name: str, default: int) -> int:
    text = request.query_params.get(name, "")
    if text and not text.isdigit():
        raise _invalid_input(f"{name} must be a whole number")
    return int(text) if text else default
