"""What runs in a lab: addresses, and for each component its kind, version, state, process and memory."""

from __future__ import annotations

import http.client
import json
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from runbook_lib.errors import LabError
from runbook_lib.lab import state as states
from runbook_lib.lab.process import ProcessRecord, start_time_ticks
from runbook_lib.lab.state import State, process_tree

#: For one answer of a component, seconds: on a busy machine a pod's first one takes long.
TIMEOUT_SECONDS = 10.0
#: Component -> names that its process may have, where they differ.
_PROCESS = {"kubernetes": ("controlplane", "kube-apiserver")}
_WITHOUT_PROCESS = ("helm", "api")


def status(directory: Path) -> dict[str, Any]:
    """The lab's state as plain JSON.

    Args:
        directory: the lab's folder.

    Returns:
        ``state`` (``stopped``, ``starting``, ``running``, ``degraded`` when a component is down or stands still, or
        ``failed``), the addresses, ``components``, applied ``faults``, ``memory_mib`` (proportional set size of all
        processes together). Addresses hold passwords: the lab is a practice system of this machine.
    """
    directory = directory.resolve()
    state = states.load(directory)
    if state is None:
        return {"state": "stopped", "directory": str(directory), "components": {}, "faults": {}}
    recorded = states.processes(directory)
    components = {name: _component(name, part, recorded, state) for name, part in state.components.items()}
    current = state.state
    if current == "running" and any(part["state"] != "running" for part in components.values()):
        current = "degraded" if any(process.alive for process in recorded.values()) else "stopped"
    answer: dict[str, Any] = {
        "state": current,
        "directory": str(directory),
        "started": state.started,
        **state.urls,
        "environment": str(directory / "environment.toml"),
        "secrets": str(directory / "secrets"),
        "chart": str(directory / "helm" / "api"),
        "components": components,
        "faults": state.faults,
    }
    if current in ("running", "degraded"):
        answer["memory_mib"] = round(sum(memory_bytes(pid) for pid in process_tree(recorded)) / 2**20, 1)
    return answer


def _component(
    name: str, part: dict[str, str], recorded: dict[str, ProcessRecord], state: State
) -> dict[str, str | int | float]:
    described: dict[str, str | int | float] = dict(part)
    if name in _WITHOUT_PROCESS:
        described["state"] = "running" if name == "helm" else _pods(recorded)
        return described
    process = next((recorded[one] for one in _PROCESS.get(name, (name,)) if one in recorded), None)
    if process is None:
        described["state"] = "running" if name == "kubernetes" and part["kind"] == "real" else "stopped"
        return described
    described["pid"] = process.pid
    described["state"] = _process_state(process)
    if name in state.ports:
        described["port"] = state.ports[name]
    if process.alive:
        tree = [process.pid] if name == "node" else process_tree({name: process})
        described["memory_mib"] = round(sum(memory_bytes(pid) for pid in tree) / 2**20, 1)
    return described


def _process_state(process: ProcessRecord) -> str:
    if not process.alive:
        return "stopped"
    text = Path(f"/proc/{process.pid}/stat").read_text(encoding="utf-8", errors="replace")
    return "frozen" if text[text.rindex(")") + 2] == "T" else "running"


def _pods(recorded: dict[str, ProcessRecord]) -> str:
    """Pods are children of the node agent; how many there are is Kubernetes' to tell."""
    node = recorded.get("node")
    return "running" if node is not None and node.alive and len(process_tree({"node": node})) > 1 else "stopped"


def memory_bytes(pid: int) -> int:
    """Proportional set size of a process; shared pages count by their share. 0 when it is gone."""
    if start_time_ticks(pid) is None:
        return 0
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)


def version_of(name: str, state: State) -> str:
    """Version of a component, asked from the component itself where it can tell.

    Raises:
        LabError: it did not answer.
    """
    if name == "postgres":
        import psycopg

        with psycopg.connect(state.urls["postgres_url"], connect_timeout=2) as connection:
            return str(connection.execute("SHOW server_version").fetchall()[0][0])
    if name == "valkey":
        return _valkey_version(state)
    if name == "kubernetes":
        from runbook_lib.lab.cluster import Cluster

        with Cluster(Path(state.urls["kubeconfig"])) as cluster:
            return str(cluster.request("GET", "/version")["gitVersion"])
    if name == "metrics":
        return str(get_json(state.urls["prometheus_url"], "/api/v1/status/buildinfo")["data"]["version"])
    if name == "helm":
        from runbook_lib.lab.release import Helm

        return Helm(Path(state.urls["kubeconfig"])).version()
    if name == "api":
        return str(get_json(state.urls["service_url"], "/api/v1/status")["version"])
    return metadata.version("runbook-lib")


def _valkey_version(state: State) -> str:
    import redis

    with redis.Redis.from_url(state.urls["redis_url"], socket_timeout=TIMEOUT_SECONDS, protocol=2) as client:
        information: Any = client.info("server")
        return str(information.get("valkey_version", information["redis_version"]))


def get_json(base_url: str, path: str) -> Any:
    """One GET of a JSON answer.

    Raises:
        LabError: no answer within the timeout, or not 200 with JSON.
    """
    return send_json("GET", base_url, path)


def send_json(method: str, base_url: str, path: str, body: Any = None) -> Any:
    """One request with a JSON body and a JSON answer (None for an empty one).

    Raises:
        LabError: no answer within the timeout, or not a success with JSON.
    """
    parts = urlsplit(base_url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=TIMEOUT_SECONDS)
    content = None if body is None else json.dumps(body)
    try:
        connection.request(method, parts.path + path, content, {"Content-Type": "application/json"} if content else {})
        answer = connection.getresponse()
        text = answer.read()
        if not 200 <= answer.status < 300:
            raise LabError(f"{method} {base_url}{path}: {answer.status} {text[:200].decode(errors='replace')}")
        return json.loads(text) if text else None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise LabError(f"{method} {base_url}{path}: {type(error).__name__} {error}") from error
    finally:
        connection.close()
