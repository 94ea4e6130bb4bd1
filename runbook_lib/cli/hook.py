"""``runbook hook``: alerts start runs."""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from runbook_lib.cli.output import Json, columns, emit, line, log

if TYPE_CHECKING:
    from runbook_lib.hooks.queue import Job

app = typer.Typer(
    rich_markup_mode=None, no_args_is_help=True, help="Alerts start runs; an alert never applies anything."
)

Folder = Annotated[Path | None, typer.Option("--dir", help="Folder of the queue; default: .hook beside runbook.toml.")]


@app.command("serve")
def serve(
    config: Annotated[Path | None, typer.Option("--config", help="Default: hook.toml beside runbook.toml.")] = None,
    listen: Annotated[str, typer.Option(help="Host and port.")] = "127.0.0.1:9099",
    folder: Folder = None,
    archive: Annotated[
        str, typer.Option("--out", help="Archive; default: the catalogue's, or outputs beside it.")
    ] = "",
) -> None:
    """Receive alerts of Alertmanager, Grafana and PagerDuty until told to stop."""
    from runbook_lib import catalog
    from runbook_lib.headless import notebooks
    from runbook_lib.hooks import settings as tables
    from runbook_lib.hooks.dispatch import Dispatcher, Place
    from runbook_lib.hooks.notify import Teller
    from runbook_lib.hooks.queue import Queue
    from runbook_lib.hooks.server import Receiver
    from runbook_lib.record.folder import local_archive

    known = catalog.load()
    home = known.path.resolve().parent
    books = notebooks.names(home)
    settings = tables.load(config or home / tables.FILE_NAME, books, known)
    place = Place(_folder(folder), known.path.resolve(), str(local_archive(archive or known.archive)), books)
    queue = Queue(place.folder / "queue.sqlite")
    teller = Teller(queue, known)
    dispatcher = Dispatcher(queue, settings, place, teller.tell, spare=True)
    server = Receiver(_address(listen), settings, known, queue, dispatcher.wake)
    _until_told(server, dispatcher)
    teller.close()


@app.command("jobs")
def jobs(folder: Folder = None, as_json: Json = False) -> None:
    """What alerts have asked for, and what became of it."""
    from runbook_lib.hooks.queue import Queue

    found = Queue(_folder(folder) / "queue.sqlite").jobs()
    if as_json:
        emit({"jobs": [_plain(job) for job in found]})
        return
    rows = ((j.id, j.incident, j.kind, j.state, j.name, j.runbook, j.service, j.told or j.record) for j in found)
    columns(rows, ("JOB", "INCIDENT", "KIND", "STATE", "ALERT", "RUNBOOK", "SERVICE", "TOLD"))


def _until_told(server: Any, dispatcher: Any) -> None:
    """Serve until SIGTERM or SIGINT; what was begun goes on by itself."""
    told = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: told.set())
    threads = [
        threading.Thread(target=server.serve_forever, daemon=True),
        threading.Thread(target=dispatcher.work, daemon=True),
    ]
    for thread in threads:
        thread.start()
    host, port = server.server_address[:2]
    line(f"listening on http://{host}:{port}")
    sys.stdout.flush()
    while not told.wait(3600):
        continue
    server.shutdown()
    dispatcher.stop()
    threads[1].join(timeout=30)
    server.server_close()
    log("hook: stopped; runs that have begun go on")


def _address(text: str) -> tuple[str, int]:
    from runbook_lib.errors import UsageError

    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise UsageError(f"write host:port, such as 127.0.0.1:9099, not {text!r}")
    return host.strip("[]"), int(port)


def _folder(given: Path | None) -> Path:
    from runbook_lib import catalog

    return given.resolve() if given else catalog.find().resolve().parent / ".hook"


def _plain(job: Job) -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(job)
