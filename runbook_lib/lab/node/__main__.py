"""``python -m runbook_lib.lab.node``: run the node agent until SIGTERM."""

from __future__ import annotations

import argparse
import gc
import logging
import signal
import sys
from pathlib import Path

from runbook_lib.errors import RunbookError
from runbook_lib.lab.node.agent import Agent
from runbook_lib.lab.node.api import KubeApi

# The throttle's thread must get the interpreter within a fraction of its shortest period.
_SWITCH_SECONDS = 0.001


def main(argv: list[str] | None = None) -> int:
    """Parse the arguments and work; returns the exit code."""
    parser = argparse.ArgumentParser(prog="node", description="A Kubernetes node whose containers are local processes.")
    parser.add_argument("--kubeconfig", type=Path, required=True, help="kubeconfig of the API server")
    parser.add_argument("--name", default="lab-node", help="name of the node")
    parser.add_argument("--port", type=int, required=True, help="port of logs, metrics and usage")
    parser.add_argument("--balancer-port", type=int, required=True, help="fixed port of the Service")
    parser.add_argument("--dir", type=Path, required=True, help="folder of logs")
    parser.add_argument("--service", default="production/api", help="namespace/name of the balanced Service")
    parser.add_argument("--callers", type=Path, help="client certificate of the API server, which may run commands")
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    sys.setswitchinterval(_SWITCH_SECONDS)
    try:
        agent = Agent(
            KubeApi(arguments.kubeconfig),
            arguments.name,
            arguments.port,
            arguments.balancer_port,
            arguments.dir.resolve(),
            arguments.service,
            arguments.callers,
        )
    except (RunbookError, OSError) as error:
        logging.getLogger("node").error("%s", error)  # noqa: TRY400 - the sentence is all there is to say
        return 1
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: agent.stop())
    gc.freeze()
    agent.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
