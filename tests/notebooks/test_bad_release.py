"""A release that fails requests, in a lab of its own: what it leaves behind would stand against any other."""

from __future__ import annotations

import json
import time

import pytest

from tests.conftest import Practice

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

WORDS = ("deploy", "-p", "image_tag=v2-errors", "-p", "probe_seconds=2", "-p", "window_minutes=10")


def test_bad_release_offers_its_way_back(practice: Practice) -> None:
    """One request in four fails: it does not hold, and the return to the good revision waits for approval."""
    deadline = time.monotonic() + 300
    while (told := practice.run("validate", "-p", "window_minutes=2"))["exit_code"] and time.monotonic() < deadline:
        practice.wait(below=0.2)
    assert 0 == told["exit_code"]
    told, archive = practice.run(*WORDS), f"{practice.folder}/outputs"
    plan = told["plans"][-1]["digest"]
    granted = practice.command("approve", told["run_id"], "--plan", plan, "--archive", archive, "--json")
    assert 0 == granted.returncode, granted.stderr
    bad = practice.run(*WORDS, "--apply", "--approval", json.loads(granted.stdout)["approval"])
    assert ("applied", "not_held") == (bad["outcomes"][0]["outcome"], bad["verification"]["status"])
    assert "error ratio" in bad["verification"]["sentence"]
    back = bad["plans"][-1]
    assert ("rollback", "acme/api:v1", True) == (back["kind"], back["to"]["image"], back["to"]["recorded_good"])
