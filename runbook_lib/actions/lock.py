"""One action a target at a time: a lock for liveness. Safety comes from the compare-and-set in the request itself."""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from runbook_lib.errors import ActionError, GuardError
from runbook_lib.model import Gap, GuardResult

if TYPE_CHECKING:
    from runbook_lib.clients.kubernetes import KubernetesClient

#: How long a lease of the cluster holds, seconds: the longest action (a Helm operation, 120 s) and its last reading.
LEASE_SECONDS = 180
_GROUP = "coordination.k8s.io"


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


def cluster_lease(
    kubernetes: KubernetesClient, service: str, *, holder: str, seconds: int = LEASE_SECONDS
) -> tuple[GuardResult, Callable[[], None]]:
    """Take the service's lease in its cluster, which runs of other archives and machines respect too.

    Args:
        kubernetes: the cluster.
        service: whose workload is about to be changed.
        holder: who takes it, for those who find it taken.
        seconds: how long it holds; there is no renewal, for an action is one request.

    Returns:
        What came of it, and a function that gives the lease back. Where leases may not be written, the lock of the
        archive is all there is, and the result says so.

    Raises:
        GuardError: another run holds it, or it cannot be told.
    """
    for verb in ("create", "update"):
        found = kubernetes.can(verb, group=_GROUP, resource="leases")
        if isinstance(found, Gap) or not found.document.get("allowed"):
            reason = found.reason if isinstance(found, Gap) else f"{verb} leases is not allowed"
            told = f"by the archive's own lock alone: {reason}"
            return GuardResult("nobody else acts on it", True, told), lambda: None
    name = f"runbook-{re.sub(r'[^a-z0-9]+', '-', service.casefold()).strip('-')[:200]}"
    try:
        version = kubernetes.acquire_lease(name, holder=holder, seconds=seconds)
    except ActionError as error:
        raise GuardError(f"nobody else acts on it: {error}") from error

    def release() -> None:
        try:
            kubernetes.release_lease(name, resource_version=version)
        except ActionError:
            # It has expired and changed hands, or expires by itself.
            return

    return GuardResult("nobody else acts on it", True, f"by lease {name} for {seconds} s"), release
