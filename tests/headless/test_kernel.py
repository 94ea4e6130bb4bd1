"""The kernel's process: private, watched, and gone when it is ended."""

from __future__ import annotations

import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from runbook_lib.errors import UnknownNameError
from runbook_lib.headless._watcher import end_session, session_members
from runbook_lib.headless.channels import Channels
from runbook_lib.headless.kernel import Kernel, command

from .conftest import gone, wait_for


@pytest.fixture
def kernel() -> Iterator[Kernel]:
    """A kernel that booted."""
    started = Kernel.start(variables={"GREETING": "hello"})
    try:
        channels = Channels(started.connection)
        wait_for(lambda: channels.ask("kernel_info_request", {}) and list(channels.receive(0.3)))
        channels.close()
        yield started
    finally:
        started.end()


def test_a_kernel_is_reached_through_private_sockets_only(kernel: Kernel) -> None:
    """Nobody else can enter the sockets' folder, and nothing is left behind.

    One loopback port stays: ipykernel takes what forked children print on it, and believes only their random name.
    """
    folder = Path(kernel.connection["ip"]).parent
    assert 0o700 == stat.S_IMODE(folder.stat().st_mode)
    assert 0o600 == stat.S_IMODE((folder / "kernel.json").stat().st_mode)
    held = {str(one.readlink()) for one in Path(f"/proc/{kernel.pid}/fd").iterdir()}
    sockets = [line.split() for line in Path(f"/proc/{kernel.pid}/net/tcp").read_text().splitlines()[1:]]
    listening = [one[1].split(":")[0] for one in sockets if one[3] == "0A" and f"socket:[{one[9]}]" in held]
    assert ["0100007F"] == listening
    kernel.end()
    assert not folder.exists()
    assert gone(kernel.pid)
    assert "SIGTERM" in kernel.death()


def test_ending_takes_the_whole_session(tmp_path: Path) -> None:
    """A child that moved to a group of its own, or ignores being asked, is ended with the rest."""
    code = (
        "import os, signal, time\n"
        "for number in range(2):\n"
        "    if os.fork() == 0:\n"
        "        os.setpgid(0, 0) if number else signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "        time.sleep(300)\n"
        f"open({str(tmp_path / 'ready')!r}, 'w').write('1')\n"
        "time.sleep(300)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    wait_for((tmp_path / "ready").exists)
    members = wait_for(lambda: (found := session_members(process.pid)) and len(found) == 3 and found)
    end_session(process.pid, 0.3)
    process.wait(timeout=10)
    assert [] == session_members(process.pid)
    assert all(gone(pid) for pid in members)


def test_ending_a_stopped_session_does_not_wait_for_ever() -> None:
    """A process under SIGSTOP is continued, so that it can end."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"], start_new_session=True)
    process.send_signal(signal.SIGSTOP)
    end_session(process.pid, 0.3)
    assert process.wait(timeout=10) < 0


def test_a_kernel_that_cannot_start_says_why(tmp_path: Path) -> None:
    """What a broken kernel prints is told."""
    broken = Kernel.start(variables={"PYTHONHOME": str(tmp_path)})
    try:
        assert broken.wait(30)
        assert "exit code" in broken.death()
        assert "encodings" in broken.last_words()
    finally:
        broken.end()


def test_ending_twice_is_ending_once(kernel: Kernel) -> None:
    """Every way out may end the kernel."""
    kernel.end()
    began = time.monotonic()
    kernel.end()
    assert time.monotonic() - began < 1


def test_an_unknown_kernel_gives_the_known_ones() -> None:
    """A kernel that is not installed is a wrong name."""
    with pytest.raises(UnknownNameError, match="Did you mean 'python3'"):
        command("python")


def test_a_message_with_another_key_is_not_believed(kernel: Kernel) -> None:
    """Who does not know the key is neither heard nor answered."""
    stranger = Channels({**kernel.connection, "key": "0" * 64})
    try:
        for _ in range(3):
            stranger.ask("kernel_info_request", {})
            assert [] == [message for message in stranger.receive(0.3) if message.channel == "shell"]
    finally:
        stranger.close()
