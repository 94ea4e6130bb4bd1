"""The ``api`` service's client of the payments service: one request, one deadline, no retry."""

from __future__ import annotations

import http.client
import json
from typing import Any
from urllib.parse import urlsplit


class DependencyError(Exception):
    """The dependency did not answer well."""


def quote(base_url: str, amount_cents: int, timeout_seconds: float) -> dict[str, Any]:
    """Ask payments for the fee of an amount.

    Args:
        base_url: root URL of the payments service.
        amount_cents: the amount.
        timeout_seconds: for connecting and for each read.

    Raises:
        DependencyError: no answer in time, or an answer that is not 200 with JSON.
    """
    parts = urlsplit(base_url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port or 80, timeout=timeout_seconds)
    try:
        connection.request("GET", f"{parts.path.rstrip('/')}/quote?amount_cents={amount_cents}")
        response = connection.getresponse()
        body = response.read()
    except (OSError, http.client.HTTPException) as error:
        raise DependencyError(f"payments: {error or type(error).__name__}") from error
    finally:
        connection.close()
    if response.status != 200:
        raise DependencyError(f"payments answered {response.status}")
    try:
        answer: dict[str, Any] = json.loads(body)
    except ValueError as error:
        raise DependencyError(f"payments answered no JSON: {error}") from error
    return answer
