"""A lab with a real fault, a browser, and one incident that a person works through in JupyterLab."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from tests.browser.lab_page import ARGUMENTS, LabPage, Server, serving
from tests.conftest import COMMAND, Practice

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def chromium() -> str:
    """Path of the browser."""
    pytest.importorskip("playwright.sync_api")
    pytest.importorskip("jupyterlab")
    pytest.importorskip("anywidget")
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed")
    return CHROMIUM


@pytest.fixture(scope="module")
def driver(chromium: str) -> Iterator[Any]:
    """Playwright."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as running:
        yield running


@pytest.fixture(scope="module")
def browser(driver: Any, chromium: str) -> Iterator[Any]:
    """The person's browser."""
    running = driver.chromium.launch(executable_path=chromium, args=ARGUMENTS)
    yield running
    running.close()


@pytest.fixture(scope="module")
def server(chromium: str, practice: Practice) -> Iterator[Server]:
    """JupyterLab on the high-latency runbook, while a session idles in a transaction that others wait for."""
    assert 0 == practice.command("lab", "fault", "idle_in_transaction").returncode
    words = ("high_latency", "-p", "window_minutes=5", "--actor", "ada")
    with serving(COMMAND, practice.environment, practice.folder / "home", *words) as running:
        assert practice.wait(above=0.2), "users do not feel the fault"
        yield running


@pytest.fixture(scope="module")
def lab(browser: Any, server: Server) -> Iterator[LabPage]:
    """The notebook, opened and run up to its question."""
    page = browser.new_page(viewport={"width": 1200, "height": 1000})
    lab = LabPage(page)
    lab.open(server.address)
    lab.run_all()
    page.wait_for_selector(".runbook-card", timeout=120_000)
    yield lab
    page.close()
