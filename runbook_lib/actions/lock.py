"""One action a target at a time: a lock for liveness. Safety comes from the compare-and-set in the request itself."""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Callable
from pathlib import Path

from runbook_lib.errors import GuardError


def file_lock(folder: Path, target: str) -> Callable[[], None]:
    """Take the lock of a target among all runs of this archive; it falls when the process dies.

    Args:
        folder: where lock files are kept.
        target: what is about to be changed.

    Returns:
        A function that gives the lock back.

    Raises:
        GuardError: another run holds it.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    name = re.sub(r"[^A-Za-z0-9_.-]+", "_", target)
    descriptor = os.open(folder / f"{name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise GuardError(f"another run is changing {target} right now") from error
    return lambda: os.close(descriptor)
