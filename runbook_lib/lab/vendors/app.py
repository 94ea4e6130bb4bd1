"""The Starlette application of all vendors."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route

from runbook_lib.lab.vendors import datadog, exporter, github, grafana, pagerduty, registry, slack
from runbook_lib.lab.vendors.settings import Settings
from runbook_lib.lab.vendors.wire import Inbox, VendorError, refuse


def build(settings: Settings) -> Starlette:
    """Create the application.

    Besides the vendors' own paths it serves ``GET /ready`` and ``GET /lab/inbox?vendor=&kind=`` (everything the
    vendors were sent) for the lab and its tests.
    """
    inbox = Inbox(settings.directory / "vendors.jsonl")

    async def ready(_request: Request) -> Response:
        return JSONResponse({"status": "ready"})

    async def sent(request: Request) -> Response:
        parameters = request.query_params
        return JSONResponse(inbox.entries(parameters.get("vendor", ""), parameters.get("kind", "")))

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        yield
        inbox.close()

    routes = [
        Route("/ready", ready),
        Route("/lab/inbox", sent),
        Mount("/grafana", routes=grafana.routes(settings, inbox)),
        Mount("/datadog", routes=datadog.routes(settings, inbox)),
        Mount("/github", routes=github.routes(settings, inbox)),
        Mount("/slack", routes=slack.routes(settings, inbox)),
        Mount("/pagerduty", routes=pagerduty.routes(settings, inbox)),
        Mount("/registry", routes=registry.routes(settings)),
        Mount("/exporter", routes=exporter.routes(settings)),
    ]
    return Starlette(routes=routes, exception_handlers={VendorError: refuse}, lifespan=lifespan)
