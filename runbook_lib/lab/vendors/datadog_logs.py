"""Log search over the pods' real log files, with Datadog's search syntax.

A log collector reads files on the node; so does this one, newest file parts first and never more than a bounded tail.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from runbook_lib.lab.vendors import datadog_search

TAIL_BYTES = 512 * 1024
_RELATIVE = re.compile(r"now(?:-(\d+)([smhd]))?$")
_UNIT = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_STATUS = {"warning": "warn", "critical": "critical", "fatal": "critical", "exception": "error"}
_TIME_KEYS = ("timestamp", "time", "ts", "@timestamp")
_MESSAGE_KEYS = ("message", "msg", "event")


@dataclass(frozen=True)
class Line:
    """One log line; ``attributes`` are the further keys of a JSON line."""

    identity: str
    moment: datetime
    status: str
    service: str
    host: str
    message: str
    attributes: dict[str, Any]
    tags: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The event's object in a v2 search answer."""
        attributes = {
            "timestamp": self.moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "status": self.status,
            "service": self.service,
            "host": self.host,
            "message": self.message,
            "tags": list(self.tags),
            "attributes": self.attributes,
        }
        return {"id": self.identity, "type": "log", "attributes": attributes}


def moment(text: str | int, now: datetime) -> datetime:
    """A time in one of Datadog's forms: RFC 3339, milliseconds since the epoch, ``now`` or ``now-15m``."""
    if isinstance(text, int) or str(text).isdigit():
        return datetime.fromtimestamp(int(text) / 1000, UTC)
    if match := _RELATIVE.match(str(text)):
        return now - timedelta(**{_UNIT[match[2]]: int(match[1])}) if match[1] else now
    try:
        parsed = datetime.fromisoformat(str(text).replace("Z", "+00:00"))
    except ValueError:
        raise datadog_search.SearchError(f"invalid time {text!r}") from None
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)


def search(folders: tuple[Path, ...], query: str, start: datetime, end: datetime) -> list[Line]:
    """Lines in ``[start, end)`` that the query finds, newest first."""
    wanted = datadog_search.parse(query)
    found = [line for line in _lines(folders) if start <= line.moment < end and wanted(line)]
    return sorted(found, key=lambda line: (line.moment, line.identity), reverse=True)


def _lines(folders: tuple[Path, ...]) -> Iterator[Line]:
    for folder in folders:
        for path in sorted(folder.rglob("*.log")):
            yield from _file_lines(path)


def _file_lines(path: Path) -> Iterator[Line]:
    try:
        with path.open("rb") as file:
            size_bytes = path.stat().st_size
            file.seek(max(0, size_bytes - TAIL_BYTES))
            raw = file.read().decode(errors="replace").splitlines()
    except OSError:
        return  # removed between listing and reading: a pod that went away
    fallback = datetime.fromtimestamp(path.stat().st_mtime, UTC) if path.exists() else datetime.now(UTC)
    for number, text in enumerate(raw[1:] if size_bytes > TAIL_BYTES else raw):
        if text.strip():
            yield _line(path, number, text, fallback)


def _line(path: Path, number: int, text: str, fallback: datetime) -> Line:
    values = _json_or_empty(text)
    stamp = next((values.pop(key) for key in _TIME_KEYS if key in values), None)
    message = next((str(values.pop(key)) for key in _MESSAGE_KEYS if key in values), text)
    level = str(values.pop("level", "") or values.pop("status", "") or _guess_status(text)).casefold()
    namespace, pod, container = _place(path)
    return Line(
        identity=hashlib.sha256(f"{path}:{number}:{text}".encode()).hexdigest()[:32],
        moment=_stamp(stamp) or fallback,
        status=_STATUS.get(level, level),
        service=str(values.pop("service", "api")),
        host="lab-node",
        message=message,
        attributes=values,
        tags=(
            "env:production",
            f"kube_namespace:{namespace}",
            f"pod_name:{pod}",
            f"kube_container_name:{container}",
            "source:python",
        ),
    )


def _place(path: Path) -> tuple[str, str, str]:
    """Namespace, pod and container of a log file in a kubelet's layout, ``NAMESPACE_POD_UID/CONTAINER/N.log``."""
    namespace, _, rest = path.parent.parent.name.partition("_")
    return namespace, rest.partition("_")[0], path.parent.name


def _json_or_empty(text: str) -> dict[str, Any]:
    if not text.startswith("{"):
        return {}
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _stamp(value: Any) -> datetime | None:
    if isinstance(value, int | float):
        return datetime.fromtimestamp(float(value), UTC)
    try:
        parsed = datetime.fromisoformat(str(value).replace("Z", "+00:00"))
    except ValueError:
        return None
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)


def _guess_status(text: str) -> str:
    head = text[:200].casefold()
    return next((word for word in ("critical", "error", "exception", "warning") if word in head), "info")
