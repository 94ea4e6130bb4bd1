"""A good release, a bad one and the way back by the shipped notebooks; last of all, for it changes what is live."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.conftest import Practice

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

QUICK = ("-p", "probe_seconds=4", "-p", "window_minutes=10")


def carried_out(practice: Practice, told: dict[str, Any], runbook: str, *words: str) -> dict[str, Any]:
    """Approve the last plan that a run told of, and run a runbook with it."""
    plan, archive = told["plans"][-1]["digest"], f"{practice.folder}/outputs"
    done = practice.command("approve", told["run_id"], "--plan", plan, "--archive", archive, "--json")
    assert 0 == done.returncode, done.stderr
    return practice.run(runbook, *words, *QUICK, "--apply", "--approval", json.loads(done.stdout)["approval"])


def titles(told: dict[str, Any]) -> str:
    """Everything that a run found or ruled out."""
    return json.dumps(told)


def test_release_goes_out_and_a_bad_one_comes_back(practice: Practice) -> None:
    """Validated, deployed, deployed badly, and returned to the revision that was recorded good."""
    assert practice.wait(below=0.2)
    assert 0 == practice.run("validate")["exit_code"]

    good = carried_out(practice, practice.run("deploy", "-p", "image_tag=v2", *QUICK), "deploy", "-p", "image_tag=v2")
    assert ["applied"] == [one["outcome"] for one in good["outcomes"]]
    assert ("held", 0) == (good["verification"]["status"], good["exit_code"])

    tag = ("-p", "image_tag=v2-errors")
    bad = carried_out(practice, practice.run("deploy", *tag, *QUICK), "deploy", *tag)
    assert ("applied", "not_held") == (bad["outcomes"][0]["outcome"], bad["verification"]["status"])
    assert "error ratio" in bad["verification"]["sentence"]
    back = bad["plans"][-1]
    assert ("rollback", "acme/api:v2", True) == (back["kind"], back["to"]["image"], back["to"]["recorded_good"])

    returned = carried_out(practice, bad, "rollback")
    assert ["applied"] == [one["outcome"] for one in returned["outcomes"]]
    assert ("held", "acme/api:v2") == (
        returned["verification"]["status"],
        returned["outcomes"][0]["read_back"]["image"],
    )


@pytest.mark.parametrize(
    ("words", "name"),
    [
        pytest.param(("-p", "image_tag=v9"), "image in the registry", id="no-such-tag"),
        pytest.param(("-p", "image_tag=v2-crash"), "CI passed", id="ci-failed"),
    ],
)
def test_what_stands_against_a_release_fails_the_run(practice: Practice, words: tuple[str, ...], name: str) -> None:
    """A tag that is not in the registry, or a commit on which CI failed, ends with exit 1 and nothing sent."""
    told = practice.run("deploy", *words, *QUICK)
    assert (1, []) == (told["exit_code"], told["outcomes"])
    assert name in titles(told)
