"""The report page in a real browser: it runs nothing, asks for nothing, fits a phone and prints whole."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from runbook_lib.record.folder import RecordFolder
from runbook_lib.record.record import Record
from runbook_lib.record.views import report

pytestmark = pytest.mark.browser
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
#: Markup that runs a script in a page which lets it.
HOSTILE = (
    "<script>document.title='ran'</script>",
    "<img src=x onerror=\"document.title='ran'\">",
    "<svg onload=\"document.title='ran'\"></svg>",
    "<iframe srcdoc=\"<script>parent.document.title='ran'</script>\"></iframe>",
    "\"><script>document.title='ran'</script>",
    "<a href=\"javascript:document.title='ran'\">x</a>",
    "<style>body{background:url(http://127.0.0.1:9/leak)}</style>",
    "<link rel=stylesheet href=http://127.0.0.1:9/leak>",
    '<meta http-equiv=refresh content="0;url=http://127.0.0.1:9/leak">',
    "<form action=http://127.0.0.1:9/leak><input autofocus onfocus=\"document.title='ran'\"></form>",
    "</title><script>document.title='ran'</script>",
    "</style><script>document.title='ran'</script>",
    "{{ ''.__class__ }}{% for x in ().__class__.__base__.__subclasses__() %}{{ x }}{% endfor %}",
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture
def page_file(incident: Callable[..., RecordFolder], tmp_path: Path) -> Path:
    """The page of an incident into which hostile markup was written wherever text can come from outside."""
    picture = {"image/svg+xml": "<svg xmlns='http://www.w3.org/2000/svg' onload=\"document.title='ran'\"/>"}
    folder = incident(pictures=({**picture, "text/plain": HOSTILE[4]},))
    write = folder.journal.append
    for text in HOSTILE:
        write("note", {"text": text, "important": True, "posted": {"where": text, "url": text}})
        write("finding", {"cause": "app.errors", "severity": "warning", "title": text, "role": "cause"}, cell=text)
        write("gap", {"source": text, "name": text, "title": text, "reason": text, "kind": "x", "needed": False})
        write("cell.ended", {"status": text, "error": {"name": text, "value": text}}, cell=text)
    write(
        "note", {"what": "run", "owner": HOSTILE[0], "alert": {"name": HOSTILE[1], "fired_at": "2026-11-24T00:00:00Z"}}
    )
    target = tmp_path / "report.html"
    target.write_text(report(Record.read(folder.path)), encoding="utf-8")
    return target


def test_nothing_runs_and_nothing_is_asked_for(browser: Any, page_file: Path) -> None:
    """With hostile markup in every text the page runs no script, opens no dialog and sends no request."""
    page = browser.new_page()
    asked: list[str] = []
    dialogs: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    page.goto(page_file.as_uri())
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    page.wait_for_timeout(200)
    foreign = [url for url in asked if not url.startswith(("file:", "data:image/"))]
    elements = page.evaluate("document.querySelectorAll('script,iframe,form,link,object,svg').length")
    assert ([], [], False, 0) == (foreign, dialogs, page.title() == "ran", elements)
    page.close()


@pytest.mark.parametrize("width", [320, 390, 768, 1280])
def test_the_page_fits(browser: Any, page_file: Path, width: int) -> None:
    """Nothing makes the page wider than the window, down to the narrowest phone."""
    page = browser.new_page(viewport={"width": width, "height": 800})
    page.goto(page_file.as_uri())
    assert width >= page.evaluate("document.documentElement.scrollWidth")
    page.close()


def test_the_verdict_is_on_the_first_screen_of_a_phone(browser: Any, page_file: Path) -> None:
    """Verdict, cause and next step stand on the first screen of a phone."""
    page = browser.new_page(viewport={"width": 390, "height": 844})
    page.goto(page_file.as_uri())
    assert 844 >= page.evaluate("document.querySelector('.next').getBoundingClientRect().bottom")
    page.close()


def test_paper_is_wide_enough(browser: Any, page_file: Path) -> None:
    """On A4 paper nothing is cut off at the right."""
    page = browser.new_page(viewport={"width": 794, "height": 1123})
    page.goto(page_file.as_uri())
    page.emulate_media(media="print")
    assert 794 >= page.evaluate("document.documentElement.scrollWidth")
    page.close()


def test_dark_and_print(browser: Any, page_file: Path) -> None:
    """The page is dark where the reader's system is, and white on paper with every fold open."""
    page = browser.new_page(color_scheme="dark")
    page.goto(page_file.as_uri())
    background = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(background)
    page.emulate_media(media="print", color_scheme="light")
    assert ("rgb(20, 24, 29)", "rgb(255, 255, 255)") == (dark, page.evaluate(background))
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_axe_finds_no_violation(browser: Any, page_file: Path, axe: str, width: int, scheme: str) -> None:
    """axe-core finds no accessibility violation."""
    # axe must be put into the page, which the page's own policy forbids.
    context = browser.new_context(bypass_csp=True, color_scheme=scheme, viewport={"width": width, "height": 900})
    page = context.new_page()
    page.goto(page_file.as_uri())
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    page.evaluate(axe)
    violations = page.evaluate("axe.run().then(found => found.violations.map(one => one.id))")
    context.close()
    assert [] == violations
