"""Probes of a container, done for real: an HTTP request, a TCP connection, or a program."""

from __future__ import annotations

import http.client
import socket
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Object = dict[str, Any]
# While a container is not ready its readiness may be probed more often than periodSeconds asks
# (Kubernetes documentation, "Configure Probes"), so that it becomes ready soon after it can.
UNREADY_PERIOD_SECONDS = 0.25


@dataclass
class Probe:
    """One probe of one running container.

    Args:
        kind: ``"Readiness"``, ``"Liveness"`` or ``"Startup"``.
        spec: the probe as the pod gives it.
        started_at: monotonic time of the container's start, in seconds.
    """

    kind: str
    spec: Object
    started_at: float
    passed: bool = field(init=False)
    due_at: float = field(init=False)
    message: str = ""
    _streak: int = 0
    _last: bool | None = None

    def __post_init__(self) -> None:
        self.passed = self.kind == "Liveness"  # alive until proven otherwise, not ready until proven
        self.due_at = self.started_at + float(self.spec.get("initialDelaySeconds") or 0)

    @property
    def timeout_seconds(self) -> float:
        """Longest wait for one answer."""
        return float(self.spec.get("timeoutSeconds") or 1)

    @property
    def period_seconds(self) -> float:
        """Time between two probes, from start to start."""
        return float(self.spec.get("periodSeconds") or 10)

    def run(self, now: float, port_of: Callable[[Any], int], env: Mapping[str, str], folder: Path) -> bool:
        """Probe once.

        Args:
            now: monotonic time in seconds.
            port_of: turns a container port, by name or number, into a real port.
            env: the container's environment, for programs.
            folder: the container's folder, for programs.

        Returns:
            Whether this one attempt succeeded; ``passed`` counts thresholds.
        """
        self.message = attempt(self.spec, self.timeout_seconds, port_of, env, folder)
        succeeded = not self.message
        self._streak = self._streak + 1 if succeeded == self._last else 1
        self._last = succeeded
        name, default = ("successThreshold", 1) if succeeded else ("failureThreshold", 3)
        if self._streak >= int(self.spec.get(name) or default):
            self.passed = succeeded
        hurry = self.kind != "Liveness" and not self.passed
        self.due_at = now + (min(UNREADY_PERIOD_SECONDS, self.period_seconds) if hurry else self.period_seconds)
        return succeeded

    @property
    def exhausted(self) -> bool:
        """Whether failures have reached the threshold."""
        limit = int(self.spec.get("failureThreshold") or 3)
        return self._last is False and self._streak >= limit


def attempt(
    spec: Object, timeout_seconds: float, port_of: Callable[[Any], int], env: Mapping[str, str], folder: Path
) -> str:
    """Do what a probe or a hook asks once; returns the failure in the kubelet's words, or an empty string."""
    if "httpGet" in spec:
        return _http(spec["httpGet"], timeout_seconds, port_of)
    if "tcpSocket" in spec:
        try:
            socket.create_connection(("127.0.0.1", port_of(spec["tcpSocket"]["port"])), timeout_seconds).close()
        except OSError as error:
            return f"dial tcp: {error}"
        return ""
    if "exec" in spec:
        return _exec(spec["exec"]["command"], timeout_seconds, env, folder)
    return "unknown probe handler"


def _http(action: Object, timeout_seconds: float, port_of: Callable[[Any], int]) -> str:
    path = action.get("path") or "/"
    connection = http.client.HTTPConnection("127.0.0.1", port_of(action["port"]), timeout=timeout_seconds)
    headers = {header["name"]: header["value"] for header in action.get("httpHeaders") or []}
    try:
        connection.request("GET", path, headers={"User-Agent": "kube-probe/1.35", **headers})
        status = connection.getresponse().status
    except TimeoutError:
        return f'Get "{path}": context deadline exceeded (Client.Timeout exceeded while awaiting headers)'
    except (OSError, http.client.HTTPException) as error:
        return f'Get "{path}": {error or type(error).__name__}'
    finally:
        connection.close()
    return "" if 200 <= status < 400 else f"HTTP probe failed with statuscode: {status}"


def _exec(command: list[str], timeout_seconds: float, env: Mapping[str, str], folder: Path) -> str:
    try:
        done = subprocess.run(
            command, env=dict(env), cwd=folder, capture_output=True, timeout=timeout_seconds, check=False
        )
    except subprocess.TimeoutExpired:
        return f"command timed out: {command!r} timed out after {timeout_seconds:g}s"
    except OSError as error:
        return f"exec: {error}"
    return "" if done.returncode == 0 else f"command {command!r} exited with {done.returncode}"
