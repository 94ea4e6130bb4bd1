"""Datadog's API: key validation, v1 metric query, v1 events and v2 log search.

Shapes from Datadog's API reference; every number comes from samples that the lab's metrics store really holds.
"""

from __future__ import annotations

import hmac
import time
from datetime import UTC, datetime
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from runbook_lib.lab.vendors import datadog_logs as logs
from runbook_lib.lab.vendors import datadog_query, datadog_search, upstream
from runbook_lib.lab.vendors.datadog_metrics import METRICS
from runbook_lib.lab.vendors.settings import Settings
from runbook_lib.lab.vendors.wire import Inbox, VendorError, json_object

MAX_LOGS = 1000  # Datadog's largest page


def routes(settings: Settings, inbox: Inbox) -> list[Route]:
    """Datadog's routes, to be mounted at ``/datadog``."""
    datadog = _Datadog(settings, inbox)
    return [
        Route("/api/v1/validate", datadog.validate),
        Route("/api/v1/query", datadog.query),
        Route("/api/v1/events", datadog.events, methods=["GET"]),
        Route("/api/v1/events", datadog.post_event, methods=["POST"]),
        Route("/api/v2/logs/events/search", datadog.search_logs, methods=["POST"]),
    ]


class _Datadog:
    def __init__(self, settings: Settings, inbox: Inbox) -> None:
        self._settings = settings
        self._inbox = inbox
        self._events: list[dict[str, Any]] = []

    def _check(self, request: Request, *, application: bool = True) -> None:
        """Both keys for reading, the API key alone for sending; 403 as Datadog answers for either."""
        keys = {"dd-api-key": "datadog_api_key"} | ({"dd-application-key": "datadog_app_key"} if application else {})
        for header, name in keys.items():
            given = request.headers.get(header, "")
            if not given:
                raise VendorError(401, {"errors": ["Unauthorized"]})
            if not hmac.compare_digest(given, self._settings.secrets[name]):
                raise VendorError(403, {"errors": ["Forbidden"]})

    async def validate(self, request: Request) -> Response:
        self._check(request, application=False)
        return JSONResponse({"valid": True})

    async def query(self, request: Request) -> Response:
        self._check(request)
        start, end = _seconds(request, "from"), _seconds(request, "to")
        text = request.query_params.get("query", "")
        if not text:
            raise VendorError(400, {"errors": ["Missing required parameter: query"]})
        if end <= start:
            raise VendorError(400, {"errors": ["Invalid time range: from must be before to"]})
        try:
            queries = [datadog_query.parse(part, end - start) for part in _split(text)]
        except datadog_query.QueryError as error:
            raise VendorError(400, {"errors": [str(error)]}) from None
        series = []
        for index, parsed in enumerate(queries):
            series += await run_in_threadpool(_series, self._settings.metrics_url, index, parsed, start, end)
        answer = {
            "status": "ok",
            "res_type": "time_series",
            "resp_version": 1,
            "query": text,
            "from_date": start * 1000,
            "to_date": end * 1000,
            "series": series,
            "values": [],
            "times": [],
            "message": "",
            "group_by": sorted({tag for parsed in queries for tag in parsed.by}),
        }
        return JSONResponse(answer)

    async def events(self, request: Request) -> Response:
        self._check(request)
        start, end = _seconds(request, "start"), _seconds(request, "end")
        tags = {tag for tag in request.query_params.get("tags", "").split(",") if tag}
        found = [e for e in self._events if start <= e["date_happened"] < end and tags <= set(e["tags"])]
        return JSONResponse({"events": found[::-1]})

    async def post_event(self, request: Request) -> Response:
        self._check(request, application=False)
        body = await json_object(request, VendorError(400, {"errors": ["Payload is not in the expected format"]}))
        for key in ("title", "text"):
            if not body.get(key):
                raise VendorError(400, {"errors": [f"Missing required attribute: {key}"]})
        event = {
            "id": len(self._events) + 1,
            "title": body["title"],
            "text": body["text"],
            "date_happened": int(body.get("date_happened") or time.time()),
            "priority": body.get("priority", "normal"),
            "alert_type": body.get("alert_type", "info"),
            "tags": list(body.get("tags") or []),
            "host": body.get("host"),
        }
        self._events.append(event)
        self._inbox.add("datadog", "event", body)
        return JSONResponse({"status": "ok", "event": event}, 202)

    async def search_logs(self, request: Request) -> Response:
        self._check(request)
        body = await json_object(request, VendorError(400, {"errors": ["Bad Request"]}))
        wanted, page, now = body.get("filter") or {}, body.get("page") or {}, datetime.now(UTC)
        began = time.monotonic()
        try:
            start = logs.moment(wanted.get("from", "now-15m"), now)
            end = logs.moment(wanted.get("to", "now"), now)
            query = str(wanted.get("query", "*"))
            lines = await run_in_threadpool(logs.search, self._settings.log_directories, query, start, end)
        except datadog_search.SearchError as error:
            raise VendorError(400, {"errors": [f"Bad Request: {error}"]}) from None
        if body.get("sort") == "timestamp":
            lines.reverse()
        limit, offset = _page(page)
        shown, rest = lines[offset : offset + limit], len(lines) > offset + limit
        meta: dict[str, Any] = {
            "elapsed": int((time.monotonic() - began) * 1000),
            "request_id": f"lab-{int(now.timestamp() * 1000)}",
            "status": "done",
        }
        if rest:
            meta["page"] = {"after": str(offset + limit)}
        return JSONResponse({"data": [line.to_json() for line in shown], "meta": meta})


def _series(metrics_url: str, index: int, query: datadog_query.Query, start: int, end: int) -> list[dict[str, Any]]:
    promql = datadog_query.to_promql(query)
    if promql is None:
        return []  # Datadog answers an unknown metric or tag with no series, not with an error
    step = query.interval_seconds
    aligned = start - start % step
    unit = METRICS[query.metric].unit
    described = None if unit is None else unit.to_json()
    answered = []
    for row in upstream.query_range(metrics_url, promql, aligned, end, step):
        points = [[int(stamp) * 1000, float(value)] for stamp, value in row["values"]]
        tags = datadog_query.tag_set(query, row["metric"])
        answered.append(
            {
                "metric": query.metric,
                "display_name": query.metric,
                "query_index": index,
                "aggr": query.aggregator,
                "unit": [described, None],
                "tag_set": tags,
                "scope": ",".join(tags) or ",".join(f"{'!' * n}{k}:{v}" for n, k, v in query.scope) or "*",
                "expression": query.text,
                "interval": step,
                "start": points[0][0],
                "end": points[-1][0] + step * 1000 - 1,
                "length": len(points),
                "pointlist": points,
                "attributes": {},
            }
        )
    return answered


def _split(text: str) -> list[str]:
    """Split at commas outside of braces and brackets: one request may hold several queries."""
    parts, depth = [""], 0
    for character in text:
        depth += (character in "{(") - (character in "})")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return parts


def _seconds(request: Request, name: str) -> int:
    text = request.query_params.get(name, "")
    try:
        return int(float(text))
    except ValueError:
        raise VendorError(400, {"errors": [f"Missing or invalid required parameter: {name}"]}) from None


def _page(page: dict[str, Any]) -> tuple[int, int]:
    """Limit and offset of a log page; the cursor is the offset as text."""
    limit, cursor = page.get("limit", 10), page.get("cursor", "0")
    if not isinstance(limit, int) or not 1 <= limit <= MAX_LOGS:
        raise VendorError(400, {"errors": [f"Bad Request: page.limit must be between 1 and {MAX_LOGS}"]})
    if not str(cursor).isdigit():
        raise VendorError(400, {"errors": ["Bad Request: invalid page.cursor"]})
    return limit, int(cursor)
