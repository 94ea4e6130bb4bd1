"""The process of one job: claims it, runs the runbook, writes down how it ended. Never applies anything."""

from __future__ import annotations

import fcntl
import json
import os
import sys
from pathlib import Path
from typing import Any

from runbook_lib.errors import RunbookError

#: What the claim of a job says from the moment before its run begins.
BEGUN = b"begun\n"


def claim(path: Path) -> int | None:
    """Take the claim of a job; None when another process holds it. It falls when the process ends, however it ends."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def begun(path: Path) -> bool:
    """Whether the run of a claim has begun."""
    try:
        return path.read_bytes() == BEGUN
    except FileNotFoundError:
        return False


def work(folder: Path, job: str) -> int:
    """Do a job, unless another process does it or has begun it.

    Args:
        folder: where jobs, claims and results lie.
        job: key of the job.

    Returns:
        Exit code of the run; 0 when there was nothing to do.
    """
    held = claim(folder / f"{job}.claim")
    if held is None or begun(folder / f"{job}.claim"):
        return 0
    what: dict[str, Any] = json.loads((folder / f"{job}.json").read_text(encoding="utf-8"))
    os.write(held, BEGUN)
    os.fsync(held)
    result = _run(what)
    temporary = folder / f"{job}.result.tmp"
    temporary.write_text(json.dumps(result), encoding="utf-8")
    temporary.replace(folder / f"{job}.result")
    return int(result["exit_code"])


def _run(what: dict[str, Any]) -> dict[str, Any]:
    from runbook_lib.headless.runner import execute

    try:
        done = execute(
            Path(what["notebook"]),
            what["parameters"],
            environment=what["environment"],
            catalog=Path(what["catalog"]),
            archive=what["archive"],
            alert=what["alert"],
            watch_parent=False,
        )
        told = done.to_json()
    except RunbookError as error:
        return {"exit_code": error.exit_code, "record": "", "verdict": "unknown", "told": str(error)[:500]}
    top = next((finding["title"] for finding in told["findings"]), done.reason or str(done.status))
    return {"exit_code": done.exit_code, "record": str(done.record), "verdict": done.verdict, "told": top}


def wait(folder: Path) -> int:
    """Get ready, wait for the key of a job on stdin, and do it; without one there is nothing to do.

    Args:
        folder: where jobs, claims and results lie.
    """
    from runbook_lib.headless.runner import prepare

    prepare()
    key = sys.stdin.readline().strip()
    return work(folder, key) if key else 0


if __name__ == "__main__":
    sys.exit(wait(Path(sys.argv[1])))
