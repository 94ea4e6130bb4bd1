"""What a run tells while it runs: moving on a terminal, plain lines anywhere else."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from array import array
from pathlib import Path

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
