"""A lease keeps runs of other archives out; a run that outlived its lease has no effect."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from runbook_lib import actions
from runbook_lib.actions.scale import Scale
from runbook_lib.model import Outcome, OutcomeStatus, Plan
from runbook_lib.record.folder import RecordFolder
from tests.run.conftest import Place

ROOT = Path(__file__).parents[2]


def scale_to(place: Place, replicas: int, run: str) -> Outcome:
    """Scale as a run of an archive of its own."""
    client, archive = place.client(), place.folder / "outputs"
    record = RecordFolder.create(archive, run, genesis={"runbook": "high_latency"})
    plan = actions.scale(client, replicas=replicas, service="api", environment="prod")
    assert isinstance(plan, Plan)
    outcome = actions.apply(Scale(client), plan, place.context(record, archive))
    record.release()
    return outcome


def test_a_run_stopped_past_its_lease_has_no_effect(place: Place) -> None:
    """While it holds the lease others are refused; when it goes on after another run acted, the server refuses it."""
    argv = [sys.executable, "-m", "tests.run.stale_holder", str(place.kubeconfig), place.namespace, str(place.folder)]
    with subprocess.Popen([*argv, "4"], cwd=ROOT, stdout=subprocess.PIPE, text=True) as stale:
        try:
            _, status = os.waitpid(stale.pid, os.WUNTRACED)
            assert os.WIFSTOPPED(status)
            refused = scale_to(place, 4, "refused")
            assert (OutcomeStatus.REFUSED, 3) == (refused.status, place.found()[0])
            assert "held by ann/stale" in refused.reason
            time.sleep(4)
            assert OutcomeStatus.APPLIED == scale_to(place, 4, "second").status
            os.kill(stale.pid, signal.SIGCONT)
            told, _ = stale.communicate(timeout=60)
        finally:
            stale.kill()
    assert told.startswith("rejected: ")
    assert (4, 3) == place.found()


def test_the_lease_is_given_back(place: Place) -> None:
    """After an action the next run of anybody acts at once, and the guards say by which lease it was alone."""
    assert scale_to(place, 4, "one").applied
    outcome = scale_to(place, 5, "two")
    assert outcome.applied
    assert ["by lease runbook-api for 180 s"] == [
        g.reason for g in outcome.guards if g.name == "nobody else acts on it"
    ]
