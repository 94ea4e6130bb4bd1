"""JupyterLab as a person uses it: a server started by ``runbook open`` and pages of a real browser."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
ADDRESS = re.compile(r"http://127\.0\.0\.1:\d+/lab/tree/\S+\?token=\w+")


def until(holds: Callable[[], Any], seconds: float = 120, every: float = 0.2) -> Any:
    """Wait for something and return it; None when it does not come."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = holds()
        if found:
            return found
        time.sleep(every)
    return None


@dataclass
class Server:
    """A running ``runbook open``.

    Args:
        process: its process.
        log: what it prints.
        notebook: the working notebook.
        address: with the token.
    """

    process: subprocess.Popen[bytes]
    log: Path
    notebook: Path
    address: str

    def stop(self, number: int = signal.SIGTERM) -> str:
        """End it by a signal; returns everything that it printed."""
        if self.process.poll() is None:
            self.process.send_signal(number)
            self.process.wait(60)
        return self.log.read_text(encoding="utf-8")


@contextmanager
def serving(command: Path, environment: dict[str, str], folder: Path, *words: str) -> Iterator[Server]:
    """``runbook open WORDS`` in a home of its own, from its start until the end of the block."""
    folder.mkdir(parents=True, exist_ok=True)
    own = {
        name: str(folder / name.lower()) for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR")
    }
    log = folder / "server.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [str(command), "open", *words, "--no-browser"],
            cwd=folder,
            env={**environment, **own, "IPYTHONDIR": str(folder / "ipython"), "PYTHONUNBUFFERED": "1"},
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        found = until(lambda: ADDRESS.search(log.read_text(encoding="utf-8")) or process.poll() is not None)
        text = log.read_text(encoding="utf-8")
        assert hasattr(found, "group"), text
        notebook = re.search(r"^notebook +(\S+)$", text, re.MULTILINE)
        assert notebook is not None, text
        server = Server(process, log, Path(notebook.group(1)), found.group())
        yield server
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(30)


class LabPage:
    """A notebook in JupyterLab.

    Args:
        page: the browser's page.
    """

    def __init__(self, page: Any) -> None:
        self.page = page
        # JupyterLab may ask when saves of its own overlap; nobody else writes the file.
        dialog = page.locator(".jp-Dialog", has_text="has changed on disk")
        page.add_locator_handler(dialog.get_by_role("button", name="Overwrite"), lambda button: button.click())

    def open(self, address: str) -> None:
        """Load it and wait until its kernel is there."""
        self.page.goto(address, timeout=120_000)
        self.page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=120_000)
        self.page.wait_for_function(
            "() => [...document.querySelectorAll('.jp-StatusBar-Widget *')].some(e => /\\| Idle/.test(e.textContent))",
            timeout=120_000,
        )

    def menu(self, bar: str, entry: str) -> None:
        """Choose an entry of a menu."""
        self.page.locator(f".lm-MenuBar-itemLabel:text-is('{bar}')").click()
        self.page.locator(f".lm-Menu-itemLabel:text-is('{entry}')").click()

    def run_all(self) -> None:
        """Run > Run All Cells."""
        self.menu("Run", "Run All Cells")

    def run_anew(self) -> None:
        """Kernel > Restart Kernel and Run All Cells…, and confirm it."""
        self.menu("Kernel", "Restart Kernel and Run All Cells…")
        self.page.locator(".jp-Dialog button.jp-mod-warn").click()

    def theme(self, name: str) -> None:
        """Settings > Theme > ``name``, and wait until the page has it."""
        self.page.locator(".lm-MenuBar-itemLabel:text-is('Settings')").click()
        self.page.locator(".lm-Menu-itemLabel:text-is('Theme')").hover()
        self.page.locator(f".lm-Menu-itemLabel:text-is('{name}')").click()
        self.page.wait_for_selector(f"body[data-jp-theme-name='{name}']", state="attached")

    def violations(self, axe: str, *selectors: str) -> list[str]:
        """What axe-core, whose source is given, finds in the parts of the page that match."""
        if not self.page.evaluate("'axe' in window"):
            self.page.evaluate(axe)
        found: list[str] = self.page.evaluate(
            "parts => axe.run({include: parts.map(one => [one])})"
            ".then(r => r.violations.flatMap(v => v.nodes.map(n => v.id + ': ' + n.html)))",
            list(selectors),
        )
        return found

    def tab_to(self, selector: str, most: int = 40) -> bool:
        """Press the tabulator key until an element has the focus; whether it came to it."""
        for _ in range(most):
            if self.page.evaluate("one => document.activeElement.matches(one)", selector):
                return True
            self.page.keyboard.press("Tab")
        return False

    def save(self) -> None:
        """File > Save Notebook, and wait until it is written."""
        self.menu("File", "Save Notebook")
        self.page.wait_for_function(
            "() => !document.querySelector('.lm-TabBar-tab.jp-mod-current.jp-mod-dirty')", timeout=60_000
        )

    def cell(self, text: str) -> Any:
        """The code cell whose source holds a text."""
        return self.page.locator(".jp-CodeCell").filter(has_text=text).first

    def picture(self) -> str:
        """Address of the live picture that is shown last; empty when there is none."""
        found = self.page.locator("img[src^='data:image/svg+xml']")
        return str(found.last.get_attribute("src")) if found.count() else ""


def saved(notebook: Path) -> dict[str, Any]:
    """The notebook as it is on the disk."""
    content: dict[str, Any] = json.loads(notebook.read_text(encoding="utf-8"))
    return content
