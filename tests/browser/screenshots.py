"""``make screenshots``: works through incidents in JupyterLab on the lab and writes the documentation's pictures.

The lab runs in a scratch folder and is taken down at the end; nothing but the pictures is written to the checkout.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

from runbook_lib.lab import supervisor
from tests.browser.conftest import CHROMIUM
from tests.browser.lab_page import ARGUMENTS, LabPage, serving, until
from tests.conftest import COMMAND, ROOT, Practice

#: Width and height of a picture, pixels.
SIZE = {"width": 1100, "height": 1000}
THEMES = "@jupyterlab/apputils-extension:themes"


def main(target: Path) -> None:
    """Write the pictures into ``target``."""
    if CHROMIUM is None:
        sys.exit("Chromium is not installed")
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="runbook-pictures-") as scratch:
        folder = Path(scratch) / "lab"
        practice = Practice(folder, supervisor.up(folder))
        text = (ROOT / "runbook.toml").read_text(encoding="utf-8")
        text = text.replace(".lab/environment.toml", "environment.toml")
        (folder / "runbook.toml").write_text(text, encoding="utf-8")
        try:
            practice.command("lab", "fault", "idle_in_transaction")
            practice.wait(above=0.2)
            _incident(practice, target)
            practice.command("lab", "heal")
            practice.command("lab", "fault", "idle_in_transaction")
            practice.wait(above=0.2)
            _incident(practice, target, dark=True)
        finally:
            supervisor.down(folder)


def _incident(practice: Practice, target: Path, *, dark: bool = False) -> None:
    word = "dark" if dark else "light"
    home = practice.folder / f"home-{word}"
    if dark:
        place = home / "jupyter_config_dir" / "lab" / "user-settings" / "@jupyterlab" / "apputils-extension"
        place.mkdir(parents=True)
        (place / "themes.jupyterlab-settings").write_text(json.dumps({"theme": "JupyterLab Dark"}), encoding="utf-8")
    words = ("high_latency", "-p", "window_minutes=5", "--actor", "ada")
    with serving(COMMAND, practice.environment, home, *words) as server, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        lab = LabPage(browser.new_page(viewport=SIZE))
        lab.open(server.address)
        # The list of files says nothing here.
        lab.page.keyboard.press("Control+b")
        lab.run_all()
        card = lab.page.locator(".runbook-card")
        card.wait_for(timeout=120_000)
        _shots(lab, target, word)
        if dark:
            return
        card.scroll_into_view_if_needed()
        card.locator("input").press_sequentially("api")
        lab.page.wait_for_timeout(1500)
        lab.page.screenshot(path=target / "jupyterlab-card-ready.png")
        card.locator("button.approve").click()
        lab.cell("run.verify(").locator("img").first.wait_for(timeout=60_000)
        lab.page.wait_for_timeout(6000)
        lab.cell("run.verify(").scroll_into_view_if_needed()
        lab.page.screenshot(path=target / "jupyterlab-verify.png")
        until(lambda: lab.cell("run.close(").get_by_text("next step").count(), 240)
        lab.page.wait_for_timeout(1000)
        lab.cell("run.close(").scroll_into_view_if_needed()
        lab.page.screenshot(path=target / "jupyterlab-end.png")
        lab.save()
        browser.close()


def _shots(lab: LabPage, target: Path, word: str) -> None:
    """The header, the evidence and the findings."""
    for name, text in (
        ("header", "Run.start("),
        ("evidence", "metrics, cluster"),
        ("findings", "run.findings"),
        ("card", "run.ask"),
    ):
        cell: Any = lab.cell(text)
        cell.scroll_into_view_if_needed()
        cell.evaluate("one => one.scrollIntoView({block: 'start'})")
        lab.page.wait_for_timeout(700)
        lab.page.screenshot(path=target / f"jupyterlab-{name}-{word}.png")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else os.fspath(ROOT / "docs" / "images")))
