"""One read from the metrics store, on the standard library alone: this process stays small."""

from __future__ import annotations

import http.client
import json
from typing import Any
from urllib.parse import urlencode, urlsplit

from runbook_lib.lab.vendors.wire import VendorError

TIMEOUT_SECONDS = 10.0


def fetch(base_url: str, path: str, *, query: str = "", method: str = "GET", body: bytes = b"") -> tuple[int, bytes]:
    """Send one request to the metrics store.

    Returns:
        Status code and body.

    Raises:
        VendorError: 502 in Grafana's proxy shape when the store does not answer.
    """
    parts = urlsplit(base_url)
    connection = http.client.HTTPConnection(parts.hostname or "127.0.0.1", parts.port, timeout=TIMEOUT_SECONDS)
    target = f"{parts.path.rstrip('/')}/{path.lstrip('/')}" + (f"?{query}" if query else "")
    headers = {"Content-Type": "application/x-www-form-urlencoded"} if body else {}
    try:
        connection.request(method, target, body=body or None, headers=headers)
        response = connection.getresponse()
        return response.status, response.read()
    except (OSError, http.client.HTTPException) as error:
        raise VendorError(502, {"message": f"bad gateway: {type(error).__name__}", "error": str(error)}) from error
    finally:
        connection.close()


def query_range(base_url: str, promql: str, start: float, end: float, step_seconds: float) -> list[dict[str, Any]]:
    """Evaluate PromQL over a time range.

    Args:
        base_url: the metrics store.
        promql: the expression.
        start: first evaluation time, seconds since the epoch.
        end: last evaluation time, seconds since the epoch.
        step_seconds: distance of the evaluation times.

    Returns:
        The ``result`` list of a matrix answer.

    Raises:
        VendorError: the store is down or refuses the expression.
    """
    parameters = urlencode({"query": promql, "start": start, "end": end, "step": step_seconds})
    status, answer = fetch(base_url, "/api/v1/query_range", query=parameters)
    if status != 200:
        raise VendorError(
            502, {"errors": [f"metrics store answered {status}: {answer[:300].decode(errors='replace')}"]}
        )
    result: list[dict[str, Any]] = json.loads(answer)["data"]["result"]
    return result
