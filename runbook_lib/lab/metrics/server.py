"""The store as an HTTP server: scraper, rules and API of one configuration."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from runbook_lib.lab.metrics import remote_write
from runbook_lib.lab.metrics.api import Answer, Api, Parameters
from runbook_lib.lab.metrics.config import Config, load_config
from runbook_lib.lab.metrics.discovery import PodWatcher, static_targets
from runbook_lib.lab.metrics.errors import ConfigError, QueryError, StoreError
from runbook_lib.lab.metrics.promql.evaluator import Options
from runbook_lib.lab.metrics.rules import RuleEvaluator, rfc3339
from runbook_lib.lab.metrics.scrape import Scraper, Target, TargetHealth
from runbook_lib.lab.metrics.store import Store

# What the answers follow: the series 3 line. The suffix tells a client that no real server answers.
VERSION = "3.0.0+embedded"
_MAX_BODY_BYTES = 64 * 1024 * 1024
_HOUSEKEEPING_SECONDS = 1.0
_LABEL_VALUES = "/api/v1/label/"


class MetricsServer:
    """The embedded metrics store.

    Args:
        config_path: the configuration file; changes to it are picked up.
        port: loopback port to listen on; 0 for any free one.

    Raises:
        ConfigError: see `load_config`.
        OSError: the port is taken.
    """

    def __init__(self, config_path: Path, port: int = 0) -> None:
        self.config_path = config_path
        self.config = load_config(config_path)
        self._changed_at = config_path.stat().st_mtime_ns
        self.store = Store(self.config.retention_seconds)
        self.started_at = time.time()
        self.scraper = Scraper(self.store, self.config.scrape_interval_seconds)
        self._pods: list[Target] = []
        self._watcher: PodWatcher | None = None
        self.rules, self.api = self._build(self.config)
        self._stop = threading.Event()
        self._http = _Http(("127.0.0.1", port), _Handler)
        self._http.metrics = self
        self.port: int = self._http.server_address[1]

    def _build(self, config: Config) -> tuple[RuleEvaluator, Api]:
        interval = config.scrape_interval_seconds
        options = Options(default_step_ms=round(interval * 1000))
        rules = RuleEvaluator(self.store, config.rules, options, interval, config.alertmanager_url)
        return rules, Api(self.store, options)

    def start(self) -> None:
        """Scrape, evaluate rules and answer requests, in threads."""
        self._apply()
        threading.Thread(target=self._keep, name="housekeeping", daemon=True).start()
        threading.Thread(target=self._http.serve_forever, name="http", daemon=True).start()

    def stop(self) -> None:
        """End everything; waits for scrapes in flight."""
        self._stop.set()
        self._http.shutdown()
        self._http.server_close()
        self.rules.stop()
        if self._watcher is not None:
            self._watcher.stop()
        self.scraper.stop()

    def _apply(self) -> None:
        self.rules.start()
        if self.config.kubernetes is not None:
            self._watcher = PodWatcher(self.config.kubernetes, self._set_pods)
            self._watcher.start()
        self._set_pods(self._pods)

    def _set_pods(self, pods: list[Target]) -> None:
        self._pods = pods
        self.scraper.set_targets(static_targets(self.config) + pods)

    def reload(self) -> None:
        """Read the configuration again; a wrong one changes nothing.

        Raises:
            ConfigError: see `load_config`.
        """
        config = load_config(self.config_path)
        rules, api = self._build(config)
        self.rules.stop()
        if self._watcher is not None:
            self._watcher.stop()
            self._watcher = None
        if config.scrape_interval_seconds != self.config.scrape_interval_seconds:
            self.scraper.stop(ends_series=False)
            self.scraper = Scraper(self.store, config.scrape_interval_seconds)
        self.config, self.rules, self.api = config, rules, api
        self.store.retention_seconds = config.retention_seconds
        if config.kubernetes is None:
            self._pods = []
        self._apply()

    def _keep(self) -> None:
        while not self._stop.wait(_HOUSEKEEPING_SECONDS):
            self.store.forget_before(round((time.time() - self.store.retention_seconds) * 1000))
            # The file may be missing or half written for a moment; the next round sees the finished one.
            with contextlib.suppress(OSError, ConfigError):
                changed_at = self.config_path.stat().st_mtime_ns
                if changed_at != self._changed_at:
                    self._changed_at = changed_at
                    self.reload()

    def answer(self, path: str, parameters: Parameters) -> Answer | None:
        """Answer a read; None when there is no such path.

        Raises:
            StoreError: the request is wrong, or has no answer.
        """
        if path.startswith(_LABEL_VALUES) and path.endswith("/values"):
            return self.api.label_values(unquote(path[len(_LABEL_VALUES) : -len("/values")]), parameters)
        api = self.api
        routes: dict[str, Callable[[Parameters], Answer]] = {
            "/api/v1/query": api.query,
            "/api/v1/query_range": api.query_range,
            "/api/v1/series": api.series,
            "/api/v1/labels": api.labels,
            "/api/v1/metadata": api.metadata,
            "/api/v1/targets": lambda _: Answer(self._targets()),
            "/api/v1/rules": lambda _: Answer({"groups": self.rules.groups()}),
            "/api/v1/alerts": lambda _: Answer({"alerts": self.rules.alerts()}),
            "/api/v1/status/buildinfo": lambda _: Answer(_build_info()),
            "/api/v1/status/config": lambda _: Answer({"yaml": self.config_path.read_text(encoding="utf-8")}),
            "/api/v1/status/runtimeinfo": lambda _: Answer(self._runtime()),
        }
        return routes[path](parameters) if path in routes else None

    def write(self, body: bytes) -> None:
        """Take a remote write request.

        Raises:
            QueryError: see `remote_write.decode`.
        """
        for samples in remote_write.decode(body):
            self.store.insert(samples.labels, zip(samples.times_ms, samples.values, strict=True))

    def _targets(self) -> dict[str, Any]:
        interval = f"{self.config.scrape_interval_seconds:g}s"
        return {
            "activeTargets": [_target_json(target, health, interval) for target, health in self.scraper.targets()],
            "droppedTargets": [],
            "droppedTargetCounts": {},
        }

    def _runtime(self) -> dict[str, Any]:
        series, samples = self.store.counts()
        return {
            "startTime": rfc3339(self.started_at),
            "storageRetention": f"{self.config.retention_seconds:g}s",
            "timeSeriesCount": series,
            "sampleCount": samples,
            "discoveryError": self._watcher.error if self._watcher else "",
        }


def _build_info() -> dict[str, str]:
    return {
        "version": VERSION,
        "revision": "",
        "branch": "embedded metrics store of the lab: a subset of PromQL, nothing outside it is answered",
        "buildUser": "",
        "buildDate": "",
        "goVersion": "",
    }


def _target_json(target: Target, health: TargetHealth, interval: str) -> dict[str, Any]:
    labels = dict(target.labels)
    return {
        "discoveredLabels": dict(target.discovered),
        "labels": labels,
        "scrapePool": labels.get("job", ""),
        "scrapeUrl": target.url,
        "globalUrl": target.url,
        "lastError": health.error,
        "lastScrape": rfc3339(health.last_scrape_seconds),
        "lastScrapeDuration": health.duration_seconds,
        "health": health.health,
        "scrapeInterval": interval,
        "scrapeTimeout": interval,
    }


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64
    metrics: MetricsServer


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Http
    # Header and body leave in one packet: two would wait for the client's delayed acknowledgement.
    wbufsize = -1
    disable_nagle_algorithm = True
    timeout = 60

    def do_GET(self) -> None:
        """Answer a read."""
        self._read(urlsplit(self.path).query)

    def do_POST(self) -> None:
        """Answer a read with its parameters in the body, or take a write."""
        body = self._body()
        path = urlsplit(self.path).path
        if body is None:
            return
        if path == "/-/reload":
            self._guarded(self.server.metrics.reload)
        elif path != "/api/v1/write":
            self._read(urlsplit(self.path).query + "&" + body.decode("utf-8", "replace"))
        elif "proto=io.prometheus.write.v2" in self.headers.get("Content-Type", ""):
            self._plain(415, "only remote write 1.0 is accepted\n")
        else:
            self._guarded(lambda: self.server.metrics.write(body), success=204)

    def _body(self) -> bytes | None:
        try:
            length = int(self.headers.get("Content-Length", "0"))
        except ValueError:
            length = -1
        if 0 <= length <= _MAX_BODY_BYTES:
            return self.rfile.read(length)
        self.close_connection = True
        self._plain(413, "the body needs a Content-Length of at most 64 MiB\n")
        return None

    def _guarded(self, action: Callable[[], None], success: int = 200) -> None:
        try:
            action()
        except QueryError as error:
            self._plain(error.status, f"{error}\n")
        except ConfigError as error:
            self._plain(500, f"failed to reload config: {error}\n")
        else:
            self._plain(success, "")

    def _read(self, query: str) -> None:
        path = urlsplit(self.path).path
        if path in {"/-/ready", "/-/healthy"}:
            self._plain(200, f"The metrics store is {path[3:].title()}.\n")
            return
        try:
            answer = self.server.metrics.answer(path, parse_qs(query, keep_blank_values=True))
        except StoreError as error:
            self._json(error.status, {"status": "error", "errorType": error.error_type, "error": str(error)})
            return
        if answer is None:
            self._plain(404, "404 page not found\n")
            return
        body: dict[str, Any] = {"status": "success", "data": answer.data}
        if answer.warnings:
            body["warnings"] = list(answer.warnings)
        self._json(200, body)

    def _json(self, status: int, content: Any) -> None:
        self._send(status, "application/json", json.dumps(content, separators=(",", ":")).encode())

    def _plain(self, status: int, text: str) -> None:
        self._send(status, "text/plain; charset=utf-8", text.encode())

    def _send(self, status: int, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
        """Keep the log for errors: a line for each query would fill the lab's folder."""
