"""The child that keeps a fault going: sessions of the database or the cache, as a batch job would hold them.

``python -m runbook_lib.lab.faults.hold --config FILE``. A session that somebody ends stays ended: the worker behind it
gives up, so that an investigator's remedy works. SIGTERM ends all sessions and cancels what they run.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from runbook_lib.lab.faults import cache_workers, database_workers

WORKERS = {**database_workers.WORKERS, **cache_workers.WORKERS}


def main() -> int:
    """Run until SIGTERM, or until every worker has ended."""
    parser = argparse.ArgumentParser(prog="python -m runbook_lib.lab.faults.hold", description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="JSON file written by the fault")
    config: dict[str, Any] = json.loads(parser.parse_args().config.read_text(encoding="utf-8"))
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    group = WORKERS[config["kind"]](config, ended)
    try:
        group.start()
        Path(config["ready"]).touch(mode=0o600)
        while group.alive and not ended.wait(0.2):
            pass
    finally:
        ended.set()
        group.close()
    sys.stdout.write("ended\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
