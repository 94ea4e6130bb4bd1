"""How each process of the lab is started: its command line, its configuration file, and when it is ready."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runbook_lib.lab import state as states
from runbook_lib.lab.cluster import write_private
from runbook_lib.lab.process import Process, accepts_connections
from runbook_lib.lab.release import NAMESPACE
from runbook_lib.lab.service.releases import RELEASES

SCRAPE_SECONDS = 2.0
#: While `up` measures what the history is drawn from: four intervals must not take eight seconds.
WARM_UP_SCRAPE_SECONDS = 0.5
READY_SECONDS = 30.0
NODE = "lab-node"
#: Certificate by which the node knows a real API server, in the cluster's folder.
CALLER = "caller.crt"
#: CPU that the sessions of the service's database role share: a small database server.
DATABASE_CORES = 0.4
#: Seconds for which a condition must hold before an alert fires, and the range of its rates.
ALERT_FOR_SECONDS = 60.0
_LATENCY = (
    'histogram_quantile(0.95, sum by (le, service) (rate(http_request_duration_seconds_bucket{service="api"}[1m])))'
)
_ERRORS = (
    'sum by (service) (rate(http_request_duration_seconds_count{service="api",code=~"5.."}[1m]))'
    ' / sum by (service) (rate(http_request_duration_seconds_count{service="api"}[1m]))'
)


#: Children that live on when this process ends. Kept, so that nobody takes a dropped handle for a mistake.
_KEPT: list[Process] = []


def keep(directory: Path, process: Process) -> Process:
    """Write a child down and keep its handle."""
    states.record(directory, process.record)
    _KEPT.append(process)
    return process


def reap() -> None:
    """Take note of children that have ended: an ended child stays in the process table until its parent asks."""
    _KEPT[:] = [process for process in _KEPT if process.alive]


@dataclass(frozen=True)
class Spawner:
    """Starts Python processes of one lab.

    Args:
        directory: the lab's folder; logs go to ``logs/``, configuration files to ``config/``.
    """

    directory: Path

    def environment(self) -> dict[str, str]:
        """Our environment with the lab's mark; one malloc arena keeps many small processes small."""
        return {**os.environ, states.MARK: str(self.directory), "MALLOC_ARENA_MAX": "1", "PYTHONUNBUFFERED": "1"}

    def python(self, name: str, module: str, *arguments: str) -> Process:
        """Start ``python -m module arguments`` and write the process down."""
        process = Process.start(
            name,
            [sys.executable, "-m", module, *arguments],
            log_path=self.directory / "logs" / f"{name}.log",
            env=self.environment(),
            cwd=self.directory,
        )
        return keep(self.directory, process)

    def config(self, name: str, content: Mapping[str, Any]) -> str:
        """Write a component's configuration file and return its path."""
        path = self.directory / "config" / f"{name}.json"
        write_private(path, json.dumps(content, indent=2) + "\n")
        return str(path)

    def controlplane(self, port: int) -> Process:
        """The Kubernetes API emulator with its controllers."""
        folder = self.directory / "kubernetes"
        return self.python("controlplane", "runbook_lib.lab.controlplane", "--port", str(port), "--dir", str(folder))

    def metrics(self, ports: Mapping[str, int], binary: str) -> Process:
        """The metrics store, or a real Prometheus when ``binary`` names one; it begins with the warm-up interval."""
        config = self.metrics_config(ports, WARM_UP_SCRAPE_SECONDS)
        arguments = ["--port", str(ports["metrics"]), "--config", config]
        if binary:
            arguments += ["--prometheus", binary, "--data", str(self.directory / "metrics")]
        return self.python("metrics", "runbook_lib.lab.metrics", *arguments)

    def metrics_config(self, ports: Mapping[str, int], scrape_seconds: float) -> str:
        """Write the store's configuration; a running store follows it."""
        content = {
            "scrape_interval_seconds": scrape_seconds,
            "static_targets": static_targets(ports),
            # Not the reader's: the store watches pods, which no runbook does, and its reads are no runbook's.
            "kubernetes": {"kubeconfig": str(self.directory / "kubeconfig"), "namespace": NAMESPACE},
            "rules": alert_rules(),
        }
        return self.config("metrics", content)

    def vendors(self, ports: Mapping[str, int]) -> Process:
        """The vendor-shaped endpoints and the database exporters."""
        secrets = self.directory / "secrets"
        content = {
            "port": ports["vendors"],
            "directory": str(self.directory),
            "secrets_directory": str(secrets),
            "metrics_url": f"http://127.0.0.1:{ports['metrics']}",
            "images": list(RELEASES),
            "log_directories": [str(self.directory / "node")],
            "postgres": {
                "host": "127.0.0.1",
                "port": ports["postgres"],
                "dbname": "app",
                "user": "rb_read",
                "password_file": str(secrets / "postgres_rb_read_password"),
            },
            "redis": {
                "host": "127.0.0.1",
                "port": ports["valkey"],
                "username": "rb_read",
                "password_file": str(secrets / "redis_rb_read_password"),
            },
        }
        return self.python("vendors", "runbook_lib.lab.vendors", "--config", self.config("vendors", content))

    def payments(self, port: int) -> Process:
        """The service that ``api`` depends on."""
        return self.python("payments", "runbook_lib.lab.service.payments", "--port", str(port))

    def quota(self, postmaster: int) -> Process:
        """The CPU quota of the database's role ``app``."""
        arguments = ["--pid", str(postmaster), "--role", "app", "--cores", f"{DATABASE_CORES:g}"]
        return self.python("quota", "runbook_lib.lab.quota", *arguments)

    def node(self, kubeconfig: Path, port: int, balancer_port: int) -> Process:
        """The node agent with the Service balancer."""
        folder = self.directory / "node"
        folder.mkdir(mode=0o700, exist_ok=True)
        arguments = ["--kubeconfig", str(kubeconfig), "--name", NODE, "--port", str(port)]
        arguments += ["--balancer-port", str(balancer_port), "--dir", str(folder)]
        callers = self.directory / "kubernetes" / CALLER
        arguments += ["--callers", str(callers)] if callers.exists() else []
        return self.python("node", "runbook_lib.lab.node", *arguments)

    def load(self, port: int, service_url: str, rate: float) -> Process:
        """The open-loop load generator."""
        arguments = ["--url", service_url, "--rate", f"{rate:g}", "--port", str(port)]
        return self.python("load", "runbook_lib.lab.load", *arguments)


def wait_listening(process: Process, port: int, timeout_seconds: float = READY_SECONDS) -> None:
    """Wait until the process accepts connections; a failure names it and shows the end of its log."""
    process.wait_until(lambda: accepts_connections(port), timeout_seconds)


def static_targets(ports: Mapping[str, int]) -> list[dict[str, Any]]:
    """What the metrics store scrapes besides the pods."""
    exporter = f"http://127.0.0.1:{ports['vendors']}/exporter"
    pages = {
        "kubernetes": f"http://127.0.0.1:{ports['node']}/metrics",
        "postgres": f"{exporter}/postgres/metrics",
        "redis": f"{exporter}/redis/metrics",
        "load": f"http://127.0.0.1:{ports['load']}/metrics",
    }
    return [{"url": url, "labels": {"job": job}} for job, url in pages.items()]


def alert_rules() -> list[dict[str, Any]]:
    """The two alerts of the runbook: p95 above 200 ms, and more than 1 % of requests failing."""
    labels = {"service": "api", "severity": "page"}
    return [
        {
            "alert": "HighLatency",
            "expr": f"{_LATENCY} > 0.2",
            "for_seconds": ALERT_FOR_SECONDS,
            "labels": labels,
            "annotations": {"summary": "p95 latency above 200 ms", "runbook": "runbook://high_latency"},
        },
        {
            "alert": "HighErrorRate",
            "expr": f"{_ERRORS} > 0.01",
            "for_seconds": ALERT_FOR_SECONDS,
            "labels": labels,
            "annotations": {"summary": "more than 1 % of requests fail", "runbook": "runbook://high_error_rate"},
        },
    ]
