"""A plugin of pytest that counts how tests ended, why the skipped ones were, and what they measured.

``pytest -p tests.cluster.figures`` adds one line of JSON to the file that ``RUNBOOK_TEST_FIGURES`` names: each part of
``python -m tests.cluster`` runs in a process of its own.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

FILE = "RUNBOOK_TEST_FIGURES"
#: What tests record by ``record_property``: numbers are added up, words are collected.
COUNTED = (
    "answers alike",
    "answers compared",
    "recorded answers still real",
    "right",
    "refused",
    "wrong",
    "scenarios right",
    "scenarios",
)
LISTED = ("verbs granted", "verbs used", "scenarios wrong")


class Figures:
    """Counts of one process.

    Attributes:
        ended: outcome of a test -> how many.
        skipped: reason -> how many.
        counted: name of a figure -> its sum.
        listed: name of a figure -> its words.
    """

    def __init__(self) -> None:
        self.ended: Counter[str] = Counter()
        self.skipped: Counter[str] = Counter()
        self.counted: Counter[str] = Counter()
        self.listed: dict[str, list[str]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Called by pytest for each phase of each test."""
        if report.skipped:
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
            self.skipped[reason.removeprefix("Skipped: ")] += 1
        elif report.when == "call" or report.failed:
            self.ended[report.outcome] += 1
        if report.when != "call":
            return
        for name, value in report.user_properties:
            if name in COUNTED:
                self.counted[name] += int(str(value))
            elif name in LISTED:
                self.listed.setdefault(name, []).append(str(value))

    def pytest_sessionfinish(self) -> None:
        """Write the line."""
        if os.environ.get(FILE):
            with Path(os.environ[FILE]).open("a", encoding="utf-8") as file:
                file.write(json.dumps(self.to_json()) + "\n")

    def to_json(self) -> dict[str, Any]:
        """Everything that was counted."""
        return {"ended": self.ended, "skipped": self.skipped, "counted": self.counted, "listed": self.listed}

    def add(self, line: str) -> None:
        """Count what another process has counted, too."""
        found = json.loads(line)
        self.ended.update(found["ended"])
        self.skipped.update(found["skipped"])
        self.counted.update(found["counted"])
        for name, words in found["listed"].items():
            self.listed.setdefault(name, []).extend(words)


def pytest_configure(config: pytest.Config) -> None:
    """Called by pytest when the plugin is named on its command line."""
    config.pluginmanager.register(Figures(), "runbook-figures")
