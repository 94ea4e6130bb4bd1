"""A run that is stopped between its last look at the target and its request, and goes on much later."""

from __future__ import annotations

import os
import signal
import sys
from functools import partial
from pathlib import Path

from runbook_lib import actions
from runbook_lib.actions import guarded
from runbook_lib.actions.lock import cluster_lease
from runbook_lib.actions.scale import Scale
from runbook_lib.clients._kubernetes import ApiServer
from runbook_lib.model import Plan
from runbook_lib.record.folder import RecordFolder
from tests.run.conftest import Place


class Stopped(Scale):
    """A scale whose process is stopped at the moment of the request."""

    def send(self, plan: Plan) -> None:
        """Stop, and send when somebody lets it go on."""
        os.kill(os.getpid(), signal.SIGSTOP)
        super().send(plan)


def main(kubeconfig: str, namespace: str, folder: str, lease_seconds: str) -> None:
    """Scale to five and print the outcome's status."""
    guarded.cluster_lease = partial(cluster_lease, seconds=int(lease_seconds))  # type: ignore[attr-defined]
    api = ApiServer(kubeconfig, "", connect_seconds=3, total_seconds=10)
    place = Place(Path(kubeconfig), namespace, Path(folder), api)
    record = RecordFolder.create(place.folder / "other", "stale", genesis={"runbook": "high_latency"})
    plan = actions.scale(place.client(), replicas=5, service="api", environment="prod")
    assert isinstance(plan, Plan), plan
    outcome = actions.apply(Stopped(place.client()), plan, place.context(record, place.folder / "other"))
    sys.stdout.write(f"{outcome.status}: {outcome.reason}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
