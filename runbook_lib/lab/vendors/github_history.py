"""The repository that the lab's GitHub shows: commits, tags and workflow runs, with the mess of a real one.

Times are relative to the start of the process. On purpose the newest run is not the one to deploy: it is a run on a
branch that still goes on, and the newest finished one is another workflow.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True)
class Commit:
    """One commit; ``age`` is the time from its creation to the start of the lab."""

    sha: str
    parent: str
    message: str
    author: str
    age: timedelta


@dataclass(frozen=True)
class WorkflowRun:
    """One run of a workflow; ``conclusion`` is None until it is completed."""

    id: int
    number: int
    workflow: str
    path: str
    branch: str
    event: str
    sha: str
    status: str
    conclusion: str | None
    age: timedelta
    duration: timedelta


_LOG = (
    # message, author, hours before the start, tag
    ("Serve orders from PostgreSQL", "maria", 30 * 24, ""),
    ("Cache products in Redis", "jon", 21 * 24, ""),
    ("Release v1", "maria", 20 * 24, "v1"),
    ("Add orders.note (expand)", "jon", 8 * 24, ""),
    ("Release v2", "maria", 7 * 24, "v2"),
    ("Price quotes in the request", "lee", 50, ""),
    ("Release v2-slow", "lee", 49, "v2-slow"),
    ("Raise on unknown currency", "lee", 40, ""),
    ("Release v2-errors", "lee", 39, "v2-errors"),
    ("Rename orders.total_cents (contract)", "lee", 37, ""),
    ("Release v4", "lee", 36, "v4"),
    ("Read the region from the environment", "jon", 30, ""),
    ("Release v2-crash", "jon", 29, "v2-crash"),
    ("Add orders.currency (expand)", "maria", 5, ""),
    ("Release v3", "maria", 4, "v3"),
    ("Document the order states", "lee", 1, ""),
)


def commits() -> list[Commit]:
    """All commits of main, oldest first."""
    made: list[Commit] = []
    for message, author, hours, _tag in _LOG:
        parent = made[-1].sha if made else ""
        sha = hashlib.sha1(f"{parent}\n{message}\n{author}".encode(), usedforsecurity=False).hexdigest()
        made.append(Commit(sha, parent, message, author, timedelta(hours=hours)))
    return made


def tags() -> dict[str, str]:
    """Tag -> sha of its commit, oldest first."""
    return {entry[3]: commit.sha for entry, commit in zip(_LOG, commits(), strict=True) if entry[3]}


def runs() -> list[WorkflowRun]:
    """All workflow runs, newest first."""
    by_tag, log = tags(), commits()
    head, docs = log[-1], log[-2]
    ci, site = ("CI", ".github/workflows/ci.yml"), ("Docs", ".github/workflows/docs.yml")
    minute = timedelta(minutes=1)
    ages = {commit.sha: commit.age for commit in log}
    rows: list[tuple[tuple[str, str], str, str, str, str | None, timedelta, timedelta]] = [
        (ci, tag, "push", sha, "success", ages[sha] - 2 * minute, 6 * minute) for tag, sha in by_tag.items()
    ]
    rows += [
        (ci, "fix-currency", "pull_request", log[-4].sha, "failure", 6 * 60 * minute, 4 * minute),
        (ci, "main", "push", docs.sha, "success", docs.age - 2 * minute, 6 * minute),
        (ci, "fix-currency", "pull_request", log[-3].sha, "cancelled", 3 * 60 * minute, minute),
        (site, "main", "push", head.sha, "success", 58 * minute, 2 * minute),
        (ci, "main", "push", head.sha, None, 3 * minute, timedelta()),
    ]
    rows.sort(key=lambda row: row[5], reverse=True)
    made = []
    for number, (workflow, branch, event, sha, conclusion, age, duration) in enumerate(rows, start=1):
        status = "completed" if conclusion else "in_progress"
        identity = 17_400_000_000 + number * 7_919
        made.append(WorkflowRun(identity, number, *workflow, branch, event, sha, status, conclusion, age, duration))
    return made[::-1]


def at(started: datetime, age: timedelta) -> str:
    """RFC 3339 text of the moment ``age`` before ``started``."""
    return (started - age).strftime("%Y-%m-%dT%H:%M:%SZ")
