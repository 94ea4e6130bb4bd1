"""Starts ipykernel so that it cannot outlive the runner; run by its path, with the standard library and ipykernel only.

The kernel's Python need not be the runner's: nothing of this project is imported here.
"""

from __future__ import annotations

import asyncio
import ctypes
import importlib
import os
import runpy
import signal
import sys
import threading
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

_PR_SET_PDEATHSIG = 1
#: How an error that no cell saw reaches the runner.
LOST_ERROR = "application/vnd.runbook.lost-error+json"


def main() -> None:
    """Ask the system for SIGTERM when the runner dies, then become a kernel."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    # The runner may have died before that call, and a signal for it will then never come.
    if os.getppid() != int(os.environ["JPY_PARENT_PID"]):
        sys.exit(1)
    # The runner may ignore these (under nohup); a kernel must still be interruptible.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    tell_lost_errors()
    leave_debugger_out()
    preload(os.environ.get("RUNBOOK_PRELOAD", "").split(","))
    from ipykernel.kernelapp import IPKernelApp

    kernel: Any = IPKernelApp.instance()
    kernel.initialize()
    if os.environ.get("RUNBOOK_REPLAY"):
        # Only now: a kernel makes itself a local port, which is never used where nothing can connect.
        runpy.run_path(str(Path(__file__).with_name("offline.py")))["block"]()
    kernel.start()


def preload(modules: Iterable[str]) -> None:
    """Import what the runbook will need, while the runner still imports its own executor."""
    for name in modules:
        # What is missing here is missed by the cell that needs it, with its own error.
        with suppress(ImportError):
            if name:
                importlib.import_module(name)


def leave_debugger_out() -> None:
    """Import ipykernel's debugger as if debugpy were not installed: it costs half of a kernel's start, for nobody.

    A headless run has no front end that could debug; a cell that imports debugpy itself still finds it.
    """
    if "ipykernel.debugger" in sys.modules or "debugpy" in sys.modules:
        return
    sys.modules["debugpy"] = None  # type: ignore[assignment]
    try:
        with suppress(ImportError):
            importlib.import_module("ipykernel.debugger")
    finally:
        del sys.modules["debugpy"]


def tell_lost_errors() -> None:
    """Report errors that end a thread or a task unseen; by itself Python only prints them, and the cell succeeds."""
    in_thread, in_task = threading.excepthook, asyncio.BaseEventLoop.default_exception_handler

    def thread_failed(lost: threading.ExceptHookArgs) -> None:
        in_thread(lost)
        _tell(lost.exc_type.__name__, str(lost.exc_value), "thread")

    def task_failed(loop: asyncio.BaseEventLoop, context: dict[str, Any]) -> None:
        in_task(loop, context)
        error = context.get("exception")
        if error is not None:
            _tell(type(error).__name__, str(error), "task")

    threading.excepthook = thread_failed
    asyncio.BaseEventLoop.default_exception_handler = task_failed  # type: ignore[method-assign,assignment]


def _tell(name: str, value: str, where: str) -> None:
    from IPython.core.getipython import get_ipython

    shell = get_ipython()
    if shell is not None:
        error = {"name": name, "value": value, "where": where}
        shell.display_pub.publish({LOST_ERROR: error, "text/plain": f"lost in a {where}: {name}: {value}"})


if __name__ == "__main__":
    # Python put this file's folder in front; modules there must not shadow a notebook's imports.
    del sys.path[0]
    main()
