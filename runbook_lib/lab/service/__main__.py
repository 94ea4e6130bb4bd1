"""``python -m runbook_lib.lab.service``: one container of ``api``, configured by its environment."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from types import FrameType

import uvicorn

from runbook_lib.errors import UsageError
from runbook_lib.lab.service.app import Api
from runbook_lib.lab.service.settings import Settings
from runbook_lib.lab.service.telemetry import log_to_stderr

LOG = logging.getLogger("api")


class DrainingServer(uvicorn.Server):
    """A server that goes on serving for a while after SIGTERM.

    Removing a pod from the Service and telling its process to end happen at the same time; a server that closes its
    socket at once refuses the requests that are still sent to it.
    """

    def __init__(self, config: uvicorn.Config, api: Api) -> None:
        super().__init__(config)
        self._api = api

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Called by the signal handler; a second signal ends at once."""
        if self._api.health.draining:
            super().handle_exit(sig, frame)
            return
        self._api.health.draining = True
        timer = threading.Timer(self._api.settings.drain_seconds, setattr, (self, "should_exit", True))
        timer.daemon = True
        timer.start()


def main() -> int:
    """Serve until a signal; returns the exit code."""
    log_to_stderr()
    try:
        settings = Settings.from_environment(os.environ)
    except UsageError as error:
        LOG.error("%s", error)  # noqa: TRY400 - the sentence is all there is to say
        return error.exit_code
    if settings.exit_after_seconds is not None:
        threading.Thread(target=_crash, args=(settings.exit_after_seconds,), daemon=True).start()
    api = Api(settings)
    config = uvicorn.Config(
        api.app(),
        host="127.0.0.1",
        port=settings.port,
        log_config=None,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=10,
        lifespan="on",
    )
    server = DrainingServer(config, api)
    server.run()
    return 0 if server.started else 1


def _crash(after_seconds: float) -> None:
    time.sleep(after_seconds)
    LOG.critical("panic: cannot load the pricing table")
    logging.shutdown()
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
