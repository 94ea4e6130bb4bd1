"""An answer that was lost: the target is read, the outcome closed by a new record, and nothing is sent again."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from runbook_lib import actions, catalog
from runbook_lib.actions.scale import Scale
from runbook_lib.errors import UsageError
from runbook_lib.model import Outcome, OutcomeStatus, Plan
from runbook_lib.record.folder import RecordFolder
from runbook_lib.record.record import Record
from runbook_lib.record.verify import verify
from runbook_lib.run.reconcile import Reconciled, reconcile
from tests.run.conftest import Place


class Cut(Scale):
    """A scale whose connection breaks at the moment of the request."""

    def send(self, plan: Plan) -> None:
        """Send it into a broken connection."""
        setattr(BROKEN["between"], BROKEN["how"], True)
        super().send(plan)


BROKEN: dict[str, Any] = {}


@pytest.fixture
def lost(place: Place, proxy: Any, request: pytest.FixtureRequest) -> tuple[Path, Outcome]:
    """A run whose request to scale from 3 to 5 had no answer; its record and its outcome."""
    text = yaml.safe_load(place.kubeconfig.read_text())
    server = text["clusters"][0]["cluster"]
    between = proxy(urlsplit(server["server"]).port)
    server["server"] = f"https://127.0.0.1:{between.port}"
    kubeconfig = place.folder / "between.kubeconfig"
    kubeconfig.write_text(yaml.safe_dump(text))
    BROKEN.update(between=between, how=request.param)
    archive = place.folder / "outputs"
    record = RecordFolder.create(archive, "first", genesis={"runbook": "high_latency"})
    client = place.client(kubeconfig, total_seconds=2.0)
    plan = actions.scale(client, replicas=5, service="api", environment="prod")
    assert isinstance(plan, Plan)
    record.journal.append("plan", plan.to_json())
    outcome = actions.apply(Cut(client), plan, place.context(record, archive))
    return record.seal("unknown", "degraded"), outcome


def closed(place: Place, record: Path, **more: Any) -> Reconciled:
    """Reconcile a record with the catalogue of the place."""
    known = catalog.load(place.folder / "runbook.toml")
    return reconcile(Record.read(record), place.folder / "outputs", known, **more)


@pytest.mark.parametrize("lost", ["drop_all"], indirect=True)
def test_an_effect_whose_answer_was_lost_is_found(place: Place, lost: tuple[Path, Outcome]) -> None:
    """The target is as asked for, so the action was applied: once, and the new record names the old one."""
    record, outcome = lost
    assert OutcomeStatus.UNKNOWN == outcome.status
    before = place.found()
    done = closed(place, record)
    assert [OutcomeStatus.APPLIED] == [one.status for one in done.outcomes]
    assert ((5, 3), before) == (before, place.found())
    assert {"run_id": "first", "head": Record.read(record).events[-1].hash} == Record.read(done.path).run["about"]
    assert verify(done.path).good
    with pytest.raises(UsageError, match="no action whose outcome is unknown"):
        closed(place, record)


@pytest.mark.parametrize("lost", ["swallow"], indirect=True)
def test_a_request_that_never_arrived_is_told_only_in_time(place: Place, lost: tuple[Path, Outcome]) -> None:
    """A target as before means no effect once no request can be under way any more, and unknown until then."""
    record, outcome = lost
    assert OutcomeStatus.UNKNOWN == outcome.status
    early = closed(place, record)
    assert ([OutcomeStatus.UNKNOWN], False) == ([one.status for one in early.outcomes], early.closed)
    assert "may still be under way" in early.outcomes[0].reason
    late = closed(place, record, wait=0.0)
    assert [OutcomeStatus.REJECTED] == [one.status for one in late.outcomes]
    assert (3, 2) == place.found()


@pytest.mark.parametrize("lost", ["swallow"], indirect=True)
def test_a_persons_word_needs_a_reason(place: Place, lost: tuple[Path, Outcome]) -> None:
    """A person who has looked may close it, with a reason that stands in the record."""
    with pytest.raises(UsageError, match="with a reason"):
        closed(place, lost[0], claim="rejected")
    done = closed(place, lost[0], claim="rejected", because="the audit log has no such request")
    assert "the audit log has no such request" in Record.read(done.path).outcomes[0]["reason"]
