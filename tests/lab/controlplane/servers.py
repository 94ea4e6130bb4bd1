"""API servers for tests: the emulator as its own process, and a real control plane where there is one."""

from __future__ import annotations

import json
import os
import secrets
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from runbook_lib.lab.components import Spawner
from runbook_lib.lab.process import Process, free_port
from runbook_lib.lab.realplane import programs, start

REAL = "RUNBOOK_TEST_CONTROL_PLANE"
"""Says ``real`` where tests are to use a real control plane, too."""
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
        self, kind: str, url: str, directory: Path, tokens: Mapping[str, str], stop: Callable[[], None]
    ) -> None:
        self.kind, self.url, self.directory = kind, url, directory
        self._tokens, self._stop = tokens, stop
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
        self._stop()


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

    def stop() -> None:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)
        process.stdout.close()  # type: ignore[union-attr]

    return ApiServer("emulated", line[1], directory, tokens, stop)


def start_real(directory: Path, *, controllers: bool = True) -> ApiServer:
    """Start a real control plane as the lab does; etcd and the API server alone, where controllers are switched off."""
    programs = found_programs()
    assert programs is not None
    for name in ("logs", "kubernetes"):
        (directory / name).mkdir()
    home, port = directory / "kubernetes", free_port()
    tokens = write_tokens(home)
    parts: list[Process] = []

    def stop() -> None:
        for part in reversed(parts):
            part.stop(10)

    # The API server is ready only once the part after it was started.
    for part in start.start(Spawner(directory), programs, port, tokens["admin"]):
        parts.append(part)
        if not controllers and len(parts) == 2:
            break
    server = ApiServer("real", f"https://127.0.0.1:{port}", home, tokens, stop)
    _wait_ready(server)
    return server


def start_either(kind: str, folder: Path) -> ApiServer:
    """The server that is ``emulated``, or the ``real`` one; where there is none the tests are skipped."""
    if kind == "emulated":
        return start_emulator(folder)
    if found_programs() is None:
        pytest.skip(f"no real control plane, or {REAL} does not say real")
    return start_real(folder)


def found_programs() -> programs.Programs | None:
    """The programs of a real control plane, where the tests are to use one."""
    return programs.find() if os.environ.get(REAL) == "real" else None


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
            raise AssertionError((server.directory.parent / "logs" / "kube-apiserver.log").read_text()[-2000:])
        time.sleep(0.2)
