"""What alerting systems send, as one shape. Every text in it is untrusted: it is shown, never run, never a path."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from runbook_lib.errors import UsageError
from runbook_lib.model.times import parse_rfc3339, rfc3339, utc_now

#: Longest text that is kept of a label or title, characters.
MOST_CHARACTERS = 300
#: Alerts of one notification that are looked at; Alertmanager itself cuts with ``max_alerts``.
MOST_ALERTS = 200
_OPENS = frozenset({"incident.triggered", "incident.reopened"})


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert.

    Args:
        fingerprint: what identifies its labels.
        started: when it began to fire, RFC 3339 in UTC; with the fingerprint it identifies one firing.
        firing: whether it fires now.
    """

    fingerprint: str
    started: str
    firing: bool


@dataclass(frozen=True, slots=True)
class Notification:
    """One delivery of an alerting system.

    Args:
        source: ``alertmanager``, ``grafana`` or ``pagerduty``.
        group: what the sender groups by; several alerts of a group are one incident.
        alerts: at least one.
        name: of the alert, for a person.
        summary: one sentence of the sender.
        labels: common labels.
        runbook: what the sender says should be run; a wish, checked against what is allowed.
        link: where the sender shows it.
        thread: id of the alert's message in Slack; empty when the sender does not say.
    """

    source: str
    group: str
    alerts: tuple[Alert, ...]
    name: str
    summary: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    runbook: str = ""
    link: str = ""
    thread: str = ""

    @property
    def firing(self) -> bool:
        """Whether any of its alerts fires."""
        return any(alert.firing for alert in self.alerts)

    @property
    def started(self) -> str:
        """When the first of its alerts began."""
        return min(alert.started for alert in self.alerts)


def parse(source: str, body: bytes) -> Notification | None:
    """A delivery; None for one that says nothing about an alert, such as a ping.

    Args:
        source: who sent it.
        body: as it came.

    Raises:
        UsageError: it is not what this source sends.
    """
    try:
        value = json.loads(body)
        if not isinstance(value, dict):
            raise UsageError(f"{source}: the body is no JSON object")
        return PARSERS[source](value)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise UsageError(f"{source}: the body has another shape than expected ({type(error).__name__})") from error


def signed(secrets: Iterable[str], body: bytes, header: str) -> bool:
    """Whether one of PagerDuty's signatures fits; several come while a secret is being changed.

    Args:
        secrets: those that are valid now.
        body: as it came, byte for byte.
        header: ``X-PagerDuty-Signature``, such as ``v1=ab12,v1=cd34``.
    """
    given = [part.strip().removeprefix("v1=") for part in header.split(",") if part.strip().startswith("v1=")]
    known = [hmac.new(secret.encode(), body, hashlib.sha256).hexdigest() for secret in secrets if secret]
    return any(hmac.compare_digest(one.encode(), two.encode()) for one in given[:10] for two in known)


def _alertmanager(value: Mapping[str, Any], source: str = "alertmanager") -> Notification:
    """Alertmanager's webhook, version 4, and Grafana's, which is the same with more."""
    if source == "alertmanager" and str(value["version"]) != "4":
        raise UsageError(f"{source}: version {_text(value['version'])} of the webhook is not known; 4 is")
    found = value["alerts"]
    if not isinstance(found, list) or not found:
        raise UsageError(f"{source}: it holds no alert")
    alerts = tuple(_alert(one) for one in found[:MOST_ALERTS])
    labels = {**_texts(found[0].get("labels")), **_texts(value.get("commonLabels"))}
    notes = {**_texts(found[0].get("annotations")), **_texts(value.get("commonAnnotations"))}
    return Notification(
        source=source,
        group=_text(value["groupKey"]) or alerts[0].fingerprint,
        alerts=alerts,
        name=labels.get("alertname", "") or _text(value.get("title")) or "alert",
        summary=notes.get("summary", "") or notes.get("description", ""),
        labels=labels,
        runbook=notes.get("runbook", "") or notes.get("runbook_url", ""),
        link=_text(value.get("externalURL")),
        thread=notes.get("slack_thread", ""),
    )


def _alert(one: Mapping[str, Any]) -> Alert:
    labels = _texts(one.get("labels"))
    known = _text(one.get("fingerprint"))
    written = json.dumps(labels, sort_keys=True).encode()
    return Alert(
        fingerprint=known or hashlib.sha256(written).hexdigest()[:16],
        started=rfc3339(_time(one["startsAt"])),
        firing=str(one["status"]) != "resolved",
    )


def _grafana(value: Mapping[str, Any]) -> Notification:
    return _alertmanager(value, "grafana")


def _pagerduty(value: Mapping[str, Any]) -> Notification | None:
    """PagerDuty's webhook, version 3."""
    event = value["event"]
    kind, data = str(event["event_type"]), event.get("data") or {}
    if kind not in _OPENS and kind != "incident.resolved":
        return None
    created = data.get("created_at") or event["occurred_at"]
    number = _text(data["id"])
    # The incident itself is the alert: an incident that is opened again is the same incident.
    alert = Alert(number, rfc3339(_time(created)), kind in _OPENS)
    service = _text((data.get("service") or {}).get("summary"))
    return Notification(
        source="pagerduty",
        group=number,
        alerts=(alert,),
        name=_text(data.get("title")) or number,
        labels={"service": service} if service else {},
        link=_text(data.get("html_url")),
    )


#: Source to what reads its body.
PARSERS: Mapping[str, Callable[[Mapping[str, Any]], Notification | None]] = {
    "alertmanager": _alertmanager,
    "grafana": _grafana,
    "pagerduty": _pagerduty,
}


def _time(text: Any) -> datetime:
    moment = parse_rfc3339(str(text))
    # A time of year one stands for none at all in Go.
    return moment if moment.year > 1970 else utc_now()


def _texts(value: Any) -> dict[str, str]:
    if not isinstance(value, Mapping):
        return {}
    return {_text(key): _text(one) for key, one in list(value.items())[:100]}


def _text(value: Any) -> str:
    """One printable line of an untrusted value."""
    kept = str(value if value is not None else "")[:MOST_CHARACTERS]
    # Control characters, line ends and marks that turn the direction of writing are none.
    return "".join(one if one.isprintable() else " " for one in kept).strip()
