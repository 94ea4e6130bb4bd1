"""Grafana: the service's dashboard and what people marked on it."""

from __future__ import annotations

from typing import Any

from runbook_lib.clients._http import Http, bearer
from runbook_lib.clients._tape import Answer, Question
from runbook_lib.clients._vendor import VendorClient
from runbook_lib.errors import SourceAnswerError
from runbook_lib.model import Evidence, Gap, Table
from runbook_lib.model.times import parse_rfc3339

ANNOTATION_COLUMNS = ("at", "ends_at", "text", "tags", "author")


class GrafanaClient(VendorClient):
    """Questions to Grafana. Settings of the endpoint: ``url``, ``token``, ``dashboard`` (uid)."""

    source = "grafana"

    def dashboard(self) -> Evidence | Gap:
        """Document ``{uid, title, url, updated_at, version, tags, panels}`` of the catalogue's dashboard."""
        return self._ask("dashboard", self._fetch_dashboard)

    def annotations(self) -> Evidence | Gap:
        """Table ``at, ends_at, text, tags, author`` of the window; times in epoch seconds, tags joined by commas."""
        return self._ask("annotations", self._fetch_annotations, window=self.window)

    def server(self) -> Evidence | Gap:
        """Document ``{version, database}``."""
        return self._ask("server", self._fetch_server)

    def _open(self) -> Http:
        return self._http_to(self._setting("url"), bearer(self._secret("token")))

    @property
    def _uid(self) -> str:
        uid = self._setting("dashboard")
        if not uid:
            raise SourceAnswerError("grafana.dashboard is not set in the catalogue", source=self.source)
        return uid

    def _fetch_dashboard(self, question: Question) -> Answer:
        from urllib.parse import quote

        found = self._http.get(f"/api/dashboards/uid/{quote(self._uid, safe='')}").json()
        board, meta = found["dashboard"], found.get("meta", {})
        updated = meta.get("updated")
        return Answer(
            {
                "uid": board["uid"],
                "title": board.get("title", ""),
                "url": meta.get("url", ""),
                "updated_at": parse_rfc3339(updated).timestamp() if updated else None,
                "version": board.get("version"),
                "tags": list(board.get("tags") or ()),
                "panels": [_panel(one) for one in _panels(board.get("panels") or ())],
            }
        )

    def _fetch_annotations(self, question: Question) -> Answer:
        window = question.window or self.window
        start, end = (round(moment.timestamp() * 1000) for moment in (window.start, window.end))
        params: dict[str, str | int | float] = {"from": start, "to": end, "limit": 500, "dashboardUID": self._uid}
        rows = [
            (
                float(one["time"]) / 1000,
                one["timeEnd"] / 1000 if one.get("timeEnd") else None,
                self._redactor.text(" ".join(str(one.get("text", "")).split()))[:300],
                ",".join(one.get("tags") or ()),
                str(one.get("login") or ""),
            )
            for one in sorted(self._http.get("/api/annotations", params).json(), key=lambda one: float(one["time"]))
        ]
        return Answer(Table(ANNOTATION_COLUMNS, tuple(rows)))

    def _fetch_server(self, question: Question) -> Answer:
        found = self._http.get("/api/health").json()
        return Answer({key: str(found.get(key, "")) for key in ("version", "database")})


def _panels(panels: Any) -> list[Any]:
    """All panels, with those inside of collapsed rows."""
    found = []
    for one in panels:
        found += _panels(one.get("panels") or ()) if one.get("type") == "row" else [one]
    return found


def _panel(panel: Any) -> dict[str, Any]:
    queries = [one.get("expr") or one.get("query") or "" for one in panel.get("targets") or ()]
    return {
        "title": panel.get("title", ""),
        "type": panel.get("type", ""),
        "queries": [text for text in queries if isinstance(text, str) and text],
    }
