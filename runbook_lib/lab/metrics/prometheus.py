"""A real Prometheus in place of the store: the same configuration file, the same port, the same API.

Prometheus reads targets from a file that this launcher keeps current, because the lab's pods have addresses that only
an annotation tells.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import shutil
import signal
import threading
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from runbook_lib.lab.metrics.config import AlertRule, Config, StaticTarget, load_config
from runbook_lib.lab.metrics.discovery import PodWatcher
from runbook_lib.lab.metrics.errors import ConfigError
from runbook_lib.lab.metrics.scrape import Target
from runbook_lib.lab.process import Process

_READY_SECONDS = 30.0
_POLL_SECONDS = 0.5


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
    config = load_config(config_path)
    changed_at = config_path.stat().st_mtime_ns
    write_files(config, folder)
    write_pods([], folder)
    process = Process.start(
        "prometheus",
        arguments(binary, config, port, folder),
        log_path=folder / "prometheus.log",
        die_with_parent=True,
    )
    watcher = _watch(config, folder)
    try:
        process.wait_until(lambda: _is_ready(port), _READY_SECONDS)
        while not stopped.wait(_POLL_SECONDS):
            if not process.alive:
                return 1
            with contextlib.suppress(OSError, ConfigError):
                if config_path.stat().st_mtime_ns != changed_at:
                    changed_at = config_path.stat().st_mtime_ns
                    config = load_config(config_path)
                    write_files(config, folder)
                    process.signal(signal.SIGHUP)
        return 0
    finally:
        if watcher is not None:
            watcher.stop()
        process.stop()


def _watch(config: Config, folder: Path) -> PodWatcher | None:
    if config.kubernetes is None:
        return None
    watcher = PodWatcher(config.kubernetes, lambda pods: write_pods(pods, folder))
    watcher.start()
    return watcher


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
        "scrape_configs": [
            *(_scrape_config(index, target) for index, target in enumerate(config.static_targets)),
            {"job_name": "pods", "file_sd_configs": [{"files": [str(folder / "pods.json")], "refresh_interval": "1s"}]},
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


def write_pods(pods: list[Target], folder: Path) -> None:
    """Write the file from which Prometheus reads the pods' targets."""
    groups = [
        {
            "targets": [urlsplit(pod.url).netloc],
            "labels": {**dict(pod.labels), "__metrics_path__": urlsplit(pod.url).path},
        }
        for pod in pods
    ]
    _write(folder / "pods.json", groups)


def _scrape_config(index: int, target: StaticTarget) -> dict[str, Any]:
    parts = urlsplit(target.url)
    return {
        "job_name": f"static-{index}",
        "scheme": parts.scheme,
        "metrics_path": parts.path or "/",
        "params": parse_qs(parts.query),
        "static_configs": [{"targets": [parts.netloc], "labels": dict(target.labels)}],
    }


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
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
    try:
        connection.request("GET", "/-/ready")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
