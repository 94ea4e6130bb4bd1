"""The kernel's process: started on private sockets, watched, interrupted, ended, and what it died of."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from runbook_lib.errors import UnknownNameError
from runbook_lib.headless import forking
from runbook_lib.headless._watcher import end_session

_HERE = Path(__file__).parent
# A Unix socket's path holds at most 107 bytes; the sockets' own names need about ten of them.
_LONGEST_FOLDER = 90
_LOG_TAIL_BYTES = 2000
NATIVE = "python3"


def command(name: str) -> tuple[list[str], dict[str, str]]:
    """The command of a kernel with ``{connection_file}`` in it, and the variables it asks for.

    ``python3`` is this Python: a runbook needs the library that it was started with, not the one that a kernelspec
    of that name points to.

    Raises:
        UnknownNameError: no kernel of that name is installed.
    """
    if name in {"", NATIVE}:
        return [sys.executable, str(_HERE / "_kernel.py"), "-f", "{connection_file}"], {}
    from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

    manager = KernelSpecManager()
    try:
        spec = manager.get_kernel_spec(name)
    except NoSuchKernel as error:
        raise UnknownNameError("kernel", name, [NATIVE, *manager.find_kernel_specs()]) from error
    argv = [part.replace("{resource_dir}", spec.resource_dir) for part in spec.argv]
    if argv[1:3] == ["-m", "ipykernel_launcher"]:
        argv[1:3] = [str(_HERE / "_kernel.py")]
    return argv, dict(spec.env)


class Kernel:
    """A running kernel; made by ``start``, and ended by ``end`` in any case.

    Attributes:
        connection: what a client needs to connect, as in a Jupyter connection file.
        pid: process id, which is also its session's and group's.
    """

    def __init__(
        self, folder: Path, connection: Mapping[str, Any], process: subprocess.Popen[bytes] | forking.Forked
    ) -> None:
        self._folder, self.connection, self._process = folder, connection, process
        self.pid = process.pid
        self._oom_before = _oom_kills()
        self._ended = False
        # The session is named by the kernel's pid, which nobody else can take before we have waited for it.
        self._watcher = subprocess.Popen(
            [sys.executable, "-I", "-S", str(_HERE / "_watcher.py"), str(process.pid), str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    @classmethod
    def start(cls, name: str = NATIVE, *, variables: Mapping[str, str], cwd: Path | None = None) -> Kernel:
        """Start a kernel; it boots while this returns.

        Args:
            name: name of the kernel.
            variables: environment variables it gets beside this process's own.
            cwd: folder it works in; this process's own when omitted.

        Raises:
            UnknownNameError: no kernel of that name is installed.
        """
        argv, own = command(name)
        folder = _private_folder()
        connection = _connection(folder, name)
        place = folder / "kernel.json"
        place.touch(mode=0o600)
        place.write_text(json.dumps(connection))
        environment = {
            **os.environ,
            **own,
            **variables,
            "JPY_PARENT_PID": str(os.getpid()),
            # A person's own start-up files and history have no part in a run.
            "IPYTHONDIR": str(folder / "ipython"),
            "PYDEVD_DISABLE_FILE_VALIDATION": "1",
        }
        if name in {"", NATIVE} and forking.ready():
            log_file = folder / "kernel.log"
            return cls(folder, connection, forking.kernel(place, environment=environment, cwd=cwd, log=log_file))
        with (folder / "kernel.log").open("wb") as log:
            process = subprocess.Popen(
                [part.replace("{connection_file}", str(place)) for part in argv],
                env=environment,
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return cls(folder, connection, process)

    @property
    def exit_status(self) -> int | None:
        """The exit code, negative for a signal; None while it lives."""
        return self._process.poll()

    @property
    def stopped(self) -> bool:
        """Whether the system holds the process still, as after SIGSTOP."""
        try:
            return Path(f"/proc/{self.pid}/stat").read_bytes().rpartition(b")")[2].split()[0] in {b"T", b"t"}
        except OSError:
            return False

    def signal(self, number: signal.Signals) -> None:
        """Signal the kernel; for an interrupt also what it started in its own group."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def death(self) -> str:
        """What the kernel died of, as a sentence for a person."""
        status = self.exit_status
        if status is None:
            return "the kernel is alive"
        if status >= 0:
            reason = f"the kernel ended by itself with exit code {status}"
        else:
            reason = f"the kernel was ended by {_signal_name(-status)}"
        if status == -signal.SIGKILL and _oom_kills() > self._oom_before:
            reason += "; the system killed a process of this group for want of memory at that time"
        return reason

    def last_words(self) -> str:
        """The end of what the process itself printed outside of the protocol, as on a failed start."""
        try:
            content = (self._folder / "kernel.log").read_bytes()[-_LOG_TAIL_BYTES:]
        except OSError:
            return ""
        return content.decode("utf-8", "replace").strip()

    def wait(self, seconds: float) -> bool:
        """Whether the kernel ended within ``seconds``."""
        try:
            self._process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def end(self, grace_seconds: float = 0.5) -> None:
        """End the kernel and everything in its session; nothing is left when this returns."""
        if self._ended:
            return
        self._ended = True
        end_session(self.pid, grace_seconds)
        # A killed process can still wait for a disk or a driver; the run's end must not wait with it.
        self.wait(5)
        assert self._watcher.stdin is not None
        with suppress(BrokenPipeError):
            self._watcher.stdin.write(b".")
            self._watcher.stdin.close()
        try:
            self._watcher.wait(timeout=2)
        except subprocess.TimeoutExpired:
            self._watcher.kill()
            self._watcher.wait()
        shutil.rmtree(self._folder, ignore_errors=True)


def _private_folder() -> Path:
    # mkdtemp makes it 0700: nobody else can connect to the sockets or read the key.
    for place in (os.environ.get("XDG_RUNTIME_DIR"), tempfile.gettempdir(), "/tmp"):  # noqa: S108 - mkdtemp's is safe
        if place and len(place) < _LONGEST_FOLDER - 20 and os.access(place, os.W_OK | os.X_OK):
            return Path(tempfile.mkdtemp(prefix="runbook-", dir=place))
    return Path(tempfile.mkdtemp(prefix="runbook-"))


def _connection(folder: Path, name: str) -> dict[str, Any]:
    names = ("shell_port", "iopub_port", "stdin_port", "hb_port", "control_port")
    return {
        "transport": "ipc",
        "ip": str(folder / "s"),
        "key": secrets.token_hex(32),
        "signature_scheme": "hmac-sha256",
        "kernel_name": name,
        **{port: number for number, port in enumerate(names, start=1)},
    }


def _signal_name(number: int) -> str:
    try:
        return f"signal {number} ({signal.Signals(number).name})"
    except ValueError:
        return f"signal {number}"


def _oom_kills() -> int:
    """How many processes of this control group the system has killed for want of memory; 0 where it does not say."""
    try:
        group = Path("/proc/self/cgroup").read_text(encoding="utf-8").rpartition("::")[2].strip()
        events = Path(f"/sys/fs/cgroup{group}/memory.events").read_text(encoding="utf-8")
        return int(dict(line.split() for line in events.splitlines())["oom_kill"])
    except (OSError, KeyError, ValueError):
        return 0
