"""PagerDuty: events that open and close incidents (Events API v2), notes on them, and who is on call."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

from runbook_lib.clients._http import Http
from runbook_lib.clients._tape import Answer, Question
from runbook_lib.clients._vendor import VendorClient
from runbook_lib.errors import ActionRejectedError, SourceDeniedError
from runbook_lib.model import Evidence, Gap, Table
from runbook_lib.model.times import parse_rfc3339
from runbook_lib.secrets import Secret

Severity = Literal["critical", "error", "warning", "info"]
_URL = "https://api.pagerduty.com"
_VERSION = "application/vnd.pagerduty+json;version=2"
#: PagerDuty's own limit of an event's summary, characters.
_SUMMARY_CHARACTERS = 1024


class PagerDutyClient(VendorClient):
    """Settings of the endpoint: ``routing_key`` (events), ``token`` (incidents, notes, on call), ``url`` (REST API;
    events go to the same address with ``events.`` in the place of ``api.``)."""

    source = "pagerduty"

    def incident(self, dedup_key: str) -> Evidence | Gap:
        """Document ``{found, id, number, title, status, urgency, url, created_at}`` of the newest one with the key."""
        return self._ask("incident", self._fetch_incident, parameters={"dedup_key": dedup_key})

    def on_call(self) -> Evidence | Gap:
        """Table ``policy, level, user, until`` of who is on call now."""
        return self._ask("on_call", self._fetch_on_call)

    def trigger(
        self,
        summary: str,
        *,
        dedup_key: str,
        component: str,
        severity: Severity = "critical",
        details: Mapping[str, Any] | None = None,
        links: Mapping[str, str] | None = None,
    ) -> dict[str, str]:
        """Open the incident of this key, or add to it when it is open; so a repeat is harmless.

        Args:
            summary: its title.
            dedup_key: names the incident.
            component: what is affected, such as the service.
            severity: how bad it is.
            details: shown with it.
            links: text to address.

        Returns:
            ``{dedup_key}``.

        Raises:
            ActionRejectedError: PagerDuty said no, or nothing was sent.
            OutcomeUnknownError: it may have been opened; ``incident(dedup_key)`` tells.
        """
        payload = {
            "summary": summary[:_SUMMARY_CHARACTERS],
            "source": component,
            "severity": severity,
            **({"custom_details": dict(details)} if details else {}),
        }
        more = {"links": [{"href": href, "text": text} for text, href in (links or {}).items()]}
        return self._event("trigger", dedup_key, {"payload": payload, **more})

    def acknowledge(self, *, dedup_key: str) -> dict[str, str]:
        """Acknowledge the incident of this key; raises as ``trigger``."""
        return self._event("acknowledge", dedup_key, {})

    def resolve(self, *, dedup_key: str) -> dict[str, str]:
        """Resolve the incident of this key; raises as ``trigger``."""
        return self._event("resolve", dedup_key, {})

    def note(self, incident_id: str, content: str, *, sender: str) -> dict[str, str]:
        """Write a note on an incident; one request.

        Args:
            incident_id: PagerDuty's id of it.
            content: the note.
            sender: e-mail address of the PagerDuty user who writes it.

        Returns:
            ``{id}`` of the note.

        Raises:
            ActionRejectedError: PagerDuty said no, or nothing was sent.
            OutcomeUnknownError: it may have been written.
        """
        if not re.fullmatch(r"[A-Za-z0-9]+", incident_id):
            raise ActionRejectedError(f"{incident_id!r} is no id of an incident; nothing was sent")
        with self._writing():
            path, what = f"/incidents/{incident_id}/notes", f"the note on {incident_id}"
            reply = self._http.send("POST", path, {"note": {"content": content}}, headers={"From": sender}, what=what)
            return {"id": str(self._answer_to(reply, what, needs="note")["note"]["id"])}

    def _event(self, action: str, dedup_key: str, more: Mapping[str, Any]) -> dict[str, str]:
        with self._writing():
            key = self._secret("routing_key")
            if key is None:
                raise ActionRejectedError("pagerduty.routing_key is not set in the catalogue; nothing was sent")
            body = {"routing_key": key.reveal(), "event_action": action, "dedup_key": dedup_key, **more}
            url, what = re.sub(r"(?<=://)api\.", "events.", self._setting("url", _URL)), f"event {action}"
            reply = self._post_once(url, "/v2/enqueue", body, what=what)
            return {"dedup_key": str(self._answer_to(reply, what, needs="dedup_key")["dedup_key"])}

    def _open(self) -> Http:
        token = self._secret("token")
        if token is None:
            raise SourceDeniedError("pagerduty.token is not set in the catalogue", source=self.source)
        headers: dict[str, str | Secret] = {"Authorization": Secret(f"Token token={token.reveal()}")}
        return self._http_to(self._setting("url", _URL), {**headers, "Accept": _VERSION})

    def _fetch_incident(self, question: Question) -> Answer:
        asked: dict[str, str | int | float] = {"incident_key": str(question.parameters["dedup_key"]), "limit": 100}
        found = sorted(self._http.get("/incidents", asked).json()["incidents"], key=lambda one: one["created_at"])
        if not found:
            return Answer({"found": False})
        newest = found[-1]
        return Answer(
            {
                "found": True,
                "id": newest["id"],
                "number": newest.get("incident_number"),
                "title": self._redactor.text(str(newest.get("title", ""))),
                "status": newest["status"],
                "urgency": newest.get("urgency", ""),
                "url": newest.get("html_url", ""),
                "created_at": parse_rfc3339(newest["created_at"]).timestamp(),
            }
        )

    def _fetch_on_call(self, question: Question) -> Answer:
        rows = [
            (
                str(one["escalation_policy"].get("summary", "")),
                int(one["escalation_level"]),
                str(one["user"].get("summary", "")),
                parse_rfc3339(one["end"]).timestamp() if one.get("end") else None,
            )
            for one in self._http.get("/oncalls", {"limit": 100}).json()["oncalls"]
        ]
        return Answer(Table(("policy", "level", "user", "until"), tuple(sorted(rows, key=lambda row: row[:3]))))
