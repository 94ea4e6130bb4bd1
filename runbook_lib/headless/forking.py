"""Processes forked from one that has imported everything already: a run then starts in milliseconds.

A fork copies the parent's memory, so each child is put into the state of a fresh process before anything of its own
happens: its own session, environment, folder, streams, signals, random numbers and exit functions, and none of the
parent's open files. The parent must be quiet: one Python thread, no event loop, no ZMQ context. Linux only; elsewhere
system libraries do not survive a fork, and processes are started anew.
"""

from __future__ import annotations

import ast
import atexit
import gc
import importlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
import traceback
import weakref
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

#: Whether this system can fork such children.
AVAILABLE = sys.platform == "linux"
# What every run imports, in the runner and in the kernel, most of it behind functions.
_MODULES = (
    "nbformat",
    "papermill.execute",
    "runbook_lib.headless.engine",
    "runbook_lib.headless._kernel",
    "runbook_lib.run",
    "runbook_lib.run.systems",
    "runbook_lib.charts",
    "runbook_lib.record.seal",
    "ipykernel.kernelapp",
    "ipykernel.ipkernel",
    "ipykernel.zmqshell",
    "tornado.platform.asyncio",
    "IPython.core.completerlib",
    "IPython.core.oinspect",
)
#: What a notebook may import beforehand: known to start no thread, loop or connection when imported.
QUIET = frozenset({"httpx", "kubernetes", "numpy", "pandas", "plotly", "psycopg", "redis", "runbook_lib", "yaml"})
_prepared = False


def prepare(modules: Iterable[str] = ()) -> bool:
    """Import what runs need, once, in the process that will fork them.

    Args:
        modules: more modules, such as ``imports_of`` a notebook; what is missing is left to the cell that needs it.

    Returns:
        Whether this process can fork runs now.
    """
    global _prepared  # noqa: PLW0603 - a property of the process
    from runbook_lib.headless.lean import without_grammar
    from runbook_lib.record.views import prepare as prepare_pages

    with without_grammar():
        for name in (*_MODULES, *modules):
            with suppress(ImportError):
                importlib.import_module(name)
    sys.modules["runbook_lib.headless._kernel"].leave_debugger_out()
    prepare_pages()
    _validators()
    gc.collect()
    # What is there now lives as long as the process; a collection in a child must not copy its pages.
    gc.freeze()
    _prepared = AVAILABLE and threading.active_count() == 1
    return _prepared


def _validators() -> None:
    """Compile nbformat's checks of a notebook and of a cell, which takes a tenth of a second."""
    from nbformat import reads
    from nbformat.v4 import new_code_cell

    reads('{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}', as_version=4)  # type: ignore[no-untyped-call]
    new_code_cell("")  # type: ignore[no-untyped-call]


def ready() -> bool:
    """Whether ``prepare`` was called in this process or the one it was forked from, and no thread was begun since."""
    return _prepared and threading.active_count() == 1


def imports_of(sources: Iterable[str]) -> list[str]:
    """The modules that cells import and that are quiet when imported.

    Args:
        sources: the texts of code cells; one that is not Python alone (a magic, say) is passed over.
    """
    found: dict[str, None] = {}
    for source in sources:
        with suppress(SyntaxError, ValueError):
            for node in ast.walk(ast.parse(source)):
                if isinstance(node, ast.Import):
                    found.update(dict.fromkeys(alias.name for alias in node.names))
                elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                    found.update(dict.fromkeys([node.module, *(f"{node.module}.{one.name}" for one in node.names)]))
    return [name for name in found if name.partition(".")[0] in QUIET]


class Forked:
    """A forked child, with the part of ``subprocess.Popen`` that is used of one.

    Args:
        pid: its process id, which is also its session's and group's.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while it lives."""
        if self.returncode is None:
            try:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
            except ChildProcessError:
                # Somebody else waited for it; how it ended is lost.
                self.returncode = 0
            else:
                self.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end.

        Args:
            timeout: seconds; None waits as long as it takes.

        Raises:
            subprocess.TimeoutExpired: it is still alive after that time.
        """
        limit, pause = time.monotonic() + timeout if timeout is not None else float("inf"), 0.0005
        while (code := self.poll()) is None:
            if time.monotonic() > limit:
                raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0)
            time.sleep(pause)
            pause = min(2 * pause, 0.02)
        return code


def fork(
    what: Callable[[], int],
    *,
    environment: Mapping[str, str],
    cwd: Path | None,
    log: Path,
    keep: tuple[int, ...] = (),
) -> Forked:
    """Do something in a child that is as good as freshly started; returns once it is in its own session.

    Args:
        what: is called in the child; its result is the exit code.
        environment: the child's whole environment.
        cwd: folder it works in; this process's own when omitted.
        log: file that its standard output and error go to, beyond what ``what`` does with them.
        keep: descriptors that stay open in the child.

    Raises:
        RuntimeError: this process is not fit for it, see ``ready``.
    """
    if not ready():
        raise RuntimeError("call forking.prepare() first, in a process with one thread")
    sys.stdout.flush()
    sys.stderr.flush()
    settled, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        _child(what, environment, cwd, log, keep, tell)
    os.close(tell)
    # A child outside of its session could not be signalled as a group yet. The pipe ends when the child says so.
    os.read(settled, 1)
    os.close(settled)
    return Forked(pid)


def kernel(connection_file: Path, *, environment: Mapping[str, str], cwd: Path | None, log: Path) -> Forked:
    """Fork an IPython kernel.

    Args:
        connection_file: its Jupyter connection file.
        environment: its whole environment.
        cwd: folder it works in; this process's own when omitted.
        log: file that its standard output and error go to outside of the protocol.
    """

    def run() -> int:
        from runbook_lib.headless import _kernel

        sys.argv = [_kernel.__file__, "-f", str(connection_file)]
        _kernel.main()
        return 0

    return fork(run, environment=environment, cwd=cwd, log=log)


def _child(
    what: Callable[[], int],
    environment: Mapping[str, str],
    cwd: Path | None,
    log: Path,
    keep: tuple[int, ...],
    tell: int,
) -> NoReturn:
    code = 1
    try:
        os.setsid()
        _streams(log, {*keep, tell})
        _signals()
        _forget()
        os.environ.clear()
        os.environ.update(environment)
        time.tzset()
        if cwd is not None:
            os.chdir(cwd)
        os.close(tell)
        code = what()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:  # noqa: BLE001 - nothing may come back into the copy of the parent's work
        traceback.print_exc()
    _leave(code)


def _streams(log: Path, keep: set[int]) -> None:
    """Standard streams of its own; every other descriptor leads nowhere."""
    nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    own = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    for number, target in ((0, nothing), (1, own), (2, own)):
        os.dup2(target, number)
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - the listing's own descriptor is among them
        number = int(name)
        # Not closed: an object of the parent that still names the number would close whatever took it over.
        if number > 2 and number not in keep:
            with suppress(OSError):
                os.fstat(number)
                os.dup2(nothing, number, inheritable=False)
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        stream = open(number, mode, encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def _signals() -> None:
    """Handlers as at the start of a program: what was ignored stays ignored."""
    signal.set_wakeup_fd(-1)
    signal.setitimer(signal.ITIMER_REAL, 0)
    for number in signal.valid_signals():
        with suppress(OSError, ValueError):
            if callable(signal.getsignal(number)):
                signal.signal(number, signal.SIG_DFL)
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _forget() -> None:
    """Drop what the parent meant to do at its own end, and its random numbers."""
    atexit._clear()
    registry: Any = weakref.finalize
    registry._registry.clear()
    registry._registered_with_atexit = False
    for module, function in (("logging", "shutdown"), ("multiprocessing.util", "_exit_function")):
        if module in sys.modules:
            atexit.register(getattr(sys.modules[module], function))
    if "multiprocessing.util" in sys.modules:
        sys.modules["multiprocessing.util"]._finalizer_registry.clear()
    random.seed()
    if "numpy" in sys.modules:
        # numpy's old generator is one for the whole process, and a fork copies it with its state.
        sys.modules["numpy"].random.seed()
    # A folder of the parent's program is no place that a notebook imports from.
    script = str(Path(sys.argv[0]).resolve().parent) if sys.argv and sys.argv[0] not in {"", "-c", "-m"} else ""
    if sys.path and sys.path[0] in {"", script}:
        del sys.path[0]


def _leave(code: int) -> NoReturn:
    """End as an interpreter does, without unwinding the parent's frames."""
    with suppress(BaseException):
        threads: Any = threading
        threads._shutdown()
    with suppress(BaseException):
        atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(BaseException):
            stream.flush()
    os._exit(code & 0xFF)
