"""Serve the vendor endpoints on loopback until SIGTERM."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import uvicorn

from runbook_lib.lab.vendors import app, settings


def main() -> None:
    """Read the configuration and serve it."""
    parser = argparse.ArgumentParser(prog="python -m runbook_lib.lab.vendors", description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="JSON file, see vendors/settings.py")
    chosen = settings.load(parser.parse_args().config)
    os.umask(0o077)
    uvicorn.run(app.build(chosen), host="127.0.0.1", port=chosen.port, log_level="warning", access_log=False)


if __name__ == "__main__":
    main()
