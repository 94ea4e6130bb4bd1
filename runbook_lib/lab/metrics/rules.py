"""Alert rules: pending, firing, resolved; kept as series and told to an Alertmanager."""

from __future__ import annotations

import datetime as dt
import http.client
import json
import re
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from runbook_lib.lab.metrics import labels as label_sets
from runbook_lib.lab.metrics.config import AlertRule
from runbook_lib.lab.metrics.errors import ConfigError, QueryError, StoreError
from runbook_lib.lab.metrics.labels import METRIC_NAME, Labels
from runbook_lib.lab.metrics.promql.evaluator import Evaluation, Options
from runbook_lib.lab.metrics.promql.floats import STALE, format_float, format_sample
from runbook_lib.lab.metrics.promql.nodes import Node, kind
from runbook_lib.lab.metrics.promql.parse import parse
from runbook_lib.lab.metrics.promql.series import Grid
from runbook_lib.lab.metrics.store import Store

_PLACEHOLDER = re.compile(r"\{\{\s*(?:\$labels\.([A-Za-z_][A-Za-z0-9_]*)|(\$value))\s*\}\}")
_SEND_SECONDS = 2.0


@dataclass(slots=True)
class Alert:
    """One series of a rule's answer.

    Attributes:
        active_since: seconds since the epoch.
        firing: False while the rule's ``for`` has not passed.
    """

    labels: Labels
    annotations: dict[str, str]
    active_since: float
    value: float
    firing: bool = False

    def as_json(self) -> dict[str, Any]:
        """The alert as ``/api/v1/alerts`` shows it."""
        return {
            "labels": dict(self.labels),
            "annotations": self.annotations,
            "state": "firing" if self.firing else "pending",
            "activeAt": rfc3339(self.active_since),
            "value": format_sample(self.value),
        }


@dataclass(slots=True)
class _State:
    rule: AlertRule
    node: Node
    alerts: dict[Labels, Alert] = field(default_factory=dict)
    error: str = ""
    evaluated_at: float = 0.0
    duration_seconds: float = 0.0


class RuleEvaluator:
    """Evaluates alert rules at an interval and writes ``ALERTS`` and ``ALERTS_FOR_STATE``.

    Args:
        store: read and written.
        rules: see `AlertRule`.
        options: how queries are evaluated.
        interval_seconds: between two evaluations.
        alertmanager_url: gets firing and resolved alerts; empty for none.

    Raises:
        ConfigError: a rule's query or template is not one the store can evaluate.
    """

    def __init__(
        self,
        store: Store,
        rules: Sequence[AlertRule],
        options: Options,
        interval_seconds: float,
        alertmanager_url: str = "",
    ) -> None:
        self.store, self.options, self.interval_seconds = store, options, interval_seconds
        self.alertmanager_url = alertmanager_url
        self._lock = threading.Lock()
        self._states = [_State(rule, _checked(rule)) for rule in rules]
        self._written: set[Labels] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="alert rules", daemon=True)

    def start(self) -> None:
        """Begin in a thread of its own."""
        if self._states:
            self._thread.start()

    def stop(self) -> None:
        """End after the evaluation in flight."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(self.interval_seconds + _SEND_SECONDS)

    def _run(self) -> None:
        while not self._stop.wait(self.interval_seconds):
            self.evaluate(time.time())

    def evaluate(self, now: float) -> None:
        """Evaluate all rules once; ``now`` is in seconds since the epoch."""
        resolved: list[Alert] = []
        for state in self._states:
            resolved += self._evaluate_rule(state, now)
        self._write(round(now * 1000))
        if self.alertmanager_url:
            firing = [alert for state in self._states for alert in state.alerts.values() if alert.firing]
            self._send(firing, resolved, now)

    def _evaluate_rule(self, state: _State, now: float) -> list[Alert]:
        begun, now_ms = time.perf_counter(), round(now * 1000)
        try:
            found = Evaluation(self.store, Grid(now_ms, now_ms, 1), self.options).result(state.node)
        except StoreError as failure:
            # A rule that cannot be evaluated says nothing: its alerts stay as they are.
            state.error, state.evaluated_at = str(failure), now
            return []
        active: dict[Labels, Alert] = {}
        for series in found:
            value = series.values[0]
            if value is None:
                continue
            alert = _alert(state.rule, series.labels, value, now)
            known = state.alerts.get(alert.labels)
            if known is not None:
                alert.active_since, alert.firing = known.active_since, known.firing
            alert.firing = alert.firing or now - alert.active_since >= state.rule.for_seconds
            active[alert.labels] = alert
        resolved = [alert for labels, alert in state.alerts.items() if labels not in active and alert.firing]
        with self._lock:
            state.alerts, state.error, state.evaluated_at = active, "", now
            state.duration_seconds = time.perf_counter() - begun
        return resolved

    def _write(self, now_ms: int) -> None:
        samples: dict[Labels, float] = {}
        for state in self._states:
            for alert in state.alerts.values():
                phase = "firing" if alert.firing else "pending"
                base = dict(alert.labels)
                samples[label_sets.make_labels({**base, METRIC_NAME: "ALERTS", "alertstate": phase})] = 1.0
                for_state = label_sets.make_labels({**base, METRIC_NAME: "ALERTS_FOR_STATE"})
                samples[for_state] = float(int(alert.active_since))
        ended = dict.fromkeys(self._written - set(samples), STALE)
        self._written = set(samples)
        self.store.append([(self.store.series(labels), value) for labels, value in (ended | samples).items()], now_ms)

    def _send(self, firing: Sequence[Alert], resolved: Sequence[Alert], now: float) -> None:
        # An Alertmanager resolves by itself what is not repeated within four intervals, as with a real server.
        ends = [(alert, now + 4 * self.interval_seconds) for alert in firing] + [(alert, now) for alert in resolved]
        if not ends:
            return
        body = [
            {
                "labels": dict(alert.labels),
                "annotations": alert.annotations,
                "startsAt": rfc3339(alert.active_since),
                "endsAt": rfc3339(end),
            }
            for alert, end in ends
        ]
        parts = urlsplit(self.alertmanager_url)
        connection = http.client.HTTPConnection(parts.netloc, timeout=_SEND_SECONDS)
        try:
            path = parts.path.rstrip("/") + "/api/v2/alerts"
            connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
            connection.getresponse().read()
        except (OSError, http.client.HTTPException):
            return  # told again at the next evaluation, as long as the alert is active
        finally:
            connection.close()

    def alerts(self) -> list[dict[str, Any]]:
        """All active alerts, as ``/api/v1/alerts`` shows them."""
        with self._lock:
            return [alert.as_json() for state in self._states for alert in state.alerts.values()]

    def groups(self) -> list[dict[str, Any]]:
        """All rules in one group, as ``/api/v1/rules`` shows them."""
        with self._lock:
            rules = [_rule_json(state) for state in self._states]
        if not rules:
            return []
        evaluated = max(state.evaluated_at for state in self._states)
        return [
            {
                "name": "lab",
                "file": "lab",
                "rules": rules,
                "interval": self.interval_seconds,
                "limit": 0,
                "evaluationTime": sum(state.duration_seconds for state in self._states),
                "lastEvaluation": rfc3339(evaluated),
            }
        ]


def _rule_json(state: _State) -> dict[str, Any]:
    alerts = [alert.as_json() for alert in state.alerts.values()]
    phases = {alert["state"] for alert in alerts}
    phase = "firing" if "firing" in phases else "pending" if "pending" in phases else "inactive"
    health = "err" if state.error else "ok" if state.evaluated_at else "unknown"
    return {
        "state": phase,
        "name": state.rule.alert,
        "query": state.rule.expr,
        "duration": state.rule.for_seconds,
        "keepFiringFor": 0,
        "labels": dict(state.rule.labels or {}),
        "annotations": dict(state.rule.annotations or {}),
        "alerts": alerts,
        "health": health,
        "evaluationTime": state.duration_seconds,
        "lastEvaluation": rfc3339(state.evaluated_at),
        "type": "alerting",
        **({"lastError": state.error} if state.error else {}),
    }


def _checked(rule: AlertRule) -> Node:
    try:
        node = parse(rule.expr)
    except QueryError as error:
        raise ConfigError(f"alert {rule.alert}: {error}") from error
    if kind(node) != "vector":
        raise ConfigError(f"alert {rule.alert}: expr must be an instant vector, is a {kind(node)}")
    for name, template in {**(rule.labels or {}), **(rule.annotations or {})}.items():
        if "{{" in _PLACEHOLDER.sub("", template):
            raise ConfigError(
                f"alert {rule.alert}: {name}: only {{{{ $labels.name }}}} and {{{{ $value }}}} are filled in"
            )
    return node


def _alert(rule: AlertRule, labels: Labels, value: float, now: float) -> Alert:
    own = label_sets.drop_name(labels)

    def fill(template: str) -> str:
        return _PLACEHOLDER.sub(
            lambda found: format_float(value) if found.group(2) else label_sets.get(own, found.group(1)), template
        )

    extra: Mapping[str, str] = {name: fill(template) for name, template in (rule.labels or {}).items()}
    annotations = {name: fill(template) for name, template in (rule.annotations or {}).items()}
    alert_labels = label_sets.make_labels({**dict(own), **extra, "alertname": rule.alert})
    return Alert(alert_labels, annotations, active_since=now, value=value)


def rfc3339(seconds: float) -> str:
    """A time as the HTTP API writes it; the year 1 stands for never."""
    if not seconds:
        return "0001-01-01T00:00:00Z"
    moment = dt.datetime.fromtimestamp(seconds, tz=dt.UTC)
    return moment.isoformat().replace("+00:00", "Z")
