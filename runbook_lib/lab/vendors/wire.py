"""What all vendor endpoints share: refusals in the vendor's shape, JSON bodies, and the memory of what was sent."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

MAX_BODY_BYTES = 4 * 1024 * 1024


class VendorError(Exception):
    """A request that the vendor would refuse.

    Args:
        status: HTTP status code.
        body: the vendor's error body; text is sent as text/plain, everything else as JSON.
        headers: extra response headers.
    """

    def __init__(self, status: int, body: Any, headers: Mapping[str, str] | None = None) -> None:
        self.status, self.body, self.headers = status, body, dict(headers or {})
        super().__init__(f"{status}: {body}")


async def refuse(_request: Request, error: Exception) -> Response:
    """Turn a ``VendorError`` into its HTTP answer."""
    if not isinstance(error, VendorError):
        raise error
    if isinstance(error.body, str):
        return Response(error.body, error.status, error.headers, media_type="text/plain")
    return JSONResponse(error.body, error.status, error.headers)


async def body_bytes(request: Request) -> bytes:
    """The request's body, refused above ``MAX_BODY_BYTES``."""
    data = b""
    async for chunk in request.stream():
        data += chunk
        if len(data) > MAX_BODY_BYTES:
            raise VendorError(413, {"message": f"body is larger than {MAX_BODY_BYTES} bytes"})
    return data


async def json_object(request: Request, invalid: VendorError) -> dict[str, Any]:
    """The request's body as a JSON object; raises ``invalid`` when it is anything else."""
    try:
        value = json.loads(await body_bytes(request))
    except ValueError:
        raise invalid from None
    if not isinstance(value, dict):
        raise invalid
    return value


def bearer(request: Request, scheme: str = "Bearer") -> str:
    """The credential of the Authorization header, or an empty string."""
    given, _, credential = request.headers.get("authorization", "").partition(" ")
    return credential.strip() if given.casefold() == scheme.casefold() else ""


def rfc3339(moment: datetime) -> str:
    """A UTC time as most vendors print it, to the second."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Inbox:
    """Keeps what the vendors were sent, in memory and as one JSON line each in ``vendors.jsonl`` (0600).

    Bodies only: headers are never kept, since they carry the credentials.
    """

    def __init__(self, path: Path) -> None:
        self._entries: list[dict[str, Any]] = []
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def add(self, vendor: str, kind: str, data: Any) -> int:
        """Keep one message.

        Args:
            vendor: prefix of the vendor, such as ``"slack"``.
            kind: the vendor's word for the message, such as ``"chat.postMessage"``.
            data: the decoded body.

        Returns:
            Its number, counted from 1 over all vendors.
        """
        entry = {
            "number": len(self._entries) + 1,
            "received": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "vendor": vendor,
            "kind": kind,
            "data": data,
        }
        self._entries.append(entry)
        os.write(self._file, json.dumps(entry, ensure_ascii=False).encode() + b"\n")
        return len(self._entries)

    def entries(self, vendor: str = "", kind: str = "") -> list[dict[str, Any]]:
        """Messages in the order of their arrival, all of them or one vendor's or one kind's."""
        return [
            entry
            for entry in self._entries
            if (not vendor or entry["vendor"] == vendor) and (not kind or entry["kind"] == kind)
        ]

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)
