"""One container of a pod as a local process: started, probed, limited, restarted."""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from runbook_lib.errors import LabError
from runbook_lib.lab.controlplane.quantity import quantity
from runbook_lib.lab.node.images import Image, Reader, StartError, argv, environment, pull
from runbook_lib.lab.node.probes import Probe
from runbook_lib.lab.process import Process, free_port
from runbook_lib.lab.throttle import Quota, Throttle

LOG = logging.getLogger("node")
Object = dict[str, Any]
Record = Callable[[str, str, str], None]  # type, reason, message of an event
# The kubelet's back-off between restarts: none, 10 s, doubled up to 5 minutes, forgotten after 10 minutes of running.
BACKOFF_SECONDS, BACKOFF_LIMIT_SECONDS, BACKOFF_RESET_SECONDS = 10.0, 300.0, 600.0
MEMORY_CHECK_SECONDS = 1.0
# The CPU limit is enforced once the container is ready, at the latest after this long. Importing a Python service
# costs more CPU than serving it; start-up boosts exist for that reason in real clusters, and without one every
# rollout would show throttling that says nothing about the traffic.
STARTUP_BOOST_SECONDS = 10.0
LOG_LIMIT_BYTES = 5_000_000


@dataclass
class Container:
    """A container and its state.

    Args:
        spec: the container as the pod gives it.
        folder: takes its logs.
        throttle: enforces the CPU limit.
        record: writes an event about this container.
        restart_policy: the pod's.
        restart_count: restarts so far, of an earlier agent.
    """

    spec: Object
    folder: Path
    throttle: Throttle
    record: Record
    restart_policy: str = "Always"
    restart_count: int = 0
    process: Process | None = None
    image: Image | None = None
    quota: Quota | None = None
    state: Object = field(default_factory=lambda: {"waiting": {"reason": "ContainerCreating"}})
    last_state: Object = field(default_factory=dict)
    retry_at: float = 0.0
    env: dict[str, str] = field(default_factory=dict)
    _probes: dict[str, Probe] = field(default_factory=dict)
    _ports: dict[Any, int] = field(default_factory=dict)
    _started_at: float = 0.0
    _started: str = ""
    _memory_due: float = 0.0
    _failures: int = 0
    _backoff_seconds: float = 0.0
    _end_reason: str = ""
    _container_id: str = ""

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        for number, entry in enumerate(self.spec.get("ports") or []):
            real = self.port if number == 0 else free_port()
            self._ports[entry["containerPort"]] = real
            if entry.get("name"):
                self._ports[entry["name"]] = real

    @property
    def name(self) -> str:
        """Name within the pod."""
        return str(self.spec["name"])

    @property
    def running(self) -> bool:
        """Whether its process is there."""
        return self.process is not None

    @property
    def done(self) -> bool:
        """Whether it ended and will not be restarted."""
        return "terminated" in self.state and not self._restarts(self.state["terminated"]["exitCode"])

    @property
    def started(self) -> bool:
        """Whether its start-up is over."""
        return self.running and ("Startup" not in self._probes or self._probes["Startup"].passed)

    @property
    def ready(self) -> bool:
        """Whether it may get traffic."""
        return self.started and ("Readiness" not in self._probes or self._probes["Readiness"].passed)

    def amount(self, kind: str, resource: str) -> float | None:
        """What the container may use or asks for, in cores or bytes; None when it does not say.

        Args:
            kind: ``"limits"`` or ``"requests"``.
            resource: ``"cpu"`` or ``"memory"``.
        """
        text = ((self.spec.get("resources") or {}).get(kind) or {}).get(resource)
        return None if text is None else float(quantity(str(text)))

    @property
    def ports(self) -> frozenset[Any]:
        """Container ports, by name and number."""
        return frozenset(self._ports)

    def real_port(self, port: Any) -> int:
        """The local port behind a container port, by name or number."""
        return self._ports.get(port, self.port)

    def log_path(self, *, previous: bool = False) -> Path:
        """Log file of the running or last process, or of the one before."""
        return self.folder / f"{self.restart_count - previous}.log"

    def step(self, pod: Object, read: Reader, pod_ip: str, now: float) -> float:
        """Do what is due; returns when to come again, on the monotonic clock."""
        if self.process is None:
            if self.done:
                return float("inf")
            if now >= self.retry_at:
                self._start(pod, read, pod_ip, now)
            return self.retry_at if self.process is None else now
        if self.process.exit_code is not None:
            self._ended(self.process.exit_code, now)
            return now
        self._check_resources(now)
        self._probe(now)
        return min([probe.due_at for probe in self._active_probes()] + [self._memory_due])

    def terminate(self, number: int) -> None:
        """Send a signal to the process; a stopped one is let run to receive it."""
        if self.process is not None:
            self.throttle.remove(self.process.pid)
            self.process.signal(number)

    def reap(self, now: float) -> None:
        """Note the end of a process that was told to end."""
        if self.process is not None and self.process.exit_code is not None:
            self.restart_policy = "Never"
            self._ended(self.process.exit_code, now)

    def status(self) -> Object:
        """The container's part of the pod's status."""
        return {
            "name": self.name,
            "image": self.spec["image"],
            "imageID": self.image.digest_id if self.image else "",
            "containerID": self._container_id,
            "ready": self.ready,
            "started": self.started,
            "restartCount": self.restart_count,
            "state": self.state,
            "lastState": self.last_state,
        }

    def _start(self, pod: Object, read: Reader, pod_ip: str, now: float) -> None:
        first = "terminated" not in self.state and "terminated" not in self.last_state
        try:
            self.image = pull(self.spec["image"], has_command=bool(self.spec.get("command")))
            self.env = environment(pod, self.spec, self.image, read, pod_ip)
            self.env["PORT"] = str(self.port)
            program = argv(self.spec, self.image, self.env)
        except StartError as error:
            self._cannot_start(error, now)
            return
        if "terminated" in self.state:
            self.last_state = self.state
        if not first:
            self.restart_count += 1
        path = self.log_path()
        try:
            self.process = Process.start(
                self.name, program, log_path=path, env=self.env, cwd=self.folder, die_with_parent=True
            )
        except LabError as error:
            self._not_executable(str(error), now)
            return
        self.record("Normal", "Pulled", f'Container image "{self.spec["image"]}" already present on machine')
        self.record("Normal", "Started", f"Started container {self.name}")
        self._started_at, self._started, self._end_reason = now, timestamp(), ""
        self._container_id = f"process://{self.process.pid}-{self.process.record.start_time_ticks}"
        self.state = {"running": {"startedAt": self._started}}
        self._memory_due, self._failures, self.quota = now, 0, None
        self._probes = {
            kind: Probe(kind, self.spec[key], now)
            for kind, key in (
                ("Startup", "startupProbe"),
                ("Readiness", "readinessProbe"),
                ("Liveness", "livenessProbe"),
            )
            if self.spec.get(key)
        }

    def _cannot_start(self, error: StartError, now: float) -> None:
        self._failures += 1
        delay = min(BACKOFF_SECONDS * 2 ** (self._failures - 1), BACKOFF_LIMIT_SECONDS)
        reason, message = error.reason, str(error)
        self.record("Warning", "Failed", f"Error: {reason}: {message}")
        if reason == "ErrImagePull" and self._failures > 1:
            reason, message = "ImagePullBackOff", f'Back-off pulling image "{self.spec["image"]}": {reason}: {message}'
        self.state = {"waiting": {"reason": reason, "message": message}}
        self.retry_at = now + delay

    def _not_executable(self, message: str, now: float) -> None:
        self._started = timestamp()
        self.log_path().touch()
        self._finish(128, "StartError", now, message)

    def _ended(self, code: int, now: float) -> None:
        assert self.process is not None
        self.throttle.remove(self.process.pid)
        self.process.stop(0.5)  # the rest of its group
        self.process, self.quota, self._probes = None, None, {}
        if now - self._started_at > BACKOFF_RESET_SECONDS:
            self._backoff_seconds = 0.0
        exit_code = 128 - code if code < 0 else code
        self._finish(exit_code, self._end_reason or ("Completed" if exit_code == 0 else "Error"), now)

    def _finish(self, exit_code: int, reason: str, now: float, message: str = "") -> None:
        ended: Object = {"exitCode": exit_code, "reason": reason, "startedAt": self._started, "finishedAt": timestamp()}
        ended["containerID"] = self._container_id
        if message:
            ended["message"] = message
        self.state = {"terminated": ended}
        if not self._restarts(exit_code):
            return
        delay, self._backoff_seconds = self._backoff_seconds, _next_backoff(self._backoff_seconds)
        self.retry_at = now + delay
        if delay:
            text = f"back-off {delay:g}s restarting failed container={self.name}"
            self.record("Warning", "BackOff", f"Back-off restarting failed container {self.name}")
            self.last_state, self.state = self.state, {"waiting": {"reason": "CrashLoopBackOff", "message": text}}

    def _restarts(self, exit_code: int) -> bool:
        return self.restart_policy == "Always" or (self.restart_policy == "OnFailure" and exit_code != 0)

    def _active_probes(self) -> list[Probe]:
        startup = self._probes.get("Startup")
        if startup is not None and not startup.passed:
            return [startup]
        return [probe for kind, probe in self._probes.items() if kind != "Startup"]

    def _probe(self, now: float) -> None:
        for probe in self._active_probes():
            if now < probe.due_at or self.process is None:
                continue
            was_ready = probe.passed
            if probe.run(time.monotonic(), self.real_port, self.env, self.folder):
                continue
            if was_ready or probe.kind != "Readiness":
                self.record("Warning", "Unhealthy", f"{probe.kind} probe failed: {probe.message}")
            if probe.kind != "Readiness" and probe.exhausted:
                self._kill(f"Container {self.name} failed {probe.kind.lower()} probe, will be restarted")

    def _kill(self, message: str) -> None:
        self.record("Normal", "Killing", message)
        if self.process is not None:
            self.throttle.remove(self.process.pid)
            self.process.stop(5.0)

    def _check_resources(self, now: float) -> None:
        if self.process is None or now < self._memory_due:
            return
        self._memory_due = now + MEMORY_CHECK_SECONDS
        boosted = not self.ready and now - self._started_at < STARTUP_BOOST_SECONDS
        cores = self.amount("limits", "cpu")
        if cores and self.quota is None and not boosted:
            self.quota = self.throttle.add(self.process.pid, cores)
        limit_bytes = self.amount("limits", "memory")
        if limit_bytes and memory_bytes(self.process.pid) > limit_bytes:
            self._end_reason = "OOMKilled"
            self.process.signal(signal.SIGKILL)
        path = self.process.log_path
        if path.stat().st_size > LOG_LIMIT_BYTES:
            os.truncate(path, 0)


def memory_bytes(pid: int) -> int:
    """Anonymous memory of a process, which is what a limit has to hold; 0 when it is gone."""
    try:
        text = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0
    line = next((line for line in text.splitlines() if line.startswith("RssAnon:")), "RssAnon: 0 kB")
    return int(line.split()[1]) * 1024


def timestamp() -> str:
    """Now, as Kubernetes writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _next_backoff(seconds: float) -> float:
    return min(seconds * 2, BACKOFF_LIMIT_SECONDS) if seconds else BACKOFF_SECONDS
