"""The payments service that ``api`` depends on: ``python -m runbook_lib.lab.service.payments --port P``.

``PUT /admin/delay`` with ``{"seconds": 1.5, "jitter_seconds": 0.2, "error_ratio": 0.0}`` makes it slow or failing.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

DEFAULT = {"seconds": 0.005, "jitter_seconds": 0.005, "error_ratio": 0.0}
# Longer than any client waits; a mistyped delay must not park requests for ever.
MAX_DELAY_SECONDS = 60.0


def create_app() -> Starlette:
    """The application, with its delay as state."""
    behaviour = dict(DEFAULT)

    async def quote(request: Request) -> JSONResponse:
        await asyncio.sleep(behaviour["seconds"] + random.random() * behaviour["jitter_seconds"])
        if random.random() < behaviour["error_ratio"]:
            return JSONResponse({"error": "payment provider failed"}, status_code=500)
        amount = request.query_params.get("amount_cents", "")
        if not amount.isdigit():
            return JSONResponse({"error": "amount_cents must be a whole number"}, status_code=400)
        return JSONResponse({"amount_cents": int(amount), "fee_cents": 30 + int(amount) * 29 // 1000})

    async def delay(request: Request) -> JSONResponse:
        if request.method == "PUT":
            problem = _update(behaviour, await request.body())
            if problem:
                return JSONResponse({"error": problem}, status_code=400)
        return JSONResponse(behaviour)

    async def health(_request: Request) -> JSONResponse:
        return JSONResponse({"status": "healthy"})

    return Starlette(
        routes=[
            Route("/quote", quote),
            Route("/admin/delay", delay, methods=["GET", "PUT"]),
            Route("/health", health),
        ]
    )


def _update(behaviour: dict[str, float], body: bytes) -> str:
    """Apply a change of behaviour; returns what is wrong with it, or an empty string."""
    try:
        given: Any = json.loads(body)
    except ValueError:
        return "the body is not JSON"
    if not isinstance(given, dict) or not given.keys() <= DEFAULT.keys():
        return f"allowed keys: {', '.join(DEFAULT)}"
    for key, value in given.items():
        limit = 1.0 if key == "error_ratio" else MAX_DELAY_SECONDS
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= limit:
            return f"{key} must be a number from 0 to {limit:g}"
    behaviour.update({key: float(value) for key, value in given.items()})
    return ""


def main(argv: list[str] | None = None) -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(prog="payments")
    parser.add_argument("--port", type=int, required=True)
    arguments = parser.parse_args(argv)
    uvicorn.run(create_app(), host="127.0.0.1", port=arguments.port, access_log=False, log_level="warning")


if __name__ == "__main__":
    main()
