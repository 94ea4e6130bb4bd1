"""``python -m runbook_lib.lab.metrics --port P --config FILE``: the metrics store as a process."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from pathlib import Path

from runbook_lib.errors import LabError


def main(arguments: list[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT.

    Returns:
        0 after a signal, 1 when the store could not start; the reason is on standard error.
    """
    parser = argparse.ArgumentParser(prog="runbook_lib.lab.metrics", description="the lab's metrics store")
    parser.add_argument("--port", type=int, required=True, help="loopback port to listen on")
    parser.add_argument("--config", type=Path, required=True, help="configuration file (JSON)")
    parser.add_argument("--prometheus", default="", help="path of a real prometheus to run in place of the store")
    parser.add_argument("--data", type=Path, help="folder for the data of a real prometheus")
    options = parser.parse_args(arguments)
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    try:
        if options.prometheus:
            from runbook_lib.lab.metrics.prometheus import run

            return run(Path(options.prometheus), options.config, options.port, options.data, stopped)
        from runbook_lib.lab.metrics.server import MetricsServer

        server = MetricsServer(options.config, options.port)
    except (LabError, OSError) as error:
        sys.stderr.write(f"metrics store: {error}\n")
        return 1
    server.start()
    stopped.wait()
    server.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
