"""Grafana's HTTP API: health, search, dashboards, annotations, data sources and the data source proxy.

Shapes from Grafana's HTTP API reference; error bodies as Grafana 11 sends them.
"""

from __future__ import annotations

import hmac
import json
import time
from importlib import resources
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from runbook_lib.lab.vendors import upstream
from runbook_lib.lab.vendors.settings import Settings
from runbook_lib.lab.vendors.wire import Inbox, VendorError, bearer, body_bytes, json_object

VERSION = "11.6.0+lab"
DATASOURCE_UID = "prometheus"
DEFAULT_ANNOTATION_LIMIT = 100  # Grafana's own default


def routes(settings: Settings, inbox: Inbox) -> list[Route]:
    """Grafana's routes, to be mounted at ``/grafana``."""
    grafana = _Grafana(settings, inbox)
    proxy = "/api/datasources/proxy/uid/{uid}/{path:path}"
    return [
        Route("/api/health", grafana.health),
        Route("/api/org", grafana.organisation),
        Route("/api/search", grafana.search),
        Route("/api/dashboards/uid/{uid}", grafana.dashboard),
        Route("/api/annotations", grafana.annotations, methods=["GET"]),
        Route("/api/annotations", grafana.annotate, methods=["POST"]),
        Route("/api/annotations/{number:int}", grafana.change_annotation, methods=["PATCH", "DELETE"]),
        Route("/api/datasources", grafana.datasources),
        Route("/api/datasources/uid/{uid}", grafana.datasource),
        Route(proxy, grafana.proxy, methods=["GET", "POST"]),
    ]


class _Grafana:
    def __init__(self, settings: Settings, inbox: Inbox) -> None:
        self._settings = settings
        self._inbox = inbox
        self._annotations: list[dict[str, Any]] = []
        text = resources.files("runbook_lib.lab.vendors").joinpath("dashboard_api.json").read_text()
        self._dashboards: dict[str, dict[str, Any]] = {"api": json.loads(text)}

    def _check(self, request: Request) -> None:
        given = bearer(request)
        if not given:
            raise VendorError(401, _problem("Unauthorized", "auth.unauthorized", 401))
        if not hmac.compare_digest(given, self._settings.secrets["grafana_token"]):
            raise VendorError(401, _problem("Invalid API key", "api-key.invalid", 401))

    async def health(self, _request: Request) -> Response:
        return JSONResponse({"commit": "lab", "database": "ok", "version": VERSION})

    async def organisation(self, request: Request) -> Response:
        self._check(request)
        return JSONResponse({"id": 1, "name": "Main Org."})

    async def search(self, request: Request) -> Response:
        self._check(request)
        words = request.query_params.get("query", "").casefold()
        kind = request.query_params.get("type", "dash-db")
        tags = set(request.query_params.getlist("tag"))
        found = [
            _search_hit(number, uid, board)
            for number, (uid, board) in enumerate(self._dashboards.items(), start=1)
            if kind == "dash-db" and words in board["title"].casefold() and tags <= set(board["tags"])
        ]
        return JSONResponse(found)

    async def dashboard(self, request: Request) -> Response:
        self._check(request)
        uid = request.path_params["uid"]
        board = self._dashboards.get(uid)
        if board is None:
            raise VendorError(404, {"message": "Dashboard not found", "status": "not-found"})
        meta = {"type": "db", "slug": uid, "url": f"/d/{uid}/{uid}", "version": board["version"], "provisioned": True}
        return JSONResponse({"meta": meta, "dashboard": board})

    async def annotations(self, request: Request) -> Response:
        self._check(request)
        parameters = request.query_params
        start, end = _whole(parameters, "from", 0), _whole(parameters, "to", 2**62)
        tags, any_tag = set(parameters.getlist("tags")), parameters.get("matchAny") == "true"
        board = parameters.get("dashboardUID", "")
        found = [
            note
            for note in self._annotations
            if note["timeEnd"] >= start
            and note["time"] <= end
            and (not tags or (bool(tags & set(note["tags"])) if any_tag else tags <= set(note["tags"])))
            and board in ("", note["dashboardUID"])
        ]
        found.sort(key=lambda note: note["time"], reverse=True)
        return JSONResponse(found[: _whole(parameters, "limit", DEFAULT_ANNOTATION_LIMIT)])

    async def annotate(self, request: Request) -> Response:
        self._check(request)
        body = await json_object(request, VendorError(400, {"message": "bad request data"}))
        if not body.get("text"):
            raise VendorError(400, {"message": "Failed to save annotation", "error": "text field should not be empty"})
        board = body.get("dashboardUID", "")
        if board and board not in self._dashboards:
            raise VendorError(404, {"message": "Dashboard not found", "status": "not-found"})
        now_ms = int(time.time() * 1000)
        began = int(body.get("time") or now_ms)
        note = {
            "id": len(self._annotations) + 1,
            "alertId": 0,
            "dashboardUID": board,
            "panelId": int(body.get("panelId") or 0),
            "userId": 1,
            "login": "sa-1-runbook",
            "created": now_ms,
            "updated": now_ms,
            "time": began,
            "timeEnd": int(body.get("timeEnd") or began),
            "text": body["text"],
            "tags": list(body.get("tags") or []),
            "data": {},
        }
        self._annotations.append(note)
        self._inbox.add("grafana", "annotation", body)
        return JSONResponse({"message": "Annotation added", "id": note["id"]})

    async def change_annotation(self, request: Request) -> Response:
        self._check(request)
        number = request.path_params["number"]
        note = next((note for note in self._annotations if note["id"] == number), None)
        if note is None:
            raise VendorError(404, {"message": "Could not find annotation to update"})
        if request.method == "DELETE":
            self._annotations.remove(note)
            self._inbox.add("grafana", "annotation.delete", {"id": number})
            return JSONResponse({"message": "Annotation deleted"})
        body = await json_object(request, VendorError(400, {"message": "bad request data"}))
        note.update({key: body[key] for key in ("text", "tags", "time", "timeEnd") if key in body})
        note["updated"] = int(time.time() * 1000)
        self._inbox.add("grafana", "annotation.patch", {"id": number, **body})
        return JSONResponse({"message": "Annotation patched"})

    def _datasource(self) -> dict[str, Any]:
        return {
            "id": 1,
            "uid": DATASOURCE_UID,
            "orgId": 1,
            "name": "Prometheus",
            "type": "prometheus",
            "typeName": "Prometheus",
            "access": "proxy",
            "url": self._settings.metrics_url,
            "isDefault": True,
            "jsonData": {"httpMethod": "POST"},
            "readOnly": True,
        }

    async def datasources(self, request: Request) -> Response:
        self._check(request)
        return JSONResponse([self._datasource()])

    async def datasource(self, request: Request) -> Response:
        self._check(request)
        _known_datasource(request)
        return JSONResponse(self._datasource())

    async def proxy(self, request: Request) -> Response:
        self._check(request)
        _known_datasource(request)
        path = request.path_params["path"]
        if not path.startswith("api/v1/"):
            raise VendorError(
                403, {"message": "non allow-listed POST/GETs not allowed on proxied Prometheus datasource"}
            )
        body = await body_bytes(request)
        status, answer = await run_in_threadpool(
            upstream.fetch,
            self._settings.metrics_url,
            path,
            query=request.url.query,
            method=request.method,
            body=body,
        )
        return Response(answer, status, media_type="application/json")


def _problem(message: str, message_id: str, status: int) -> dict[str, Any]:
    return {"message": message, "messageId": message_id, "statusCode": status, "traceID": ""}


def _known_datasource(request: Request) -> None:
    if request.path_params["uid"] != DATASOURCE_UID:
        raise VendorError(404, _problem("Unable to find datasource", "datasource.notFound", 404))


def _whole(parameters: Any, name: str, default: int) -> int:
    """A whole-number query parameter; Grafana refuses text there with 400."""
    try:
        return int(parameters.get(name) or default)
    except ValueError:
        raise VendorError(400, {"message": f"bad request data: {name} is not a number"}) from None


def _search_hit(number: int, uid: str, board: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": number,
        "uid": uid,
        "title": board["title"],
        "uri": f"db/{uid}",
        "url": f"/d/{uid}/{uid}",
        "slug": "",
        "type": "dash-db",
        "tags": board["tags"],
        "isStarred": False,
        "sortMeta": 0,
    }
