"""Run the control plane: ``python -m runbook_lib.lab.controlplane --port PORT --dir DIR``."""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import logging
import os
import secrets
import sys
from pathlib import Path

from uvicorn import Config, Server

from runbook_lib.lab.controlplane.access import read_tokens
from runbook_lib.lab.controlplane.cluster import Cluster
from runbook_lib.lab.controlplane.listener import Listener, context_in
from runbook_lib.lab.controlplane.store import HISTORY_EVENTS

ADMIN_GROUP = "system:masters"


def main(argv: list[str] | None = None) -> int:
    """Serve until a signal ends it; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="runbook_lib.lab.controlplane", description="Kubernetes API server of the lab"
    )
    parser.add_argument("--port", type=int, required=True, help="TCP port on 127.0.0.1; 0 takes a free one")
    parser.add_argument("--dir", type=Path, required=True, help="folder for tokens.csv and admin.kubeconfig")
    parser.add_argument("--token-file", type=Path, help="users; default DIR/tokens.csv")
    parser.add_argument("--no-controllers", action="store_true", help="serve objects only; nothing acts on them")
    parser.add_argument(
        "--history-events", type=int, default=HISTORY_EVENTS, help="changes that a watch can start behind"
    )
    arguments = parser.parse_args(argv)
    directory: Path = arguments.dir
    directory.mkdir(parents=True, mode=0o700, exist_ok=True)
    token_file: Path = arguments.token_file or directory / "tokens.csv"
    if not token_file.exists():
        write_private(token_file, f'{secrets.token_hex(16)},admin,admin,"{ADMIN_GROUP}"\n')
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    cluster = Cluster(read_tokens(token_file), arguments.history_events)
    audit = (directory / "audit.jsonl").open("a", encoding="utf-8", buffering=1)
    cluster.server.audit = lambda line: audit.write(f"{line}\n")
    return asyncio.run(serve(cluster, arguments.port, directory, controllers=not arguments.no_controllers))


async def serve(cluster: Cluster, port: int, directory: Path, *, controllers: bool = True) -> int:
    """Serve on a loopback port until a signal ends it."""
    tokens = cluster.server.tokens
    config = Config(
        cluster.server,
        log_level="warning",
        access_log=False,
        lifespan="off",
        server_header=False,
        timeout_graceful_shutdown=1,
        timeout_keep_alive=60,
    )
    server = Server(config)
    context, authority = context_in(directory, write_private)
    config.load()
    listener = Listener(server, config, context, port)
    address = f"https://127.0.0.1:{listener.port}"
    admin = next((token for token, user in tokens.items() if ADMIN_GROUP in user.groups), "")
    write_private(directory / "admin.kubeconfig", kubeconfig(address, admin, authority))
    if controllers:
        cluster.runner.start()
    # The HTTP server gets no sockets: the listener hands it the connections.
    task = asyncio.create_task(server.serve(sockets=[]))
    while not server.started and not task.done():
        await asyncio.sleep(0.005)
    listener.start()
    sys.stdout.write(f"ready {address}\n")
    sys.stdout.flush()
    await task
    listener.close()
    await cluster.runner.stop()
    return 0


def kubeconfig(server: str, token: str, authority: str, namespace: str = "default") -> str:
    """A kubeconfig for one user, as JSON, which every client reads.

    Args:
        server: address of the API.
        token: the user's bearer token.
        authority: certificate to trust, PEM.
        namespace: where commands go that name none.
    """
    trust = base64.b64encode(authority.encode()).decode()
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "lab",
            "preferences": {},
            "clusters": [{"name": "lab", "cluster": {"server": server, "certificate-authority-data": trust}}],
            "users": [{"name": "user", "user": {"token": token}}],
            "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "user", "namespace": namespace}}],
        }
    )


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)


if __name__ == "__main__":
    raise SystemExit(main())
