"""``runbook warm``: a process that has imported everything, so that the next run begins at once."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import Annotated

import typer

from runbook_lib.cli.output import line

app = typer.Typer(rich_markup_mode=None)
_START_SECONDS = 120.0


@app.command("warm")
def warm(
    idle_minutes: Annotated[float, typer.Option(help="It ends by itself after so long without a run.")] = 30,
    foreground: Annotated[bool, typer.Option("--foreground", help="Stay in this terminal.")] = False,
    stop: Annotated[bool, typer.Option("--stop", help="End it.")] = False,
) -> None:
    """Import everything once and wait: runs of this user then begin at once. Linux only; never needed."""
    from runbook_lib.errors import UsageError
    from runbook_lib.headless import forking
    from runbook_lib.headless import warm as waiting

    if not forking.AVAILABLE:
        raise UsageError("a prepared process needs fork as Linux has it; runs start as always without it")
    if stop:
        line("stopped" if waiting.stop() else "nothing was waiting")
        return
    found = waiting.connect()
    if found is not None:
        found.close()
        line("waiting already")
        return
    if foreground:
        from runbook_lib.cli import main

        waiting.serve(main, idle_seconds=60 * idle_minutes)
        return
    command = [sys.executable, "-m", "runbook_lib.cli.warm", str(idle_minutes)]
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    limit = time.monotonic() + _START_SECONDS
    while (found := waiting.connect()) is None:
        if process.poll() is not None or time.monotonic() > limit:
            raise UsageError("the waiting process did not start; see what it says with: runbook warm --foreground")
        time.sleep(0.05)
    found.close()
    line(f"waiting as process {process.pid}; it ends after {idle_minutes:g} minutes without a run")


if __name__ == "__main__":
    from runbook_lib.cli import main as command_line
    from runbook_lib.headless.warm import serve

    serve(command_line, idle_seconds=60 * float(sys.argv[1]))
