"""Container logs as the kubelet serves them."""

from __future__ import annotations

import contextlib
import json
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

_FOLLOW_SECONDS = 0.3


@dataclass(frozen=True)
class LogQuery:
    """The query of a log request.

    Args:
        tail_lines: how many of the last lines; None all.
        limit_bytes: most bytes; None no limit.
        since: oldest line; None no bound. Lines without a time of their own have that of the line before.
        follow: whether to go on while the container runs.
        previous: whether the container's run before this one is meant.
        timestamps: whether each line begins with its time.
    """

    tail_lines: int | None = None
    limit_bytes: int | None = None
    since: datetime | None = None
    follow: bool = False
    previous: bool = False
    timestamps: bool = False

    @classmethod
    def parse(cls, query: Mapping[str, str]) -> LogQuery:
        """Read the query.

        Raises:
            ValueError: a number is negative or none, or a time cannot be read.
        """
        since = datetime.fromisoformat(query["sinceTime"]) if "sinceTime" in query else None
        seconds = _whole(query, "sinceSeconds")
        if seconds is not None:
            since = datetime.fromtimestamp(time.time() - seconds, UTC)
        return cls(
            tail_lines=_whole(query, "tailLines"),
            limit_bytes=_whole(query, "limitBytes"),
            since=since,
            follow=query.get("follow") == "true",
            previous=query.get("previous") == "true",
            timestamps=query.get("timestamps") == "true",
        )


def stream(path: Path, query: LogQuery, growing: Callable[[], bool]) -> Iterator[bytes]:
    """Parts of a log file, each some whole lines.

    Args:
        path: the log file.
        query: what is asked.
        growing: whether the file may still grow.
    """
    left = query.limit_bytes
    with path.open("rb") as file:
        clock = _Clock(datetime.fromtimestamp(path.stat().st_ctime, UTC))
        lines: Iterator[bytes] | deque[bytes] = file
        if query.tail_lines is not None:
            lines = deque(file, maxlen=query.tail_lines)
        while True:
            data = b"".join(clock.shown(line, query) for line in lines)
            if left is not None:
                data = data[:left]
                left -= len(data)
            if data:
                yield data
            if not query.follow or left == 0:
                return
            last = not growing()  # asked before reading, so that the last lines are not lost
            lines = iter(file.readlines())
            if last:
                query = LogQuery(None, left, query.since, False, query.previous, query.timestamps)
            else:
                time.sleep(_FOLLOW_SECONDS)


class _Clock:
    """The time of each line: its own when it is a JSON object with ``ts``, else that of the line before."""

    def __init__(self, start: datetime) -> None:
        self._now = start

    def shown(self, line: bytes, query: LogQuery) -> bytes:
        if query.since is None and not query.timestamps:
            return line
        if line.startswith(b"{"):
            with contextlib.suppress(ValueError, KeyError, TypeError):
                self._now = datetime.fromisoformat(json.loads(line)["ts"])
        if query.since is not None and self._now < query.since:
            return b""
        stamp = self._now.strftime("%Y-%m-%dT%H:%M:%S.%fZ ").encode() if query.timestamps else b""
        return stamp + line


def _whole(query: Mapping[str, str], name: str) -> int | None:
    if name not in query:
        return None
    if not query[name].isdigit():
        raise ValueError(f"{name} must be a whole number, not {query[name]!r}")
    return int(query[name])
