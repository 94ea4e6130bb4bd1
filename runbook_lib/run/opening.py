"""How a run's record is begun or joined, what an action gets to know of it, and how a run without a runner seals it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runbook_lib.actions import identity
from runbook_lib.actions.lock import file_lock
from runbook_lib.actions.protocol import Context
from runbook_lib.catalog import Catalog
from runbook_lib.errors import RecordError
from runbook_lib.model import Endpoint, Environment, Evidence, Gap, Outcome, OutcomeStatus, Plan, Service, Window
from runbook_lib.model.times import parse_rfc3339
from runbook_lib.record.anchors import anchor
from runbook_lib.record.diff import answers
from runbook_lib.record.folder import RecordFolder, new_run_id
from runbook_lib.record.genesis import genesis
from runbook_lib.record.record import Record
from runbook_lib.record.settled import settled
from runbook_lib.record.signature import signer
from runbook_lib.run.attach import Surroundings
from runbook_lib.run.systems import learn_secrets
from runbook_lib.run.verify import sleep
from runbook_lib.secrets import Redactor

if TYPE_CHECKING:
    from runbook_lib.clients._tape import Tape

#: Folder in the archive that remembers intents, spent approvals and locks of all its runs.
LEDGER = "ledger"


@dataclass(frozen=True, slots=True)
class Opened:
    """The record of a run and what answers its questions.

    Args:
        record: where the run writes.
        tape: the live systems, or a record that is replayed.
        own: whether this process began the record and so seals it.
        actor: who runs it, and how that is known.
        person: the name alone.
    """

    record: RecordFolder
    tape: Tape
    own: bool
    actor: str
    person: str


def open_record(
    runbook: str,
    service: Service,
    environment: Environment,
    window: Window,
    around: Surroundings,
    *,
    keep: Callable[[Evidence | Gap], object],
) -> Opened:
    """Join the record that a runner began, or begin one.

    Args:
        runbook: name of the procedure.
        service: service under investigation.
        environment: where it runs.
        window: interval of the evidence.
        around: what this process was told.
        keep: is given every answer before the notebook sees it.

    Raises:
        RecordError: the record cannot be written, or the record to replay cannot be read.
    """
    redactor = Redactor()
    learn_secrets(environment, redactor)
    person, known_by = identity()
    facts: dict[str, Any] = {
        "service": service.name,
        "environment": environment.name,
        "window": window.to_json(),
        "mode": around.mode,
        "systems": {source: dict(endpoint.settings) for source, endpoint in environment.endpoints.items()},
        "credentials": {source: sorted(endpoint.secrets) for source, endpoint in environment.endpoints.items()},
        "actor": {"name": person, "known_by": known_by},
        **({"saved_as": str(Path(around.saved_as).resolve())} if around.saved_as else {}),
    }
    if around.record is not None:
        record = RecordFolder.open(around.record, redactor=redactor)
        record.journal.append("note", {"what": "run", **facts})
    else:
        begun = genesis(runbook=runbook, archive=around.archive, **facts)
        record = RecordFolder.create(
            around.archive, new_run_id(runbook), genesis=begun, actor="kernel", redactor=redactor
        )
    return Opened(
        record, _tape(around, keep), around.record is None and not around.saved_as, f"{person} ({known_by})", person
    )


def _tape(around: Surroundings, keep: Callable[[Evidence | Gap], object]) -> Tape:
    from runbook_lib.clients._tape import LiveTape, ReplayTape

    if around.replay is None:
        return LiveTape(keep)
    return ReplayTape(entries(around.replay), keep)


def entries(record: Path) -> tuple[Evidence | Gap, ...]:
    """Everything that a record's run read for itself, in order; see ``record.diff.answers``.

    Raises:
        RecordError: a file of evidence is missing or cannot be read.
    """
    kept = Record.read(record)
    return tuple(
        Gap.from_json(event.data) if event.kind == "gap" else kept.answer(event.data) for event in answers(kept)
    )


def replayed_end(record: Path) -> datetime:
    """The end of the window that a record's run read over.

    Raises:
        RecordError: the record does not say.
    """
    kept = Record.read(record)
    for event in kept.events:
        window = event.data.get("window")
        if event.kind in {"run.started", "note"} and isinstance(window, Mapping):
            return parse_rfc3339(window["end"])
    raise RecordError(f"{record}: the record names no window; it cannot be replayed")


def replayed_environment(known: Catalog, name: str, record: Path) -> Environment:
    """The environment as the record's run had it: its systems are known from the record, and none needs to be there.

    Raises:
        UnknownNameError: the catalogue has no such environment.
        RecordError: the record cannot be read.
    """
    environment, kept = known.environment(name, offline=True), Record.read(record)
    systems = kept.run.get("systems")
    if systems is None:
        # An older record: the systems that answered, or failed to.
        missing = {gap.data["source"] for gap in kept.all("gap") if "not configured" in gap.data["reason"]}
        asked = {event.data["source"] for event in kept.events if event.kind in {"evidence", "gap"}} - missing
        systems = {
            source: environment.endpoints[source].settings if source in environment.endpoints else {}
            for source in sorted(asked)
        }
    # Which credentials there were decides what a run does: Slack's webhook posts, its token also edits. Their values
    # are not needed, for nothing is asked; a record that does not name them has those of the catalogue.
    known_names = {source: list(endpoint.secrets) for source, endpoint in environment.endpoints.items()}
    names = kept.run.get("credentials", known_names)
    endpoints = {
        source: Endpoint(source, given, dict.fromkeys(names.get(source, ()), "")) for source, given in systems.items()
    }
    return replace(environment, endpoints=endpoints)


def replayed_outcome(record: Path, plan: Plan) -> Outcome:
    """What the record says became of a plan; a replay changes nothing itself.

    Raises:
        RecordError: the record cannot be read.
    """
    kept = next((one for one in reversed(Record.read(record).outcomes) if one["plan"] == plan.digest), None)
    if kept is None:
        return Outcome(plan.digest, OutcomeStatus.WAITING, "a replay changes nothing, and the record tells no outcome")
    return Outcome.from_json(kept)


def pause(tape: Tape, answer: Evidence | Gap) -> Callable[[float], bool]:
    """How to wait before a question is asked again: a replay does not wait, and ends where the record does."""
    from runbook_lib.clients._tape import ReplayTape

    return (lambda _: tape.more(answer)) if isinstance(tape, ReplayTape) else sleep


def action_context(
    opened: Opened,
    environment: Environment,
    around: Surroundings,
    journal: Callable[[str, Mapping[str, Any]], None],
) -> Context:
    """What the guarded path gets to know of the run."""
    ledger = opened.record.path.parents[3] / LEDGER
    return Context(
        run_id=opened.record.run_id,
        actor=opened.person,
        environment=environment,
        requested=around.apply,
        ledger=ledger,
        journal=journal,
        lock=lambda target: file_lock(ledger / "locks", target),
    )


def seal(opened: Opened, verdict: str, known: Catalog) -> Path:
    """Seal the record of a run that no runner drives, and return its final folder.

    Raises:
        RecordError: it cannot be sealed.
    """
    told = Record.read(opened.record.path)
    path = opened.record.seal(
        settled(told), verdict, reason=told.stopped or "", actor="kernel", sign=signer(known.signing_key)
    )
    return anchor(path, known)
