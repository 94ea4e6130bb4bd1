"""The process of one target: takes the target's lock, runs the runbook, tells how it goes. Never applies anything."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from runbook_lib.errors import GuardError, RunbookError

#: Takes one message: ``{"record"}`` when it has begun, ``{"cell", "status"}`` as it goes, then ``{"result": {...}}``.
Tell = Callable[[Mapping[str, Any]], None]
TAKEN = "another fleet runs this runbook on this target right now"


def work(task: Mapping[str, Any], tell: Tell) -> int:
    """Run one target.

    Args:
        task: ``notebook``, ``parameters``, ``catalog`` (empty for none), ``archive`` (path or address) and ``lock``.
        tell: is told how it goes.

    Returns:
        Exit code of the run.
    """
    from runbook_lib.actions.lock import file_lock
    from runbook_lib.headless.runner import execute
    from runbook_lib.record.folder import local_archive

    if task["catalog"]:
        # What asks for the nearest one, such as an archive in a bucket, gets this one too, wherever the run is.
        os.environ["RUNBOOK_CATALOG"] = task["catalog"]
    try:
        release = file_lock(local_archive(task["archive"]) / "ledger" / "fleet", task["lock"])
    except GuardError:
        tell({"result": failure(4, TAKEN)})
        return 4
    try:
        done = execute(
            Path(task["notebook"]),
            task["parameters"],
            catalog=Path(task["catalog"]) if task["catalog"] else None,
            archive=task["archive"],
            progress=lambda cell, status: tell({"cell": cell, "status": status}),
            begun=lambda record: tell({"record": str(record)}),
        )
        told = done.to_json()
    except RunbookError as error:
        tell({"result": failure(error.exit_code, str(error)[:500])})
        return error.exit_code
    finally:
        release()
    tell({"result": {**summary(told), "exit_code": done.exit_code, "reason": done.reason, "record": str(done.record)}})
    return done.exit_code


def summary(told: Mapping[str, Any]) -> dict[str, Any]:
    """What the page over all targets shows of one record.

    Args:
        told: as ``runbook run --json`` prints it.
    """
    top: Mapping[str, Any] = next(iter(told["findings"]), {})
    return {
        "run_id": told["run_id"],
        "status": told["status"],
        "verdict": told["verdict"],
        "cause": top.get("cause", ""),
        "severity": top.get("severity", ""),
        "title": top.get("title", ""),
        "gaps": len(told["gaps"]),
    }


def failure(exit_code: int, reason: str) -> dict[str, Any]:
    """The result of a target that has no record."""
    nothing = {"run_id": "", "status": "", "verdict": "unknown", "cause": "", "severity": "", "title": "", "gaps": 0}
    return {**nothing, "exit_code": exit_code, "reason": reason, "record": ""}


def to_pipe(task: Mapping[str, Any], descriptor: int) -> int:
    """Run one target and write each message as a line of JSON to a descriptor."""

    def tell(message: Mapping[str, Any]) -> None:
        # Nobody listens any more when a worker is gone; the run's own end must still be written down as it was.
        with suppress(BrokenPipeError):
            os.write(descriptor, json.dumps(message).encode() + b"\n")

    return work(task, tell)


def main() -> int:
    """A process of its own: the task comes as JSON on standard input, messages go to standard output."""
    task = json.load(sys.stdin)
    out = os.dup(1)
    # Whatever else prints must not come between the messages.
    os.dup2(2, 1)
    return to_pipe(task, out)


if __name__ == "__main__":
    sys.exit(main())
