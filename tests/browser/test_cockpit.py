"""JupyterLab as the cockpit: an incident from the first cell to the sealed record, in a real browser on the lab.

The tests share one incident and run in this order; while one waits for the service to recover, others use the time.
"""

from __future__ import annotations

import contextlib
import json
import re
import signal
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runbook_lib.lab import cluster
from runbook_lib.lab.release import DEPLOYMENT, NAMESPACE
from runbook_lib.record.record import Record
from tests.browser.lab_page import ARGUMENTS, LabPage, Server, saved, serving, until
from tests.conftest import COMMAND, Practice

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(600)]

#: Largest live update, bytes.
UPDATE_BYTES = 3 * 1024
#: Largest saved notebook, bytes.
NOTEBOOK_BYTES = 300 * 1024


def records(practice: Practice, notebook: Path) -> list[Record]:
    """The records of a notebook's runs, oldest first."""
    folders = sorted(one.parent for one in (practice.folder / "outputs").glob("????/??/??/*/events.jsonl"))
    return [one for one in map(Record.read, folders) if one.run.get("saved_as") == str(notebook)]


def replicas(practice: Practice, wanted: int | None = None) -> int:
    """How many pods of the service the cluster has ready; asked for ``wanted`` of them first where that is given."""
    path = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/{DEPLOYMENT}"
    with cluster.Cluster(practice.folder / "kubeconfig") as admin:
        if wanted is not None:
            admin.request("PATCH", f"{path}/scale", {"spec": {"replicas": wanted}}, "application/merge-patch+json")
        return int(admin.request("GET", path)["status"].get("readyReplicas", 0))


def happened(practice: Practice, notebook: Path, kind: str) -> bool:
    """Whether the newest run of a notebook wrote an event of a kind."""
    return any(one.all(kind) for one in records(practice, notebook)[-1:])


@pytest.mark.parametrize("theme", ["JupyterLab Dark", "JupyterLab Light"], ids=["dark", "light"])
def test_card_and_outputs_are_accessible(lab: LabPage, axe: str, theme: str) -> None:
    """axe-core finds no violation in the card and in what the run shows, in either theme."""
    lab.theme(theme)
    assert [] == lab.violations(axe, ".runbook-card", ".jp-RenderedHTML")


def test_page_looks_for_no_build(server: Server) -> None:
    """JupyterLab's page does not ask whether JupyterLab must be built, for which the server would start node."""
    with urllib.request.urlopen(server.address, timeout=60) as answer:
        found = re.search(r'id="jupyter-config-data"[^>]*>(.*?)</script>', answer.read().decode(), re.DOTALL)
    assert found is not None
    told = json.loads(found.group(1))
    assert (False, False) == (told["buildAvailable"], told["buildCheck"])


def test_line_moves_in_the_card(lab: LabPage) -> None:
    """While the card waits its picture is redrawn again and again, each time in at most 3 KB."""
    seen: set[str] = set()
    picture = lab.page.locator(".runbook-card img")

    def moved() -> bool:
        seen.add(picture.get_attribute("src") or "")
        return len(seen) >= 5

    assert until(moved)
    assert UPDATE_BYTES > max(map(len, seen))


def test_wrong_name_approves_nothing(lab: LabPage, practice: Practice, server: Server) -> None:
    """A wrong name leaves the button disabled, and the Enter key does nothing."""
    card = lab.page.locator(".runbook-card")
    card.locator("input").press_sequentially("apo")
    card.locator("input").press("Enter")
    assert card.locator("button.approve").is_disabled()
    assert "not the service's name" in card.locator(".status").inner_text()
    assert not happened(practice, server.notebook, "approval")


def test_right_name_applies_the_plan(lab: LabPage, practice: Practice, server: Server) -> None:
    """The right name enables the button; the click applies exactly this plan in the next cell, approved by the card."""
    card = lab.page.locator(".runbook-card")
    card.locator("input").fill("api")
    card.locator("button.approve").click()
    lab.page.wait_for_selector(".runbook-card", state="detached", timeout=60_000)
    lab.cell("run.apply(").get_by_text("APPLIED").wait_for(timeout=60_000)
    (record,) = records(practice, server.notebook)
    approval = record.last("approval")
    assert ("ada", "card", ["applied"]) == (
        approval["approver"],
        approval["known_by"],
        [one["outcome"] for one in record.outcomes],
    )


def test_killed_browser_loses_no_event(driver: Any, chromium: str, practice: Practice, tmp_path: Path) -> None:
    """When the browser dies in mid-run the kernel goes on; the end of the server seals the whole record."""
    with serving(COMMAND, practice.environment, tmp_path / "home", "preflight") as other:
        words = [*ARGUMENTS, "--headless=new", "--remote-debugging-port=0", f"--user-data-dir={tmp_path / 'profile'}"]
        process = subprocess.Popen([chromium, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            port = until(lambda: _port(tmp_path / "profile"))
            page = LabPage(_connected(driver, port).contexts[0].new_page())
            page.open(other.address)
            page.run_all()
            assert until(lambda: records(practice, other.notebook))
        finally:
            process.kill()
            process.wait(30)
        assert until(lambda: happened(practice, other.notebook, "verdict"))
        other.stop()
    (record,) = records(practice, other.notebook)
    assert (True, "preflight") == (record.sealed, record.run["runbook"])
    assert 0 == practice.command("records", "verify", str(record.path)).returncode


def test_saved_run_is_sealed_as_it_was_shown(lab: LabPage, practice: Practice, server: Server) -> None:
    """The number falls, and is judged; the save after the last cell puts the notebook into a sealed record.

    Whether the objective holds again depends on how busy the machine is; that latency falls does not.
    """
    lab.cell("run.verify(").get_by_text("HELD").wait_for(timeout=240_000)
    lab.cell("run.close(").get_by_text("next step").wait_for(timeout=60_000)
    lab.save()
    assert until(lambda: records(practice, server.notebook)[-1].sealed)
    (record,) = records(practice, server.notebook)
    told = json.dumps(saved(record.path / "notebook.ipynb"))
    verified = record.verification or {}
    assert {"held": "succeeded", "not_held": "attention"}[verified["status"]] == str(record.status)
    assert verified["after"]["value"] < verified["before"]["value"]
    assert ("ada typed api" in told, "widget-view" in told) == (True, False)
    assert NOTEBOOK_BYTES > (record.path / "notebook.ipynb").stat().st_size
    assert 0 == practice.command("records", "verify", str(record.path)).returncode


def test_findings_are_those_of_a_headless_run(practice: Practice, server: Server) -> None:
    """Answered from the record, the same notebook without a person finds the same and says the same of the fix."""
    (record,) = records(practice, server.notebook)
    done = practice.command("records", "replay", record.run_id, "--json")
    told = json.loads(done.stdout)
    assert ([], 0) == (told["differences"], done.returncode)


def test_reopened_untrusted_and_server_killed(browser: Any, practice: Practice, server: Server, tmp_path: Path) -> None:
    """The saved notebook shows pictures, decision and verdict untrusted; a killed server leaves a record to recover."""
    (record,) = records(practice, server.notebook)
    with serving(COMMAND, practice.environment, tmp_path / "home", record.run_id) as other:
        page = browser.new_page(viewport={"width": 1200, "height": 1000})
        lab = LabPage(page)
        lab.open(other.address)
        page.get_by_text("ada typed api").first.wait_for(timeout=60_000)
        page.locator(".jp-CodeCell").last.scroll_into_view_if_needed()
        pictures = page.evaluate(
            "[...document.querySelectorAll('.jp-OutputArea img')].map(one => one.naturalWidth > 0)"
        )
        errors = page.get_by_text("Error displaying widget").count()
        lab.run_all()
        assert until(lambda: records(practice, other.notebook))
        other.stop(signal.SIGKILL)
        page.close()
    assert (0, True) == (errors, all(pictures))
    assert until(lambda: practice.command("records", "recover").returncode == 0 and _settled(practice, other.notebook))
    (left,) = records(practice, other.notebook)
    assert (True, "interrupted") == (left.sealed, str(left.status))


def _settled(practice: Practice, notebook: Path) -> bool:
    return all(one.sealed for one in records(practice, notebook))


def _connected(driver: Any, port: str) -> Any:
    """The browser on that port; one that has just begun now and then leaves its first caller without an answer."""
    from playwright.sync_api import TimeoutError as NoAnswer

    address = f"http://127.0.0.1:{port}"
    for _ in range(3):
        with contextlib.suppress(NoAnswer):
            return driver.chromium.connect_over_cdp(address, timeout=15_000)
    return driver.chromium.connect_over_cdp(address)


def _port(profile: Path) -> str:
    found = profile / "DevToolsActivePort"
    return found.read_text(encoding="utf-8").split("\n")[0] if found.is_file() else ""


@pytest.fixture
def scaled_down(practice: Practice) -> Iterator[None]:
    """Somebody left the deployment with one pod; its three are there again afterwards."""
    assert 0 == practice.command("lab", "heal").returncode
    replicas(practice, wanted=1)
    assert until(lambda: replicas(practice) == 1)
    yield
    replicas(practice, wanted=3)


def test_keyboard_alone_approves_and_pods_come_back(
    lab: LabPage, server: Server, practice: Practice, scaled_down: None
) -> None:
    """In a second run, approved with keys only, the pods' number rises in the notebook as it does in the cluster."""
    lab.run_anew()
    card = lab.page.locator(".runbook-card")
    card.wait_for(timeout=120_000)
    assert "3 pods instead of 1" in card.inner_text()
    lab.cell("run.ask(").click()
    lab.page.keyboard.press("Escape")
    assert lab.tab_to(".runbook-card input")
    lab.page.keyboard.type("api")
    assert lab.tab_to(".runbook-card button.approve")
    lab.page.keyboard.press("Enter")
    # What an earlier run showed stays on the page until its cell runs again, so the record is asked.
    assert until(lambda: happened(practice, server.notebook, "action.outcome"))
    assert until(lambda: 3 == replicas(practice))
    assert until(lambda: happened(practice, server.notebook, "verification"))
    pods = lab.cell("run.verify(").get_by_alt_text("Replicas available and wanted")
    assert until(lambda: "available 3, wanted 3" in str(pods.get_attribute("alt")))
