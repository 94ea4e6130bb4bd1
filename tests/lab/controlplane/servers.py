"""API servers for tests: the emulator as its own process, and a real control plane where there is one."""

from __future__ import annotations

import base64
import json
import os
import secrets
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from runbook_lib.lab.controlplane import certificate

REAL = "RUNBOOK_CONTROL_PLANE"
"""Names a binary with the subcommands etcd, kube-apiserver, kube-controller-manager and kube-scheduler."""
USERS = {"admin": "system:masters", "viewer": "viewers", "actor": "actors", "nobody": ""}
READY_SECONDS = 60.0


class ApiServer:
    """A running API server and its users' tokens.

    Attributes:
        url: base address.
        directory: its folder; holds ``admin.kubeconfig``.
        kind: ``emulated`` or ``real``.
    """

    def __init__(
        self, kind: str, url: str, directory: Path, tokens: Mapping[str, str], processes: list[subprocess.Popen[bytes]]
    ) -> None:
        self.kind, self.url, self.directory = kind, url, directory
        self._tokens, self._processes = tokens, processes
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        self._client = httpx.Client(base_url=url, verify=context, trust_env=False, timeout=15.0)

    def request(
        self,
        method: str,
        path: str,
        *,
        user: str = "admin",
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """Send one request as a user."""
        token = self._tokens.get(user, user)
        return self._client.request(
            method,
            path,
            content=body,
            headers={
                "authorization": f"Bearer {token}",
                "user-agent": "contract/1",
                "accept": "application/json",
                **(headers or {}),
            },
        )

    def json(self, method: str, path: str, body: Any = None, content_type: str = "application/json") -> Any:
        """Send one JSON request as the administrator; the answer must be a success."""
        content = None if body is None else json.dumps(body).encode()
        response = self.request(method, path, body=content, headers={"content-type": content_type})
        assert response.is_success, f"{method} {path}: {response.status_code} {response.text[:600]}"
        return response.json()

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return self.directory / "admin.kubeconfig"

    def kubeconfig_of(self, user: str) -> Path:
        """A kubeconfig of another user."""
        path = self.directory / f"{user}.kubeconfig"
        config = json.loads(self.kubeconfig.read_text())
        config["users"][0]["user"] = {"token": self._tokens[user]}
        path.write_text(json.dumps(config))
        path.chmod(0o600)
        return path

    def stop(self) -> None:
        """End every process."""
        self._client.close()
        for process in reversed(self._processes):
            process.terminate()
        for process in reversed(self._processes):
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)
            if process.stdout:
                process.stdout.close()


def write_tokens(directory: Path) -> dict[str, str]:
    """A token file with the tests' users."""
    tokens = {user: secrets.token_hex(16) for user in USERS}
    lines = [
        f'{token},{user},uid-{user},"{USERS[user]}"' if USERS[user] else f"{token},{user},uid-{user}"
        for user, token in tokens.items()
    ]
    (directory / "tokens.csv").write_text("\n".join(lines) + "\n")
    return tokens


def start_emulator(directory: Path, *flags: str) -> ApiServer:
    """Start the emulator on a free port."""
    tokens = write_tokens(directory)
    command = [sys.executable, "-m", "runbook_lib.lab.controlplane", "--port", "0", "--dir", str(directory), *flags]
    with (directory / "emulator.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log)
    assert process.stdout is not None
    line = process.stdout.readline().decode().split()
    assert line[:1] == ["ready"], (directory / "emulator.log").read_text()
    return ApiServer("emulated", line[1], directory, tokens, [process])


def start_real(binary: str, directory: Path, *, controllers: bool = True) -> ApiServer:
    """Start etcd, kube-apiserver and, unless switched off, the controllers and the scheduler."""
    tokens = write_tokens(directory)
    client, peer, api, manager, scheduler = free_ports(5)
    (directory / "sa.key").write_text(certificate.make("service accounts")[1])
    url = f"https://127.0.0.1:{api}"
    authority, key = certificate.make("tests")
    (directory / "tls.crt").write_text(authority)
    (directory / "tls.key").write_text(key)
    _write_kubeconfig(directory / "admin.kubeconfig", url, tokens["admin"], authority)
    processes: list[subprocess.Popen[bytes]] = []

    def start(name: str, flags: Mapping[str, object]) -> None:
        with (directory / f"{name}.log").open("wb") as log:
            command = [binary, name, *(f"--{key}={value}" for key, value in flags.items())]
            processes.append(subprocess.Popen(command, stdout=log, stderr=log, cwd=directory, start_new_session=True))

    start(
        "etcd",
        {
            "data-dir": directory / "etcd",
            "listen-client-urls": f"http://127.0.0.1:{client}",
            "listen-peer-urls": f"http://127.0.0.1:{peer}",
        },
    )
    start(
        "kube-apiserver",
        {
            "etcd-servers": f"http://127.0.0.1:{client}",
            "bind-address": "127.0.0.1",
            "advertise-address": "127.0.0.1",
            "secure-port": api,
            "tls-cert-file": directory / "tls.crt",
            "tls-private-key-file": directory / "tls.key",
            "cert-dir": directory / "certs",
            "token-auth-file": directory / "tokens.csv",
            "authorization-mode": "RBAC",
            "service-cluster-ip-range": "10.96.0.0/16",
            "service-account-issuer": "https://kubernetes.default.svc",
            "service-account-key-file": directory / "sa.key",
            "service-account-signing-key-file": directory / "sa.key",
            "disable-admission-plugins": "ServiceAccount",
            "endpoint-reconciler-type": "none",
        },
    )
    server = ApiServer("real", url, directory, tokens, processes)
    _wait_ready(server)
    if controllers:
        common = {
            "kubeconfig": directory / "admin.kubeconfig",
            "bind-address": "127.0.0.1",
            "leader-elect": "false",
            "authentication-skip-lookup": "true",
        }
        start(
            "kube-controller-manager",
            {
                **common,
                "secure-port": manager,
                "cert-dir": directory / "manager",
                "service-account-private-key-file": directory / "sa.key",
            },
        )
        start("kube-scheduler", {**common, "secure-port": scheduler, "cert-dir": directory / "scheduler"})
    return server


def real_binary() -> str:
    """The control-plane binary that the environment names, or an empty string."""
    path = os.environ.get(REAL, "")
    return path if path and os.access(path, os.X_OK) else ""


def free_ports(count: int) -> list[int]:
    """Free loopback ports."""
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return ports


def _wait_ready(server: ApiServer) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while True:
        try:
            if server.request("GET", "/readyz").text == "ok":
                return
        except httpx.HTTPError:
            pass
        if time.monotonic() > deadline:
            server.stop()
            raise AssertionError((server.directory / "kube-apiserver.log").read_text()[-2000:])
        time.sleep(0.2)


def _write_kubeconfig(path: Path, url: str, token: str, authority: str) -> None:
    path.write_text(
        json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "lab",
                "clusters": [
                    {
                        "name": "lab",
                        "cluster": {
                            "server": url,
                            "certificate-authority-data": base64.b64encode(authority.encode()).decode(),
                        },
                    }
                ],
                "users": [{"name": "user", "user": {"token": token}}],
                "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "user", "namespace": "default"}}],
            }
        )
    )
    path.chmod(0o600)
