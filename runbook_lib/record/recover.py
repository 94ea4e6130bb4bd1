"""Put the record of a dead run in order: drop a torn end, say what is unknown, seal it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runbook_lib.errors import RecordError
from runbook_lib.model.canonical import digest_bytes
from runbook_lib.record._disk import DISK, Disk
from runbook_lib.record.event import chain_members
from runbook_lib.record.folder import JOURNAL, PARTIAL, RecordFolder, hold
from runbook_lib.record.journal import Journal
from runbook_lib.record.record import Record
from runbook_lib.record.seal import finish
from runbook_lib.record.status import EXIT_CODES, Status
from runbook_lib.record.verify import record_folders

if TYPE_CHECKING:
    from runbook_lib.record.folder import Signer
    from runbook_lib.secrets import Redactor

#: What is cut off the journal's end is kept here.
TORN = "events.torn"


@dataclass(frozen=True, slots=True)
class Recovered:
    """What recovery made of one dead run.

    Args:
        path: the folder under its final name.
        status: as sealed.
        open_intents: digests of plans whose request may have been sent; ``runbook records reconcile`` closes them.
        problem: why it could not be sealed; empty when it was.
    """

    path: Path
    status: str
    open_intents: tuple[str, ...]
    problem: str = ""


def recover(
    path: str | Path, *, redactor: Redactor | None = None, sign: Signer | None = None, disk: Disk = DISK
) -> Recovered:
    """Seal the record of a run whose processes are gone; a sealed record is left as it is.

    A run that had written its own end keeps its status. Otherwise it is ``unknown`` when the effect of an action
    cannot be told, and ``interrupted`` when no action was under way.

    Args:
        path: folder of the record.
        redactor: masks secrets in what is written.
        sign: signs the seal.
        disk: the file operations.

    Raises:
        RecordError: a process of the run is still alive, or the folder cannot be written.
    """
    folder = Path(path)
    if not folder.name.endswith(PARTIAL):
        record = Record.read(folder)
        return Recovered(folder, str(record.status), record.open_intents)
    alone = hold(folder, alone=True)
    try:
        notes = _mend(folder, disk)
    except OSError as error:
        raise RecordError(f"{folder}: cannot be put in order: {error.strerror}") from error
    finally:
        os.close(alone)
    record = Record.read(folder)
    writer = RecordFolder.open(folder, redactor=redactor, disk=disk)
    ended = dict(record.last("run.ended")) or _ending(record)
    if record.events[-1].kind != "sealed":
        if notes or not record.last("run.ended"):
            facts = {**notes, "status": ended["status"], "open_intents": list(record.open_intents)}
            writer.journal.append("recovered", facts, actor="recover")
        if not record.last("run.ended"):
            writer.journal.append("run.ended", ended, actor="recover")
    final = finish(writer, ended, actor="recover", sign=sign)
    return Recovered(final, str(ended["status"]), record.open_intents)


def recover_archive(archive: str | Path, *, sign: Signer | None = None) -> tuple[Recovered, ...]:
    """Recover every dead run of an archive; a run that is alive is left alone, and one that fails stops no other.

    Sealed records that a bucket has not got yet are sent to it.
    """
    from runbook_lib.record.remote import send_pending

    found = []
    for folder in record_folders(Path(archive)):
        if folder.name.endswith(PARTIAL) and not is_alive(folder):
            try:
                found.append(recover(folder, sign=sign))
            except RecordError as error:
                found.append(Recovered(folder, str(Status.RUNNING), (), str(error)))
    for folder in send_pending(Path(archive)):
        record = Record.read(folder)
        found.append(Recovered(folder, str(record.status), record.open_intents))
    return tuple(found)


def is_alive(path: Path) -> bool:
    """Whether a process of the run still holds its record."""
    try:
        os.close(hold(path, alone=True))
    except RecordError:
        return True
    return False


def _ending(record: Record) -> dict[str, Any]:
    if record.open_intents:
        status, reason = Status.UNKNOWN, "the run died between an action's request and its answer"
    else:
        status, reason = Status.INTERRUPTED, "the run died; no action was under way"
    return {
        "status": str(status),
        "verdict": record.verdict,
        "reason": reason,
        "exit_code": EXIT_CODES[status],
    }


def _mend(folder: Path, disk: Disk) -> dict[str, Any]:
    """Cut off what is no event at the journal's end, and drop evidence that a power cut destroyed."""
    journal, notes = folder / JOURNAL, {}
    content = journal.read_bytes() if journal.exists() else b""
    good = _good_length(content)
    if good < len(content):
        torn = content[good:]
        disk.replace(folder / TORN, torn)
        notes = {"dropped_bytes": len(torn), "dropped_digest": digest_bytes(torn)}
        descriptor = disk.open(journal, create=False)
        try:
            disk.truncate(descriptor, good)
            disk.sync(descriptor)
        finally:
            os.close(descriptor)
    if not good:
        # The run died before its first event was on the disk: nothing is known of it but its name.
        disk.remove(journal)
        run_id = folder.name.removesuffix(PARTIAL)
        Journal.create(journal, run_id=run_id, genesis={"runbook": "", "lost": True}, actor="recover", disk=disk)
        notes["genesis_lost"] = True
    if not (folder / "evidence").is_dir():
        disk.make_folder(folder / "evidence")
    record = Record.read(folder)
    lost = [] if record.events[-1].kind == "sealed" else _lost_evidence(record)
    if lost:
        for name in lost:
            disk.remove(folder / name)
        notes["lost_evidence"] = lost
    return notes


def _good_length(content: bytes) -> int:
    """Length of the journal up to its last line that is an event with its true hash, bytes."""
    end = content.rfind(b"\n") + 1
    while end:
        start = content.rfind(b"\n", 0, end - 1) + 1
        try:
            members = chain_members(content[start : end - 1])
        except RecordError:
            end = start
            continue
        if members.hash == members.true_hash:
            return end
        end = start
    return 0


def _lost_evidence(record: Record) -> list[str]:
    lost = []
    for entry in record.evidence:
        target = record.path / str(entry["file"])
        if not target.is_file() or digest_bytes(target.read_bytes()) != entry["sha256"]:
            lost.append(str(entry["file"]))
    return lost
