"""``runbook service add`` against an API server: what it writes, what it marks as a guess, what it refuses."""

from __future__ import annotations

import os
import subprocess

import pytest

from runbook_lib import catalog
from tests.conftest import COMMAND
from tests.run.conftest import Place


def add(place: Place, *words: str) -> subprocess.CompletedProcess[str]:
    """The command in the folder of the catalogue."""
    environment = {**os.environ, "RUNBOOK_CATALOG": ""}
    return subprocess.run(
        [str(COMMAND), "service", "add", *words],
        cwd=place.folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_service_is_described_and_guesses_are_marked(place: Place) -> None:
    """The catalogue gets a service that it takes, from the deployment; what nobody said stands there as a guess."""
    done = add(place, "payments", "--from-deployment", f"{place.namespace}/api-deployment")
    assert 0 == done.returncode, done.stderr
    service = catalog.load(place.folder / "runbook.toml").service("payments")
    assert ("api-deployment", "api") == (service.workload["deployment"], service.workload["container"])
    guessed = [text.split(" = ")[0] for text in done.stdout.splitlines() if "# a guess" in text]
    assert ["description", "owner", "target", "threshold_seconds", "target", "selector"] == guessed


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("payments", "--from-deployment", "{}/nothing"), "not found"),
        (("api", "--from-deployment", "{}/api-deployment"), "has a service 'api'"),
        (("pay ments]", "--from-deployment", "{}/api-deployment"), "runbook.toml"),
        (("payments", "--from-deployment", "api-deployment"), "write NAMESPACE/NAME"),
    ],
    ids=["no-deployment", "known-service", "bad-name", "no-namespace"],
)
def test_wrong_use_leaves_the_catalogue_as_it_was(place: Place, words: tuple[str, ...], said: str) -> None:
    """What cannot be added is refused with its reason, and not a byte of the catalogue changes."""
    before = (place.folder / "runbook.toml").read_bytes()
    done = add(place, *(word.format(place.namespace) for word in words))
    assert (2, before) == (done.returncode, (place.folder / "runbook.toml").read_bytes())
    assert said in done.stderr
