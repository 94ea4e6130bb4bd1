"""Starting and stopping the whole lab: ``up``, ``down``, ``status``.

Nothing supervises the lab while it runs: every component is a process of its own session, written down as soon as it
exists. A later ``up`` or ``down`` finds them by that list and by the mark in their environment.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from runbook_lib.errors import LabError, UsageError
from runbook_lib.lab import cluster, components, environment, history
from runbook_lib.lab import state as states
from runbook_lib.lab.postgres import ROLES, Postgres
from runbook_lib.lab.process import POLL_SECONDS, Process, free_port
from runbook_lib.lab.release import Helm
from runbook_lib.lab.state import State
from runbook_lib.lab.status import status, version_of
from runbook_lib.lab.valkey import USERS, Valkey
from runbook_lib.lab.vendors.settings import create_secrets
from runbook_lib.model import rights

if TYPE_CHECKING:
    from collections.abc import Callable

    from runbook_lib.lab.realplane.programs import Programs

__all__ = ["down", "status", "up"]

Progress: TypeAlias = "Callable[[str, str], None]"

RATE = 20.0
REPLICAS = 3
IMAGE_TAG = "v1"
HEALTHY_SECONDS = 60.0
_PORTS = ("postgres", "valkey", "kubernetes", "metrics", "vendors", "payments", "node", "service", "load")
#: What `up` makes in the lab's folder and takes away again before it starts; nothing else there is touched.
_OWN = ("postgres", "valkey", "kubernetes", "metrics", "node", "logs", "config", "secrets", "helm", "faults", "backups")


def up(
    directory: Path,
    *,
    prometheus: str = "auto",
    seconds_of_history: int = 900,
    kubeconfig: Path | None = None,
    control_plane: str = "emulated",
    rate: float = RATE,
    progress: Progress = lambda _phase, _status: None,
) -> dict[str, Any]:
    """Start the lab and wait until it serves under load; a lab that is up already stays as it is.

    Where nothing but parts of a real control plane has died, they are started again on their data.

    Args:
        directory: the lab's folder, made when missing; two labs have two folders.
        prometheus: ``auto`` (a real one from PATH, else the embedded store), ``embedded``, or the path of a binary.
        seconds_of_history: age of the oldest backfilled sample; 0 for none.
        kubeconfig: administrator's kubeconfig of a real API server to use in place of the emulator.
        control_plane: ``emulated``, ``real`` (programs that were built or are on this machine), or ``auto``: real where
            the programs are.
        rate: requests per second of the load.
        progress: told each phase of the start and its status: ``running``, then ``ok`` or ``error``.

    Returns:
        What ``status`` returns.

    Raises:
        LabError: a component did not come up; names it and shows the end of its log. Everything else is stopped.
    """
    directory = directory.resolve()
    binary, programs = _prometheus_binary(prometheus), _control_plane(control_plane)
    with states.locked(directory):
        current = status(directory)
        if current["state"] == "degraded" and _mended(directory):
            current = status(directory)
        if current["state"] == "running":
            return current
        _stop(directory)
        _clear(directory)
        state = State(directory, started=datetime.now(UTC).isoformat(timespec="seconds"), rate=rate)
        launch = Launch(state, progress)
        try:
            launch.run(binary, kubeconfig, programs, seconds_of_history)
        except BaseException:
            progress(launch.phase, "error")
            _stop(directory)
            launch.state.state = "failed"
            launch.state.save()
            raise
        return status(directory)


def down(directory: Path) -> None:
    """Stop every process of the lab in this folder; its logs stay until the next ``up``."""
    directory = directory.resolve()
    if not directory.exists():
        return
    with states.locked(directory):
        found = states.load(directory)
        if found is not None and found.details.get("real_cluster"):
            _leave_cluster(Path(found.urls["kubeconfig"]))
        _stop(directory)
        if found is not None:
            found.state = "stopped"
            found.faults = {}
            found.save()
        (directory / "environment.toml").unlink(missing_ok=True)


class Launch:
    """One start of a lab.

    Args:
        state: the state to fill; saved when the lab runs.
        progress: told each phase and its status.
    """

    def __init__(self, state: State, progress: Progress) -> None:
        self.state, self.directory, self._progress = state, state.directory, progress
        self.phase = ""
        self._spawn = components.Spawner(state.directory)
        self._processes: list[Process] = []
        self._began = time.monotonic()

    def run(self, binary: str, kubeconfig: Path | None, programs: Programs | None, seconds_of_history: int) -> None:
        """Start everything, in parallel where nothing waits for something."""
        self._next("processes")
        for name in ("logs", "config", "kubernetes"):
            (self.directory / name).mkdir(mode=0o700)
        ports = self.state.ports = dict(zip(_PORTS, _free_ports(len(_PORTS)), strict=True))
        self.state.details |= {"prometheus": binary, "seconds_of_history": seconds_of_history}
        self.state.save()
        postgres = Postgres(self.directory / "postgres", ports["postgres"])
        valkey = Valkey(self.directory / "valkey", ports["valkey"])
        self._write_secrets(postgres, valkey)
        with ThreadPoolExecutor(max_workers=4) as pool:
            database = pool.submit(self._start_postgres, postgres)
            admin, api = self._start_cluster(kubeconfig, programs)
            cache = pool.submit(self._start_valkey, valkey)
            helm = pool.submit(self._install, admin, api, postgres, valkey)
            payments = self._started(self._spawn.payments(ports["payments"]))
            node = self._started(self._spawn.node(self._node_kubeconfig(kubeconfig), ports["node"], ports["service"]))
            vendors = self._started(self._spawn.vendors(ports))
            _finish(helm)
            metrics = self._started(self._spawn.metrics(ports, binary))
            load = self._started(self._spawn.load(ports["load"], self.state.urls["service_url"], self.state.rate))
            _finish(cache)
            _finish(database)
        listening = {"payments": payments, "node": node, "vendors": vendors, "metrics": metrics, "load": load}
        for name, process in listening.items():
            components.wait_listening(process, ports[name])
        self._next("pods")
        self._wait_healthy(admin)
        self._next("history")
        with ThreadPoolExecutor(max_workers=1) as pool:
            described = pool.submit(self._describe, binary, "real" if kubeconfig or programs else "emulated")
            if seconds_of_history:
                self._backfill(seconds_of_history)
            _finish(described)
        self._next("")
        self._spawn.metrics_config(ports, components.SCRAPE_SECONDS)
        environment.write(self.state)
        self.state.state = "running"
        self.state.save()

    def _next(self, phase: str) -> None:
        """End the phase that runs, noting how long it took, and begin another; none when it is empty."""
        now = time.monotonic()
        if self.phase:
            self.state.details.setdefault("took_seconds", {})[self.phase] = round(now - self._began, 2)
            self._progress(self.phase, "ok")
        if phase:
            self._progress(phase, "running")
        self.phase, self._began = phase, now

    def _started(self, process: Process) -> Process:
        self._processes.append(process)
        return process

    def _write_secrets(self, postgres: Postgres, valkey: Valkey) -> None:
        ports, secrets = self.state.ports, self.directory / "secrets"
        vendors = f"http://127.0.0.1:{ports['vendors']}"
        passwords = {f"postgres_{role}_password": postgres.passwords[role] for role in ROLES}
        passwords |= {f"redis_{user}_password": valkey.passwords[user] for user in USERS}
        environment.write_secrets(secrets, passwords)
        made = create_secrets(secrets)
        environment.write_secrets(secrets, {"slack_webhook_url": f"{vendors}/slack/{made['slack_webhook_path']}"})
        prefixes = ("grafana", "datadog", "github", "slack", "pagerduty", "registry")
        self.state.urls |= {f"{name}_url": f"{vendors}/{name}" for name in prefixes}
        self.state.urls |= {
            "postgres_url": postgres.url("postgres"),
            "postgres_app_url": postgres.url("app"),
            "postgres_read_url": postgres.url("rb_read"),
            "postgres_act_url": postgres.url("rb_act"),
            "redis_url": valkey.url("default"),
            "redis_read_url": valkey.url("rb_read"),
            "prometheus_url": f"http://127.0.0.1:{ports['metrics']}",
            "service_url": f"http://127.0.0.1:{ports['service']}",
            "dependency_url": f"http://127.0.0.1:{ports['payments']}",
            "load_url": f"http://127.0.0.1:{ports['load']}",
            "vendors_url": vendors,
            "kubeconfig": str(self.directory / "kubeconfig"),
            **{f"{role}_kubeconfig": str(self.directory / f"{role}.kubeconfig") for role in rights.ROLES},
        }

    def _start_postgres(self, postgres: Postgres) -> None:
        process = components.keep(self.directory, postgres.start())
        postgres.prepare()
        postgres.dump(self.directory / "backups" / "app.dump")
        self._started(self._spawn.quota(process.pid))

    def _start_valkey(self, valkey: Valkey) -> None:
        components.keep(self.directory, valkey.start())

    def _start_cluster(self, kubeconfig: Path | None, programs: Programs | None) -> tuple[Path, Process | None]:
        """Start a control plane, or take the API server that is there; write the kubeconfigs."""
        admin = self.directory / "kubeconfig"
        if kubeconfig is not None:
            cluster.write_private(admin, kubeconfig.read_text(encoding="utf-8"))
            with cluster.Cluster(admin) as kubernetes:
                kubernetes.refuse_others()
            return admin, None
        folder = self.directory / "kubernetes"
        tokens = cluster.write_tokens(folder / "tokens.csv")
        process = self._control_plane(programs, tokens["admin"])
        base = folder / "admin.kubeconfig"
        process.wait_until(lambda: base.exists() and bool(base.read_text()), components.READY_SECONDS)
        users = {
            admin: "admin",
            **{self.directory / f"{role}.kubeconfig": f"runbook-{role}" for role in rights.ROLES},
            folder / "node.kubeconfig": "lab-node",
        }
        for path, user in users.items():
            cluster.write_kubeconfig(path, user, tokens[user], base)
        return admin, process

    def _control_plane(self, programs: Programs | None, admin_token: str) -> Process:
        """The API server, emulated or real."""
        port = self.state.ports["kubernetes"]
        if programs is None:
            return self._started(self._spawn.controlplane(port))
        from runbook_lib.lab.realplane import start

        parts = [self._started(part) for part in start.start(self._spawn, programs, port, admin_token)]
        return next(part for part in parts if part.record.name == start.SERVER)

    def _node_kubeconfig(self, kubeconfig: Path | None) -> Path:
        return kubeconfig or self.directory / "kubernetes" / "node.kubeconfig"

    def _install(self, admin: Path, api: Process | None, postgres: Postgres, valkey: Valkey) -> None:
        """Prepare the namespace and install the release."""
        if api is not None:
            components.wait_listening(api, self.state.ports["kubernetes"])
        credentials = {"DATABASE_URL": postgres.url("app"), "REDIS_URL": valkey.url("default")}
        with cluster.Cluster(admin) as kubernetes:
            kubernetes.prepare(credentials)
            if api is not None:
                kubernetes.serve_metrics(self.state.ports["node"])
            else:
                for name in rights.ROLES:
                    token = kubernetes.service_account_token(f"runbook-{name}")
                    path = self.directory / f"{name}.kubeconfig"
                    cluster.write_kubeconfig(path, f"runbook-{name}", token, admin)
        if api is None:
            self.state.details["real_cluster"] = True
            Helm(admin).uninstall()  # left by a lab that was killed
            with cluster.Cluster(admin) as kubernetes:
                kubernetes.delete_pods()
        shutil.copytree(Helm(admin).chart, self.directory / "helm" / "api")
        self.state.values = {
            "image": {"tag": IMAGE_TAG},
            "replicaCount": REPLICAS,
            "config": {"DEPENDENCY_URL": self.state.urls["dependency_url"]},
        }
        self.state.details["helm"] = Helm(admin).install(self.state.values).get("version", 1)

    def _wait_healthy(self, admin: Path) -> None:
        deadline = time.monotonic() + HEALTHY_SECONDS
        with cluster.Cluster(admin) as kubernetes:
            while True:
                ready = kubernetes.deployment().get("status", {}).get("availableReplicas", 0)
                if ready >= REPLICAS:
                    return
                for process in self._processes:
                    if not process.alive:
                        raise LabError(f"{process.record.name} ended: {process.log_tail()}")
                if time.monotonic() > deadline:
                    raise LabError(f"only {ready} of {REPLICAS} pods became available: {kubernetes.complaints()}")
                time.sleep(5 * POLL_SECONDS)

    def _backfill(self, seconds: int) -> None:
        url = self.state.urls["prometheus_url"]
        self.state.details["settled"] = history.wait_settled(url, components.WARM_UP_SCRAPE_SECONDS, self.state.rate)
        self.state.details["backfilled_samples"] = history.backfill(url, seconds)

    def _describe(self, binary: str, kubernetes: str) -> None:
        """Note for each component whether it is real or emulated, and its version."""
        kinds = {
            "postgres": "real",
            "quota": "real",
            "valkey": "real",
            "kubernetes": kubernetes,
            "metrics": "real" if binary else "emulated",
            "vendors": "emulated",
            "payments": "real",
            "node": "real",
            "load": "real",
            "helm": "real",
            "api": "real",
        }
        for name, kind in kinds.items():
            self.state.components[name] = {"kind": kind, "version": version_of(name, self.state)}


def _mended(directory: Path) -> bool:
    """Whether parts of a real control plane had died and run again; the emulator's objects die with it."""
    from runbook_lib.lab.realplane import start

    return bool(start.restart(components.Spawner(directory)))


def _stop(directory: Path) -> None:
    states.stop_all(directory)
    components.reap()


def _leave_cluster(kubeconfig: Path) -> None:
    """Take the lab's release and node out of an API server that outlives the lab, as far as it still answers."""
    with contextlib.suppress(LabError):
        Helm(kubeconfig, deadline_seconds=15).uninstall()
        with cluster.Cluster(kubeconfig) as kubernetes:
            kubernetes.delete_pods()
            kubernetes.request("DELETE", f"/api/v1/nodes/{components.NODE}")


def _clear(directory: Path) -> None:
    for name in _OWN:
        shutil.rmtree(directory / name, ignore_errors=True)
    kubeconfigs = ("kubeconfig", *(f"{role}.kubeconfig" for role in rights.ROLES))
    for name in ("vendors.jsonl", "environment.toml", "values-prod.yaml", *kubeconfigs):
        (directory / name).unlink(missing_ok=True)


def _prometheus_binary(choice: str) -> str:
    if choice == "embedded":
        return ""
    if choice == "auto":
        return shutil.which("prometheus") or ""
    found = shutil.which(choice)
    if found is None:
        raise UsageError(f"prometheus={choice!r} is no program; give auto, embedded or the path of a binary")
    return found


def _control_plane(choice: str) -> Programs | None:
    if choice == "emulated":
        return None
    from runbook_lib.lab.realplane import programs

    if choice not in {"auto", "real"}:
        raise UsageError(f"control plane {choice!r} is unknown; give auto, real or emulated")
    found = programs.find()
    if found is None and choice == "real":
        missing = ", ".join(programs.PARTS)
        raise UsageError(
            f"no real control plane: build one with `runbook lab control-plane build`, or put {missing} on PATH"
        )
    return found


def _free_ports(count: int) -> list[int]:
    """Different free ports: the system may offer one twice as long as nobody listens on it."""
    found: set[int] = set()
    while len(found) < count:
        found.add(free_port())
    return sorted(found)


def _finish(future: Future[None]) -> None:
    """Raise what the thread raised."""
    future.result()
