"""A real Prometheus in place of the store: the same configuration file, the same port, the same API.

Prometheus reads targets from a file that this launcher keeps current, because the lab's pods have addresses that only
an annotation tells.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from runbook_lib.lab.metrics.config import AlertRule, Config, load_config
from runbook_lib.lab.metrics.discovery import PodWatcher, static_targets
from runbook_lib.lab.metrics.errors import ConfigError
from runbook_lib.lab.metrics.scrape import Target
from runbook_lib.lab.process import Process

_READY_SECONDS = 30.0
_POLL_SECONDS = 0.5
_REQUEST_SECONDS = 5.0


def find_prometheus() -> Path | None:
    """The ``prometheus`` on PATH, or None."""
    found = shutil.which("prometheus")
    return Path(found) if found else None


def run(binary: Path, config_path: Path, port: int, data: Path | None, stopped: threading.Event) -> int:
    """Run Prometheus until ``stopped`` is set.

    Args:
        binary: the program.
        config_path: the store's configuration file; changes to it are picked up.
        port: loopback port.
        data: folder for configuration, targets and samples; beside the configuration file when None.
        stopped: ends it.

    Returns:
        0 when it was told to stop, 1 when Prometheus ended by itself.

    Raises:
        LabError: it could not be started, or the configuration is wrong.
    """
    folder = (data or config_path.parent / "prometheus").absolute()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    changed_at = config_path.stat().st_mtime_ns
    files = _Files(load_config(config_path), folder)
    process = Process.start(
        "prometheus",
        arguments(binary, files.config, port, folder),
        log_path=folder / "prometheus.log",
        die_with_parent=True,
    )
    watcher = PodWatcher(files.config.kubernetes, files.set_pods) if files.config.kubernetes else None
    try:
        if watcher is not None:
            watcher.start()
        process.wait_until(lambda: _is_ready(port), _READY_SECONDS)
        while not stopped.wait(_POLL_SECONDS):
            if not process.alive:
                return 1
            changed_at = _follow(config_path, changed_at, files, port)
        return 0
    finally:
        if watcher is not None:
            watcher.stop()
        process.stop()


def _follow(config_path: Path, changed_at: int, files: _Files, port: int) -> int:
    """Take over a changed configuration; returns the time of the change that was taken over last."""
    # The file may be missing or half written for a moment, and Prometheus busy: then the next round tries again.
    with contextlib.suppress(OSError, ConfigError):
        now = config_path.stat().st_mtime_ns
        if now != changed_at:
            files.set_config(load_config(config_path), lambda: _reload(port))
            return now
    return changed_at


def _reload(port: int) -> None:
    if _request(port, "POST", "/-/reload") != 200:
        raise ConnectionError("Prometheus did not read its configuration again")


class _Files:
    """What Prometheus reads: its configuration, the rules, and the targets, which change by themselves."""

    def __init__(self, config: Config, folder: Path) -> None:
        self.folder, self._pods = folder, list[Target]()
        self._lock = threading.Lock()
        self.set_config(config)

    def set_config(self, config: Config, reload: Callable[[], object] = lambda: None) -> None:
        """Write everything; ``reload`` makes Prometheus read its configuration again."""
        with self._lock:
            self.config = config
            write_files(config, self.folder)
            # Targets last: Prometheus forgets a change of this file that comes just before it reloads.
            reload()
            write_targets(static_targets(config) + self._pods, self.folder)

    def set_pods(self, pods: list[Target]) -> None:
        """Write the targets; Prometheus sees the file change."""
        with self._lock:
            self._pods = pods
            write_targets(static_targets(self.config) + pods, self.folder)


def arguments(binary: Path, config: Config, port: int, folder: Path) -> list[str]:
    """The command line; accepted by the 2.x and the 3.x line alike."""
    return [
        str(binary),
        f"--config.file={folder / 'prometheus.json'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--storage.tsdb.retention.time={_duration(config.retention_seconds)}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--web.enable-remote-write-receiver",
        "--web.enable-lifecycle",
        "--log.level=warn",
    ]


def write_files(config: Config, folder: Path) -> None:
    """Write Prometheus's configuration and rules; JSON is also YAML, which it reads."""
    interval = _duration(config.scrape_interval_seconds)
    content: dict[str, Any] = {
        "global": {"scrape_interval": interval, "scrape_timeout": interval, "evaluation_interval": interval},
        "storage": {"tsdb": {"out_of_order_time_window": _duration(config.retention_seconds)}},
        "rule_files": [str(folder / "rules.json")],
        # All targets come from the file: only then does Prometheus end the series of a target that is taken away.
        "scrape_configs": [
            {
                "job_name": "lab",
                "file_sd_configs": [{"files": [str(folder / "targets.json")], "refresh_interval": "1s"}],
            }
        ],
    }
    if config.alertmanager_url:
        address = urlsplit(config.alertmanager_url)
        content["alerting"] = {
            "alertmanagers": [
                {
                    "scheme": address.scheme,
                    "path_prefix": address.path.rstrip("/") or "/",
                    "static_configs": [{"targets": [address.netloc]}],
                }
            ]
        }
    rules = {"groups": [{"name": "lab", "rules": [_rule(rule) for rule in config.rules]}]}
    _write(folder / "rules.json", rules)
    _write(folder / "prometheus.json", content)


def write_targets(targets: list[Target], folder: Path) -> None:
    """Write the file from which Prometheus reads its targets."""
    groups = []
    for target in targets:
        parts = urlsplit(target.url)
        own = {"__scheme__": parts.scheme, "__metrics_path__": parts.path or "/"}
        own |= {f"__param_{name}": values[0] for name, values in parse_qs(parts.query).items()}
        groups.append({"targets": [parts.netloc], "labels": dict(target.labels) | own})
    _write(folder / "targets.json", groups)


def _rule(rule: AlertRule) -> dict[str, Any]:
    return {
        "alert": rule.alert,
        "expr": rule.expr,
        "for": _duration(rule.for_seconds),
        "labels": dict(rule.labels or {}),
        "annotations": dict(rule.annotations or {}),
    }


def _duration(seconds: float) -> str:
    return f"{round(seconds * 1000)}ms"


def _write(path: Path, content: Any) -> None:
    """Replace a file whole: Prometheus may read it at any moment."""
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps(content, indent=1), encoding="utf-8")
    temporary.replace(path)


def _is_ready(port: int) -> bool:
    return _request(port, "GET", "/-/ready") == 200


def _request(port: int, method: str, path: str) -> int:
    """The status of a request; 0 when there is no answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_REQUEST_SECONDS)
    try:
        connection.request(method, path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()
