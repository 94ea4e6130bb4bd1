"""What faults act on: the running lab through its real interfaces."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runbook_lib.errors import LabError
from runbook_lib.lab import cluster, components
from runbook_lib.lab import state as states
from runbook_lib.lab.process import POLL_SECONDS
from runbook_lib.lab.release import Helm
from runbook_lib.lab.state import State
from runbook_lib.lab.status import send_json

if TYPE_CHECKING:
    import psycopg
    import redis

#: What the sessions of a fault call themselves, as a batch job of the same team would.
APPLICATION = "report-worker"
ROLLOUT_SECONDS = 60.0
HOLD_SECONDS = 60.0


class World:
    """A running lab.

    Args:
        state: its recorded state.
    """

    def __init__(self, state: State) -> None:
        self.state, self.directory = state, state.directory
        self.spawn = components.Spawner(state.directory)
        self.helm = Helm(Path(state.urls["kubeconfig"]))

    def superuser(self) -> psycopg.Connection[Any]:
        """An autocommit session of the superuser."""
        import psycopg

        return psycopg.connect(self.state.urls["postgres_url"], autocommit=True, connect_timeout=5)

    def cache(self) -> redis.Redis:
        """A client of the cache with all rights."""
        import redis

        return redis.Redis.from_url(self.state.urls["redis_url"], socket_timeout=5, protocol=2)

    def cluster(self) -> cluster.Cluster:
        """The Kubernetes API as its administrator."""
        return cluster.Cluster(Path(self.state.urls["kubeconfig"]))

    def send(self, url: str, path: str, body: Mapping[str, Any]) -> Any:
        """``PUT`` a control value of a component."""
        return send_json("PUT", self.state.urls[url], path, dict(body))

    def hold(self, fault: str, kind: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Start the child that keeps a fault going, and wait until it says that it does.

        Args:
            fault: name of the fault, also the name of its process and files.
            kind: what the child does, see ``hold.py``.
            parameters: its sizes.
        """
        folder = self.directory / "faults"
        folder.mkdir(mode=0o700, exist_ok=True)
        ready = folder / f"{fault}.ready"
        ready.unlink(missing_ok=True)
        content = {
            "kind": kind,
            "parameters": dict(parameters),
            "ready": str(ready),
            "secrets": str(self.directory / "secrets"),
            "postgres_port": self.state.ports["postgres"],
            "redis_port": self.state.ports["valkey"],
        }
        config = folder / f"{fault}.json"
        cluster.write_private(config, json.dumps(content))
        process = self.spawn.python(f"fault-{fault}", "runbook_lib.lab.faults.hold", "--config", str(config))
        try:
            process.wait_until(ready.exists, HOLD_SECONDS)
        except LabError:
            process.stop()
            raise
        return {"process": f"fault-{fault}"}

    def release_hold(self, fault: str) -> None:
        """End the child of a fault, and what it may have left in the database."""
        self.stop(f"fault-{fault}")

    def end_sessions(self) -> None:
        """End every session of the faults that the server still has."""
        with self.superuser() as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid, 2000) FROM pg_stat_activity WHERE application_name = %s",
                [APPLICATION],
            )

    def passwords(self, server: str) -> dict[str, str]:
        """Role or user -> password of a database server, from the lab's secrets."""
        files = (self.directory / "secrets").glob(f"{server}_*_password")
        return {one.name.removeprefix(f"{server}_").removesuffix("_password"): one.read_text() for one in files}

    def runs(self, name: str) -> bool:
        """Whether the process of a component exists, frozen or not."""
        found = states.processes(self.directory).get(name)
        return found is not None and found.alive

    def stop(self, name: str) -> None:
        """Stop a process if it runs."""
        found = states.processes(self.directory).get(name)
        if found is not None and found.alive:
            self.signal_tree(name, signal.SIGCONT)
            found.stop()

    def signal_tree(self, name: str, number: signal.Signals) -> None:
        """Send a signal to a component and all its children."""
        found = states.processes(self.directory).get(name)
        if found is not None and found.alive:
            for pid in states.process_tree({name: found}):
                try:
                    os.kill(pid, number)
                except ProcessLookupError:
                    continue

    def upgrade(self, changes: Mapping[str, Any], *, wait: bool) -> dict[str, Any]:
        """Upgrade the release with its healthy values and changes to them.

        Args:
            changes: Helm values, merged into the healthy ones.
            wait: whether to wait until the rollout is complete.
        """
        values = {**self.state.values, **changes}
        values["config"] = {**self.state.values["config"], **changes.get("config", {})}
        revision = self.helm.upgrade(values, force_conflicts=True).get("version")
        if wait:
            self.wait_rolled_out()
        return {"revision": revision}

    def restore_release(self) -> None:
        """Upgrade back to the healthy values and wait until all pods serve."""
        self.upgrade({}, wait=True)

    def wait_rolled_out(self) -> None:
        """Wait until the Deployment is complete.

        Raises:
            LabError: it is not after a minute; says what the pods say.
        """
        deadline = time.monotonic() + ROLLOUT_SECONDS
        with self.cluster() as kubernetes:
            while not _complete(kubernetes.deployment()):
                if time.monotonic() > deadline:
                    raise LabError(f"the rollout is not complete: {kubernetes.complaints()}")
                time.sleep(5 * POLL_SECONDS)


def _complete(deployment: Mapping[str, Any]) -> bool:
    wanted, status = deployment["spec"]["replicas"], deployment.get("status", {})
    seen = status.get("observedGeneration", 0) >= deployment["metadata"]["generation"]
    counts = {status.get(key, 0) for key in ("replicas", "updatedReplicas", "availableReplicas")}
    return bool(seen and counts == {wanted})
