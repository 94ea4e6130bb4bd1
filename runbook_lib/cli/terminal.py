"""The terminal of a person: steps as they run, a line that moves while one waits; plain lines anywhere else."""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from runbook_lib.cli.output import line, log
from runbook_lib.model.times import duration

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

SIGNS = {"ok": "✓", "error": "✕", "not_run": "·"}
#: Severity, verdict or status to the style of its word; the word itself is always there too.
STYLES = {
    "critical": "bold red",
    "failing": "bold red",
    "error": "bold red",
    "warning": "bold yellow",
    "degraded": "bold yellow",
    "refused": "bold yellow",
    "unknown": "bold magenta",
    "healthy": "bold green",
    "applied": "bold green",
    "held": "bold green",
    "ok": "green",
}
_DRAW_SECONDS = 0.2
_TURN = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"


def is_terminal(stream: TextIO) -> bool:
    """Whether a person reads this stream as it is written, on a terminal that can move its cursor."""
    return stream.isatty() and os.environ.get("TERM", "dumb") != "dumb"


def say(word: str, level: str, rest: str = "") -> None:
    """Write a line to stdout whose first word is styled by its level on a terminal."""
    if not is_terminal(sys.stdout):
        line(word + rest)
        return
    from rich.console import Console
    from rich.text import Text

    text = Text.assemble((word, STYLES.get(level.strip(), "bold")), rest)
    Console().print(text, soft_wrap=True, highlight=False)


class Moving:
    """A line on stderr that says what goes on, for how long, and what is newest; only made on a terminal.

    Args:
        what: goes on.
        newest: what to show behind it; asked five times a second, in another thread.
    """

    def __init__(self, what: str, newest: Callable[[], str] = str) -> None:
        self._what, self._newest = what, newest
        self._began = time.monotonic()
        self._stop = threading.Event()
        self._drawer = threading.Thread(target=self._draw, daemon=True)
        self._drawer.start()

    def stop(self) -> float:
        """Take the line back; returns for how long it went on, seconds."""
        self._stop.set()
        self._drawer.join(2)
        return time.monotonic() - self._began

    def _draw(self) -> None:
        turn = 0
        while not self._stop.wait(_DRAW_SECONDS):
            seconds = int(time.monotonic() - self._began)
            passed = duration(seconds) if seconds else "0 s"
            text = f"  {_TURN[turn % len(_TURN)]} {self._what} {passed}  {self._newest()}"
            # One column stays free: a full line would wrap, and could not be taken back.
            sys.stderr.write(f"\r\x1b[2K{text[: shutil.get_terminal_size().columns - 1]}")
            sys.stderr.flush()
            turn += 1
        sys.stderr.write("\r\x1b[2K")
        sys.stderr.flush()


@contextmanager
def waiting(what: str, newest: Callable[[], str] = str) -> Iterator[None]:
    """Show on a terminal that something takes its time, with what is newest; elsewhere nothing is told."""
    moving = Moving(what, newest) if is_terminal(sys.stderr) else None
    try:
        yield
    finally:
        if moving is not None:
            moving.stop()


class Steps:
    """Tells each step of a run, or of another long work, on stderr.

    Off a terminal one line for each step that ended; on one also the step that runs, for how long, what it read last,
    and, when it asks the same again and again, the numbers as a sparkline.
    """

    def __init__(self) -> None:
        self._on_terminal = is_terminal(sys.stderr)
        self._record: Path | None = None
        self._moving: Moving | None = None

    def begun(self, record: Path) -> None:
        """Take note of where the run writes."""
        self._record = record

    def __call__(self, cell: str, status: str) -> None:
        """A step began (``running``) or ended."""
        if status == "running":
            if self._on_terminal:
                self._moving = Moving(cell, Answers(self._record, cell).newest)
            return
        seconds = self._moving.stop() if self._moving is not None else 0.0
        self._moving = None
        told = "" if status == "ok" else f": {status.replace('_', ' ')}"
        if self._on_terminal:
            _styled(f"  {SIGNS.get(status, '?')} ", status, f"{cell}{told}", seconds)
        else:
            log(f"  {SIGNS.get(status, '?')} {cell}{told}")


class Answers:
    """What a step reads, from the journal of its run while it is written.

    Args:
        record: the run's folder; None when it is not known.
        cell: the step.
    """

    def __init__(self, record: Path | None, cell: str) -> None:
        self._record, self._cell = record, cell
        self._offset = 0
        self._asked: Counter[str] = Counter()
        self._text = ""

    def newest(self) -> str:
        """The last answer in words; as a sparkline when its question was asked before in this step."""
        if self._record is None:
            return ""
        try:
            with (self._record / "events.jsonl").open("rb") as file:
                file.seek(self._offset)
                lines = file.read().split(b"\n")[:-1]
        except OSError:
            # The record was sealed and has another name now.
            return self._text
        self._offset += sum(len(one) + 1 for one in lines)
        for event in map(json.loads, lines):
            if event["kind"] == "evidence" and event["cell"] == self._cell:
                self._asked[f"{event['data']['source']}.{event['data']['name']}"] += 1
                self._text = self._told(event["data"])
        return self._text

    def _told(self, data: Mapping[str, Any]) -> str:
        summary = str(data["summary"])
        if self._asked[f"{data['source']}.{data['name']}"] < 2 or self._record is None:
            return summary
        from runbook_lib.charts.sparkline import sparkline
        from runbook_lib.model import Evidence
        from runbook_lib.record import evidence_file

        try:
            kept = json.loads(evidence_file.read(self._record / str(data["file"])))
        except (OSError, ValueError):
            return summary
        return sparkline(Evidence.from_json(kept), 30)


def _styled(sign: str, status: str, rest: str, seconds: float) -> None:
    from rich.console import Console
    from rich.text import Text

    took = f"  {seconds:.1f} s" if seconds >= 0.1 else ""
    text = Text.assemble((sign, STYLES.get(status, "bold red")), rest, (took, "dim"))
    Console(stderr=True).print(text, soft_wrap=True, highlight=False)


def progress(quiet: bool) -> Steps | Callable[[str, str], None]:
    """What a run tells while it runs; nothing when its caller reads JSON."""
    return (lambda _cell, _status: None) if quiet else Steps()
