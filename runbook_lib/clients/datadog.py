"""Datadog: metrics (v1) and logs (v2)."""

from __future__ import annotations

from string import Template
from typing import Any

from runbook_lib.clients._http import Http, Reply
from runbook_lib.clients._tape import Answer, Question
from runbook_lib.clients._vendor import VendorClient
from runbook_lib.errors import SourceAnswerError, SourceDeniedError, SourceEmptyError, SourceError
from runbook_lib.model import Evidence, Gap, Series, Table, Window
from runbook_lib.model.evidence import Scalar
from runbook_lib.model.times import parse_rfc3339, rfc3339
from runbook_lib.queries import Query
from runbook_lib.secrets import Secret

LOG_COLUMNS = ("at", "status", "host", "service", "message")
_PAGE = 100
_MESSAGE_CHARACTERS = 500


class DatadogClient(VendorClient):
    """Questions to Datadog. Settings of the endpoint: ``url``, ``api_key``, ``application_key``, ``scope`` (tags of
    the service's data)."""

    source = "datadog"

    def connections(self) -> Evidence | Gap:
        """Database connections, a count, one series."""
        return self._metric("connections")

    def connections_of_limit(self) -> Evidence | Gap:
        """Share of the database's connections that is used, 0 to 1, one series."""
        return self._metric("connections_of_limit")

    def logs(self, filter: str = "status:error", limit: int = 100) -> Evidence | Gap:  # noqa: A002
        """Table ``at, status, host, service, message``, newest first.

        Args:
            filter: Datadog's log search syntax, added to the service.
            limit: most lines to read.
        """
        asked: dict[str, Scalar] = {"filter": filter, "limit": limit}
        return self._ask(
            "logs",
            self._fetch_logs,
            parameters=asked,
            window=self.window,
            text=lambda query, _: self._logs(query, filter),
        )

    def _metric(self, name: str) -> Evidence | Gap:
        return self._ask(name, self._fetch_metric, window=self.window, text=self._query)

    def _query(self, query: Query, window: Window | None) -> str:
        scope = self._setting("scope") if self.endpoint else ""
        return Template(query.text).substitute(scope=scope or "*")

    def _logs(self, query: Query, wanted: str) -> str:
        service = str(self.workload.get("selector", {}).get("service", ""))
        return query.text.format(service=service, filter=wanted).strip()

    def _open(self) -> Http:
        keys: dict[str, str | Secret] = {}
        for header, name in (("DD-API-KEY", "api_key"), ("DD-APPLICATION-KEY", "application_key")):
            key = self._secret(name)
            if key is None:
                raise SourceDeniedError(f"datadog.{name} is not set in the catalogue", source=self.source)
            keys[header] = key
        return self._http_to(self._setting("url"), keys)

    def _fetch_metric(self, question: Question) -> Answer:
        window = question.window or self.window
        start, end = int(window.start.timestamp()), int(window.end.timestamp())
        params: dict[str, str | int | float] = {"from": start, "to": end, "query": question.text}
        found = self._http.get("/api/v1/query", params, explain=_explain).json()
        if found.get("status") == "error" or found.get("error"):
            raise SourceAnswerError(f"refused the query: {found.get('error', '')}"[:300], source=self.source)
        series = tuple(self._series(one, question.query.unit) for one in found["series"])
        if not series:
            raise SourceEmptyError("no series answers this question in the window", source=self.source)
        return Answer(series)

    def _series(self, one: Any, unit: str) -> Series:
        tags = dict(part.partition(":")[::2] for part in one.get("tag_set") or ())
        # Percent arrive as 0 to 100 and say so in their unit.
        first = (one.get("unit") or [None])[0] or {}
        scale = 0.01 if unit == "ratio" and first.get("name") == "percent" else 1.0
        return Series.of(((at / 1000, value * scale) for at, value in one["pointlist"] if value is not None), tags)

    def _fetch_logs(self, question: Question) -> Answer:
        window = question.window or self.window
        limit = int(question.parameters["limit"] or _PAGE)
        rows: list[tuple[Scalar, ...]] = []
        cursor: str | None = None
        while len(rows) < limit:
            page = {"limit": min(_PAGE, limit - len(rows)), **({"cursor": cursor} if cursor else {})}
            body = {
                "filter": {"query": question.text, "from": rfc3339(window.start), "to": rfc3339(window.end)},
                "sort": "-timestamp",
                "page": page,
            }
            found = self._http.search("/api/v2/logs/events/search", body, explain=_explain).json()
            rows += [self._line(one["attributes"]) for one in found["data"]]
            cursor = ((found.get("meta") or {}).get("page") or {}).get("after")
            if not cursor or not found["data"]:
                break
        return Answer(Table(LOG_COLUMNS, tuple(rows)))

    def _line(self, one: Any) -> tuple[Scalar, ...]:
        at = one.get("timestamp")
        message = self._redactor.text(" ".join(str(one.get("message", "")).split()))[:_MESSAGE_CHARACTERS]
        moment = parse_rfc3339(at).timestamp() if at else None
        return (moment, str(one.get("status", "")), str(one.get("host", "")), str(one.get("service", "")), message)


def _explain(reply: Reply) -> SourceError | None:
    """Datadog answers 403 for a wrong key with ``{"errors": ["Forbidden"]}`` and 400 for a query it cannot read."""
    if reply.status in {401, 403}:
        return SourceDeniedError(
            f"answered {reply.status}; check api_key, application_key and the site in url", source=reply.source
        )
    return None
