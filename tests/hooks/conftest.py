"""A catalogue, a tiny runbook and a table for hooks; real files and real processes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from runbook_lib import catalog
from runbook_lib.hooks.dispatch import Place
from runbook_lib.hooks.queue import Queue
from runbook_lib.hooks.settings import Route, Settings

CATALOG = """
[services.api]
description = "the service"
owner = "us"
[services.api.workload]
[services.api.objectives]
[environments.here]
description = "this machine"
"""
ROUTE = Route("high_latency", "api", "here")


@pytest.fixture
def known(tmp_path: Path) -> catalog.Catalog:
    """A catalogue with one service and one environment without systems."""
    path = tmp_path / "runbook.toml"
    path.write_text(CATALOG, encoding="utf-8")
    return catalog.load(path)


@pytest.fixture
def settings() -> Settings:
    """A table that lets alerts start one runbook."""
    return Settings(environment="here", runbooks=("high_latency",), runbook="high_latency", verify_minutes=0)


@pytest.fixture
def queue(tmp_path: Path) -> Queue:
    """An empty queue."""
    return Queue(tmp_path / "hook" / "queue.sqlite")


def tiny(path: Path, *lines: str) -> Path:
    """A runbook that does what it is told and needs no system."""

    def cell(name: str, source: str, tags: list[str]) -> dict[str, object]:
        return {"cell_type": "code", "id": name, "metadata": {"tags": tags}, "execution_count": None, "outputs": [],
                "source": source}  # fmt: skip

    body = {
        "nbformat": 4,
        "nbformat_minor": 5,
        "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
        "cells": [
            cell(
                "parameters",
                'service: str = "api"\nenvironment: str = "here"',
                ["parameters"],
            ),
            cell("work", "\n".join(lines) or "1 + 1", ["evidence"]),
        ],
    }
    path.write_text(json.dumps(body), encoding="utf-8")
    return path


@pytest.fixture
def place(tmp_path: Path, known: catalog.Catalog) -> Place:
    """Where the hook of a test works."""
    book = tiny(tmp_path / "high_latency.ipynb")
    return Place(tmp_path / "hook", known.path.resolve(), str(tmp_path / "archive"), {"high_latency": book})
