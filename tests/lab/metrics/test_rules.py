"""Alert rules."""

from __future__ import annotations

import json
import shutil
import threading
import time
import urllib.request
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from runbook_lib.lab.metrics.config import AlertRule
from runbook_lib.lab.metrics.errors import ConfigError
from runbook_lib.lab.metrics.labels import Matcher, make_labels
from runbook_lib.lab.metrics.promql.evaluator import Options
from runbook_lib.lab.metrics.promql.floats import is_stale
from runbook_lib.lab.metrics.rules import RuleEvaluator
from runbook_lib.lab.metrics.store import Store
from runbook_lib.lab.process import Process, free_port

START = 1_700_000_000.0
RULE = AlertRule(
    alert="HighLatency",
    expr="latency_seconds > 0.2",
    for_seconds=60,
    labels={"severity": "page"},
    annotations={"summary": "{{ $labels.service }} takes {{ $value }} s"},
)


def put(store: Store, seconds: float, value: float) -> None:
    labels = make_labels({"__name__": "latency_seconds", "service": "api"})
    store.insert(labels, [(round(seconds * 1000), value)])


def states(rules: RuleEvaluator) -> list[str]:
    return [alert["state"] for alert in rules.alerts()]


def test_alert_waits_then_fires_then_ends() -> None:
    """Pending until ``for`` has passed, firing while the condition holds, gone when it does not."""
    store = Store()
    rules = RuleEvaluator(store, [RULE], Options(), 2.0)
    seen = []
    for second, value in ((0, 0.1), (10, 0.5), (69, 0.5), (70, 0.5), (80, 0.1)):
        put(store, START + second, value)
        rules.evaluate(START + second)
        seen.append(states(rules))
    assert [[], ["pending"], ["pending"], ["firing"], []] == seen


def test_interruption_starts_the_wait_again() -> None:
    """One good evaluation in between resets a pending alert."""
    store = Store()
    rules = RuleEvaluator(store, [RULE], Options(), 2.0)
    for second, value in ((0, 0.5), (30, 0.1), (40, 0.5), (70, 0.5)):
        put(store, START + second, value)
        rules.evaluate(START + second)
    assert ["pending"] == states(rules)


def test_alert_shows_labels_annotations_and_start() -> None:
    """The API's alert carries the rule's labels and the filled texts."""
    store = Store()
    rules = RuleEvaluator(store, [RULE], Options(), 2.0)
    put(store, START, 0.25)
    rules.evaluate(START)
    assert [
        {
            "labels": {"alertname": "HighLatency", "service": "api", "severity": "page"},
            "annotations": {"summary": "api takes 0.25 s"},
            "state": "pending",
            "activeAt": "2023-11-14T22:13:20Z",
            "value": "0.25",
        }
    ] == rules.alerts()


def test_alerts_are_series_too() -> None:
    """``ALERTS`` is 1 with the state as a label; the old state ends when it changes."""
    store = Store()
    rules = RuleEvaluator(store, [RULE], Options(), 2.0)
    for second in (0, 60):
        put(store, START + second, 0.5)
        rules.evaluate(START + second)
    found = {
        dict(samples.labels)["alertstate"]: list(samples.values)
        for samples in store.read([Matcher("__name__", "=", "ALERTS")], 0, 2**60)
    }
    assert [1.0] == found["firing"]
    assert [1.0, True] == [found["pending"][0], is_stale(found["pending"][1])]
    (since,) = store.read([Matcher("__name__", "=", "ALERTS_FOR_STATE")], 0, 2**60)
    assert [START, START] == list(since.values)


def test_rule_without_an_answer_keeps_its_alerts_and_tells_why() -> None:
    """A query that fails neither fires nor resolves anything."""
    store = Store()
    rule = AlertRule(alert="Pair", expr="latency_seconds * on (service) other")
    rules = RuleEvaluator(store, [rule], Options(), 2.0)
    put(store, START, 0.5)
    for side in ("l", "r"):
        store.insert(make_labels({"__name__": "other", "service": "api", "side": side}), [(round(START * 1000), 1.0)])
    rules.evaluate(START)
    (group,) = rules.groups()
    assert ("err", "inactive") == (group["rules"][0]["health"], group["rules"][0]["state"])
    assert "many-to-many" in group["rules"][0]["lastError"]


@pytest.mark.parametrize(
    ("rule", "word"),
    [
        (AlertRule("A", "rate(x)"), "range"),
        (AlertRule("A", "1 + 1"), "vector"),
        (AlertRule("A", "up == 0", annotations={"text": "{{ printf 1 }}"}), "text"),
    ],
    ids=["query", "scalar", "template"],
)
def test_wrong_rule_names_the_alert(rule: AlertRule, word: str) -> None:
    """A rule that cannot be evaluated is refused when it is loaded."""
    with pytest.raises(ConfigError, match="alert A") as caught:
        RuleEvaluator(Store(), [rule], Options(), 2.0)
    assert word in str(caught.value) or "matrix" in str(caught.value)


def test_alertmanager_is_told_of_firing_and_resolved_alerts() -> None:
    """The second version of its API gets each firing alert with an end in the future, and the end when it is over."""
    received: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append((self.path, json.loads(self.rfile.read(int(self.headers["Content-Length"])))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    store = Store()
    rule = AlertRule("HighLatency", "latency_seconds > 0.2")
    url = f"http://127.0.0.1:{server.server_address[1]}/prefix/"
    rules = RuleEvaluator(store, [rule], Options(), 2.0, url)
    for second, value in ((0, 0.1), (2, 0.5), (4, 0.1)):
        put(store, START + second, value)
        rules.evaluate(START + second)
    server.shutdown()
    server.server_close()
    assert ["/prefix/api/v2/alerts"] * 2 == [path for path, _ in received]
    starts = [(alert["startsAt"], alert["endsAt"]) for _, (alert,) in received]
    assert [
        ("2023-11-14T22:13:22Z", "2023-11-14T22:13:30Z"),
        ("2023-11-14T22:13:22Z", "2023-11-14T22:13:24Z"),
    ] == starts


@pytest.mark.skipif(shutil.which("prometheus-alertmanager") is None, reason="no prometheus-alertmanager on PATH")
def test_real_alertmanager_takes_the_alerts(tmp_path: Path) -> None:
    """The alert arrives with its labels and annotations, and is active there."""
    config, port = tmp_path / "alertmanager.yml", free_port()
    config.write_text("route: {receiver: nobody}\nreceivers: [{name: nobody}]\n")
    process = Process.start(
        "alertmanager",
        [
            str(shutil.which("prometheus-alertmanager")),
            f"--config.file={config}",
            f"--storage.path={tmp_path / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--cluster.listen-address=",
        ],
        log_path=tmp_path / "log",
        die_with_parent=True,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        process.wait_until(lambda: _get(f"{url}/-/ready") is not None, 30)
        store = Store()
        now = time.time()
        put(store, now, 0.5)
        rule = replace(RULE, for_seconds=0.0)
        RuleEvaluator(store, [rule], Options(), 60.0, url).evaluate(now)
        (alert,) = json.loads(_get(f"{url}/api/v2/alerts") or "[]")
    finally:
        process.stop()
    assert {"alertname": "HighLatency", "service": "api", "severity": "page"} == alert["labels"]
    assert {"summary": "api takes 0.5 s"} == alert["annotations"]
    assert "active" == alert["status"]["state"]


def _get(url: str) -> str | None:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return str(response.read().decode())
    except OSError:
        return None
