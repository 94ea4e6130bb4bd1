"""How fast and how large a run in JupyterLab is, in Chromium on the lab: ``python -m benchmarks.cockpit``.

One incident is worked through by ``runbook open high_latency``, with one more cell that watches the latency. Times are
taken inside the page, by the clock that the kernel has too, so that the driver of the browser is not measured.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

from runbook_lib.lab import supervisor
from runbook_lib.model.times import parse_rfc3339
from runbook_lib.record.record import Record
from tests.browser.conftest import CHROMIUM
from tests.browser.lab_page import ARGUMENTS, LabPage, Server, saved, serving, until
from tests.conftest import COMMAND, ROOT, Practice

#: Largest values that are wanted (issue: figures of the cockpit): seconds, seconds, kB, kB.
FIRST_SECONDS, NEXT_SECONDS, UPDATE_KB, NOTEBOOK_KB = 0.2, 0.5, 3.0, 300.0
#: A cell that watches a number, and says when it began, seconds since 1970.
_WATCH = "import time\nbegan = time.time()\nrun.watch(latency)\nbegan"
#: Looks at the page every 20 ms; moments are milliseconds since 1970.
_LOOK = """
window.seen = {sizes: []};
document.addEventListener("click", e => {
  if (!e.target.matches(".runbook-card button.approve")) return;
  window.seen.clicked = Date.now();
  window.apply = [...document.querySelectorAll(".jp-CodeCell")].find(e => e.textContent.includes("run.apply("));
}, true);
setInterval(() => {
  const seen = window.seen, now = Date.now();
  const picture = document.querySelector('.jp-OutputArea img[src^="data:image/svg+xml"]');
  if (picture && picture.src !== seen.picture) {
    seen.first ??= now; seen.picture = picture.src; seen.sizes.push(picture.outerHTML.length);
  }
  if (!seen.clicked) return;
  if (!seen.gone && !document.querySelector(".runbook-card")) seen.gone = now;
  if (!seen.shown && window.apply.textContent.includes("APPLIED")) seen.shown = now;
}, 20);
"""


def main() -> None:
    """Measure, and print one line a figure."""
    if CHROMIUM is None:
        sys.exit("Chromium is not installed")
    with tempfile.TemporaryDirectory(prefix="runbook-cockpit-") as scratch:
        folder = Path(scratch) / "lab"
        practice = Practice(folder, supervisor.up(folder))
        text = (ROOT / "runbook.toml").read_text(encoding="utf-8")
        (folder / "runbook.toml").write_text(
            text.replace(".lab/environment.toml", "environment.toml"), encoding="utf-8"
        )
        try:
            practice.command("lab", "fault", "idle_in_transaction")
            practice.wait(above=0.2)
            _tell(_incident(practice))
        finally:
            supervisor.down(folder)


def _incident(practice: Practice) -> dict[str, Any]:
    """What the page, the journal and the saved notebook say of one run."""
    words = ("high_latency", "-p", "window_minutes=10", "--actor", "ada")
    with (
        serving(COMMAND, practice.environment, practice.folder / "home", *words) as server,
        sync_playwright() as driver,
    ):
        notebook = saved(server.notebook)
        _watched(notebook, server)
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        lab = LabPage(browser.new_page(viewport={"width": 1200, "height": 1000}))
        lab.page.add_init_script(_LOOK)
        lab.open(server.address)
        lab.run_all()
        card = lab.page.locator(".runbook-card")
        card.wait_for(timeout=240_000)
        lab.page.wait_for_timeout(3000)
        # Its text alone: what is out of sight is not laid out.
        told = lab.cell("run.watch(").locator(".jp-OutputArea-executeResult pre").last.text_content()
        card.locator("input").fill("api")
        card.locator("button.approve").click()
        until(lambda: lab.cell("run.close(").get_by_text("next step").count(), 300)
        lab.save()
        seen: dict[str, Any] = lab.page.evaluate("window.seen")
        browser.close()
        return {**seen, "began": float(told), **_kept(practice, server)}


def _watched(notebook: dict[str, Any], server: Server) -> None:
    """Put the cell that watches behind the one that reads the latency."""
    cells = notebook["cells"]
    at = 1 + next(i for i, cell in enumerate(cells) if cell["id"] == "latency")
    code = {"cell_type": "code", "id": "watched", "metadata": {}, "outputs": [], "execution_count": None}
    cells.insert(at, {**code, "source": _WATCH})
    server.notebook.write_text(json.dumps(notebook), encoding="utf-8")


def _kept(practice: Practice, server: Server) -> dict[str, Any]:
    """When the cell that applies did its first thing, and the size of the notebook without the cell that was added."""
    notebook = saved(server.notebook)
    notebook["cells"] = [cell for cell in notebook["cells"] if cell["id"] != "watched"]
    (journal,) = (practice.folder / "outputs").glob("????/??/??/*/events.jsonl")
    events = Record.read(journal.parent).events
    applied = next(parse_rfc3339(event.ts) for event in events if event.cell == "apply")
    return {"applied": applied.timestamp() * 1000, "bytes": len(json.dumps(notebook, indent=1).encode())}


def _tell(seen: dict[str, Any]) -> None:
    lines = [
        ("first picture after its cell began: s", seen["first"] / 1000 - seen["began"], FIRST_SECONDS),
        ("largest update of it: kB", max(seen["sizes"]) / 1024, UPDATE_KB),
        (
            "from the click to the next cell's first question: s",
            (seen["applied"] - seen["clicked"]) / 1000,
            NEXT_SECONDS,
        ),
        ("from the click until the card is gone: s", (seen["gone"] - seen["clicked"]) / 1000, 0.0),
        ("from the click until the outcome is shown: s", (seen["shown"] - seen["clicked"]) / 1000, 0.0),
        ("saved notebook: kB", seen["bytes"] / 1024, NOTEBOOK_KB),
    ]
    for what, found, limit in lines:
        goal = f"at most {limit:g}: {'yes' if found <= limit else 'NO'}" if limit else ""
        sys.stdout.write(f"{what:54} {found:8.2f}  {goal}\n")
    sys.stdout.write(f"{len(seen['sizes'])} different pictures were seen\n")


if __name__ == "__main__":
    main()
