"""Starts etcd, API server, controllers and scheduler as processes of the lab, all on loopback."""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Iterator, Mapping
from functools import partial
from http import HTTPStatus
from pathlib import Path

from runbook_lib.lab import state as states
from runbook_lib.lab.cluster import USERS, write_private
from runbook_lib.lab.components import CALLER, Spawner, keep
from runbook_lib.lab.controlplane import certificate
from runbook_lib.lab.controlplane.__main__ import kubeconfig
from runbook_lib.lab.controlplane.listener import context_in
from runbook_lib.lab.process import Process, free_port
from runbook_lib.lab.realplane.programs import PARTS, Programs

#: Name of the part that clients speak to.
SERVER = "kube-apiserver"
#: An API server with an empty store is ready in three seconds on two idle cores.
READY_SECONDS = 90.0
#: A node that does not answer loses its pods after this; the node agent renews its lease every few seconds.
NODE_GRACE = "40s"
#: What the audit log keeps: all that the runbooks ask, and of everybody else the changes. Leases are renewed by the
#: second, and events only tell of changes. https://kubernetes.io/docs/reference/config-api/apiserver-audit.v1/
_AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived", "ResponseStarted"],
    "rules": [
        {"level": "Metadata", "users": [user for user in USERS if user.startswith("runbook-")]},
        {"level": "None", "resources": [{"group": "coordination.k8s.io", "resources": ["leases"]}]},
        {"level": "None", "resources": [{"group": group, "resources": ["events"]} for group in ("", "events.k8s.io")]},
        {"level": "Metadata", "verbs": ["create", "update", "patch", "delete", "deletecollection"]},
        {"level": "None"},
    ],
}


def start(spawn: Spawner, programs: Programs, port: int, admin_token: str) -> Iterator[Process]:
    """Start the four parts; the API server is ready when the last one has been yielded.

    Args:
        spawn: knows the lab's folder; ``kubernetes/tokens.csv`` there holds the users.
        programs: how each part is called.
        port: of the API server.
        admin_token: of a member of ``system:masters``; written to ``kubernetes/admin.kubeconfig``.

    Raises:
        LabError: a part did not come up; names it and shows the end of its log.
    """
    folder = spawn.directory / "kubernetes"
    _, authority = context_in(folder, write_private)
    admin = folder / "admin.kubeconfig"
    write_private(admin, kubeconfig(f"https://127.0.0.1:{port}", admin_token, authority))
    write_private(folder / "audit-policy.json", json.dumps(_AUDIT_POLICY))  # JSON is YAML
    for path, text in zip((folder / CALLER, folder / "caller.key"), certificate.make("kube-apiserver"), strict=True):
        write_private(path, text)
    store = f"http://127.0.0.1:{free_port()}"
    yield _part(spawn, programs, "etcd", _etcd(folder, store))
    api = _part(spawn, programs, SERVER, _apiserver(folder, store, port))
    yield api
    api.wait_until(lambda: _ready(port, admin_token, folder), READY_SECONDS)
    common = {"kubeconfig": admin, "bind-address": "127.0.0.1", "leader-elect": "false"}
    common |= {"authentication-skip-lookup": "true"}
    controllers = {
        **common,
        "secure-port": free_port(),
        "cert-dir": folder / "controllers",
        "service-account-private-key-file": folder / "tls.key",
        "node-monitor-grace-period": NODE_GRACE,
    }
    yield _part(spawn, programs, "kube-controller-manager", controllers)
    scheduler = {**common, "secure-port": free_port(), "cert-dir": folder / "scheduler"}
    yield _part(spawn, programs, "kube-scheduler", scheduler)


def restart(spawn: Spawner) -> list[str]:
    """Start the parts that have died again, as they were and on what etcd holds; the lab stays what it was.

    Args:
        spawn: knows the lab's folder.

    Returns:
        Their names; none where all run, or where the lab has no control plane of its own.

    Raises:
        LabError: a part did not come up; names it and shows the end of its log.
    """
    folder, recorded = spawn.directory / "kubernetes", states.processes(spawn.directory)
    dead = [name for name in PARTS if name in recorded and not recorded[name].alive]
    for name in dead:
        part = _start(spawn, name, json.loads(_words(folder, name).read_text(encoding="utf-8")))
        if name == SERVER:
            user = json.loads((folder / "admin.kubeconfig").read_text(encoding="utf-8"))["users"][0]["user"]
            port = states.running(spawn.directory).ports["kubernetes"]
            part.wait_until(partial(_ready, port, user["token"], folder), READY_SECONDS)
    return dead


def _part(spawn: Spawner, programs: Programs, name: str, flags: Mapping[str, object]) -> Process:
    argv = [*programs.commands[name], *(f"--{flag}={value}" for flag, value in flags.items())]
    write_private(_words(spawn.directory / "kubernetes", name), json.dumps(argv))
    return _start(spawn, name, argv)


def _start(spawn: Spawner, name: str, argv: list[str]) -> Process:
    log = spawn.directory / "logs" / f"{name}.log"
    return keep(spawn.directory, Process.start(name, argv, log_path=log, env=spawn.environment(), cwd=spawn.directory))


def _words(folder: Path, name: str) -> Path:
    """Where the command line of a part is kept; it holds no secret."""
    return folder / f"{name}.json"


def _etcd(folder: Path, clients: str) -> dict[str, object]:
    peers = f"http://127.0.0.1:{free_port()}"
    return {
        "data-dir": folder / "etcd",
        "listen-client-urls": clients,
        "advertise-client-urls": clients,
        "listen-peer-urls": peers,
        "initial-advertise-peer-urls": peers,
        "initial-cluster": f"default={peers}",
        "unsafe-no-fsync": "true",
    }


def _apiserver(folder: Path, store: str, port: int) -> dict[str, object]:
    return {
        "etcd-servers": store,
        "bind-address": "127.0.0.1",
        "advertise-address": "127.0.0.1",
        "secure-port": port,
        "cert-dir": folder / "apiserver",
        "tls-cert-file": folder / "tls.crt",
        "tls-private-key-file": folder / "tls.key",
        "token-auth-file": folder / "tokens.csv",
        "authorization-mode": "RBAC",
        "service-cluster-ip-range": "10.96.0.0/16",
        "service-account-issuer": "https://kubernetes.default.svc",
        "service-account-key-file": folder / "tls.key",
        "service-account-signing-key-file": folder / "tls.key",
        # Pods are processes of the node agent, which mounts no token into them.
        "disable-admission-plugins": "ServiceAccount",
        # Its own address is loopback, which no EndpointSlice may hold.
        "endpoint-reconciler-type": "none",
        "event-ttl": "1h",
        "kubelet-client-certificate": folder / CALLER,
        "kubelet-client-key": folder / "caller.key",
        "audit-policy-file": folder / "audit-policy.json",
        "audit-log-path": folder / "audit.jsonl",
    }


def _ready(port: int, token: str, folder: Path) -> bool:
    context = ssl.create_default_context(cafile=str(folder / "tls.crt"))
    connection = http.client.HTTPSConnection("127.0.0.1", port, context=context, timeout=2)
    try:
        connection.request("GET", "/readyz", headers={"Authorization": f"Bearer {token}"})
        return connection.getresponse().status == HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
