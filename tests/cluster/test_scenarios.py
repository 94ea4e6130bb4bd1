"""Every scenario of the lab on a real control plane: the runbook names the same cause first as on the emulator."""

from __future__ import annotations

import json
import os
from collections.abc import Callable

import pytest

from runbook_lib.lab.faults import registry
from tests.conftest import Practice

pytestmark = [
    pytest.mark.slow,
    pytest.mark.lab,
    pytest.mark.timeout(900),
    pytest.mark.skipif(
        os.environ.get("RUNBOOK_TEST_CONTROL_PLANE") != "real", reason="scenarios on a real cluster: make test-cluster"
    ),
]


@pytest.mark.parametrize("scenario", [fault.name for fault in registry.all_faults()])
def test_cause_is_named_on_a_real_cluster(
    practice: Practice, scenario: str, record_property: Callable[[str, object], None]
) -> None:
    """The fault is brought about, the diagnosis names its cause first, and the lab heals."""
    words = ("--runbooks", "high_latency", "--scenarios", scenario, "--minutes", "5", "--keep", "--json")
    done = practice.command("gameday", *words, timeout=800)
    scores = json.loads(done.stdout)["scores"] if done.stdout else []
    wrong = [f"{scenario}: {problem}" for one in scores for problem in one["problems"]]
    wrong += [] if scores else [f"{scenario}: {done.stderr.strip()[-500:]}"]
    record_property("scenarios", 1)
    record_property("scenarios right", int(not wrong))
    for one in wrong:
        record_property("scenarios wrong", one)
    assert [] == wrong
