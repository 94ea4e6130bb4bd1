"""Deliveries in the shapes of their senders."""

from __future__ import annotations

import json
from typing import Any


def alert(name: str, started: str, status: str = "firing", **labels: str) -> dict[str, Any]:
    """One alert as Alertmanager sends it."""
    return {
        "status": status,
        "labels": {"alertname": name, "service": "api", **labels},
        "annotations": {"summary": f"{name} fires", "runbook_url": "https://wiki.example.com/runbooks/high-latency"},
        "startsAt": started,
        "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": "http://prometheus/graph",
        "fingerprint": f"{name}{labels.get('pod', '')}",
    }


def alertmanager(*alerts: dict[str, Any], group: str = "one", **more: Any) -> bytes:
    """A notification of Alertmanager, version 4 of its webhook."""
    firing = any(one["status"] == "firing" for one in alerts)
    return json.dumps(
        {
            "version": "4",
            "groupKey": f'{{}}:{{alertname="{group}"}}',
            "truncatedAlerts": 0,
            "status": "firing" if firing else "resolved",
            "receiver": "runbook",
            "groupLabels": {"alertname": group},
            "commonLabels": {key: value for key, value in alerts[0]["labels"].items() if key != "pod"},
            "commonAnnotations": alerts[0]["annotations"],
            "externalURL": "http://alertmanager",
            "alerts": list(alerts),
            **more,
        }
    ).encode()


def pagerduty(kind: str, number: str = "Q1", occurred: str = "2026-01-01T00:00:00Z") -> bytes:
    """An event of PagerDuty, version 3 of its webhook."""
    data = {
        "id": number,
        "type": "incident",
        "title": "p95 latency > 200 ms",
        "created_at": "2026-01-01T00:00:00Z",
        "html_url": "https://acme.pagerduty.com/incidents/Q1",
        "service": {"id": "P1", "summary": "api", "type": "service_reference"},
    }
    event = {"id": "01", "event_type": kind, "resource_type": "incident", "occurred_at": occurred, "data": data}
    return json.dumps({"event": event}).encode()
