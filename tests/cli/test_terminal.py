"""What a run tells while it runs: moving on a terminal, plain lines anywhere else."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from array import array
from pathlib import Path

import pytest

from runbook_lib.cli.terminal import Answers
from runbook_lib.model import Evidence, Series, Window
from runbook_lib.model.times import utc_now
from runbook_lib.record.folder import RecordFolder

SCRIPT = """
import time
from runbook_lib.cli.terminal import Steps
steps = Steps()
steps("latency", "running")
time.sleep(0.7)
steps("latency", "ok")
steps("verify", "timed_out")
"""


COMMAND = Path(sys.executable).with_name("runbook")
WAIT = """
import time
from runbook_lib.cli.terminal import waiting
with waiting("p95 latency", lambda: "now 180 ms"):
    time.sleep(0.7)
"""


@pytest.fixture
def notebook(tmp_path: Path) -> Path:
    """A runbook whose second cell takes its time."""

    def cell(name: str, source: str, *tags: str) -> dict[str, object]:
        common = {"cell_type": "code", "execution_count": None, "outputs": [], "metadata": {"tags": list(tags)}}
        return {**common, "id": name, "source": source}

    kernel = {"name": "python3", "display_name": "python3", "language": "python"}
    cells = [
        cell("parameters", "number: int = 0  # tells targets apart", "parameters"),
        cell("slow", "import time\ntime.sleep(1)"),
    ]
    body = {"nbformat": 4, "nbformat_minor": 5, "metadata": {"kernelspec": kernel}, "cells": cells}
    path = tmp_path / "waits.ipynb"
    path.write_text(json.dumps(body), encoding="utf-8")
    (tmp_path / "targets.csv").write_text("number\n1\n2\n", encoding="utf-8")
    return path


def on_terminal(*argv: str, cwd: Path) -> str:
    """Everything that a command writes to a terminal of 200 columns."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "NO_COLOR": "1", "COLUMNS": "200"}
    with subprocess.Popen(argv, cwd=cwd, env=environment, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        text = b""
        try:
            while part := os.read(ours, 65536):
                text += part
        except OSError:
            # How Linux says that nobody writes to the terminal any more.
            pass
        process.wait(60)
    os.close(ours)
    return text.decode()


def told(stderr: int, **environment: str) -> int:
    """Run steps with this stderr; returns the exit code."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], stderr=stderr, env={**os.environ, **environment}, timeout=60, check=False
    )
    return done.returncode


def test_off_a_terminal_each_step_is_one_plain_line(tmp_path: Path) -> None:
    """No colour, no cursor: a log stays readable."""
    log = tmp_path / "log"
    with log.open("wb") as file:
        assert 0 == told(file.fileno())
    assert "  ✓ latency\n  ? verify: timed out\n" == log.read_text(encoding="utf-8")


def test_on_a_terminal_the_running_step_is_shown_and_taken_back() -> None:
    """The step that runs has a line that moves; what ended stays."""
    ours, theirs = pty.openpty()
    assert 0 == told(theirs, TERM="xterm-256color", NO_COLOR="1")
    text = os.read(ours, 65536).decode()
    os.close(ours)
    os.close(theirs)
    assert "⠋ latency 0 s" in text
    assert "\r\x1b[2K" in text
    assert "✓ latency" in text.rsplit("\r\x1b[2K", 1)[1]


def test_repeated_question_becomes_a_sparkline(tmp_path: Path) -> None:
    """The first answer is told in words, further ones as bars; those of other cells are not told."""
    record = RecordFolder.create(tmp_path, "run-1", genesis={"runbook": "x"})
    now = utc_now()
    line = Series({}, array("d", [now.timestamp() - 2, now.timestamp() - 1]), array("d", [0.1, 0.4]))
    reading = Evidence("prometheus", "p", "Latency", "s", "q", {}, Window.last(1, now), now, (line,))
    answers = Answers(record.path, "verify")
    record.keep(reading, cell="latency")
    assert "" == answers.newest()
    record.keep(reading, cell="verify")
    assert answers.newest().startswith("Latency: 1 series, now 400 ms")
    record.keep(reading, cell="verify")
    assert answers.newest().endswith("█ now 400 ms, highest 400 ms")
    record.release()


def test_waiting_is_shown_and_leaves_no_trace(tmp_path: Path) -> None:
    """While one waits, a line says for what, how long, and the newest number; at the end it is gone."""
    text = on_terminal(sys.executable, "-c", WAIT, cwd=tmp_path)
    assert "⠋ p95 latency 0 s  now 180 ms" in text
    assert "" == text.rpartition("\x1b[2K")[2].strip()


def test_waiting_tells_nothing_off_a_terminal(tmp_path: Path) -> None:
    """A log holds what happened, not that something was waited for."""
    done = subprocess.run([sys.executable, "-c", WAIT], capture_output=True, cwd=tmp_path, timeout=60, check=True)
    assert (b"", b"") == (done.stdout, done.stderr)


def test_run_shows_its_steps_on_a_terminal(notebook: Path) -> None:
    """`runbook run` shows the step that runs, and each that ended with the time it took."""
    text = on_terminal(str(COMMAND), "run", str(notebook), "--out", "archive", cwd=notebook.parent)
    assert "⠋ slow" in text
    assert re.search(r"✓ slow\S*  \d+\.\d s", text)


def test_fleet_shows_what_is_under_way_on_a_terminal(notebook: Path) -> None:
    """`runbook fleet` shows the cells that run, and a line for each target that ended."""
    words = ("fleet", str(notebook), "--targets", "targets.csv", "--out", "archive", "--at-once", "1")
    text = on_terminal(str(COMMAND), *words, cwd=notebook.parent)
    assert "0/2 number=1 slow" in text
    assert all(f"{count}/2 number=" in text for count in (1, 2))
