"""The record of a run whose process is gone without a word: found, put in order, and told."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runbook_lib.errors import RecordError, SourceError
from runbook_lib.fleet.targets import Target
from runbook_lib.fleet.worker import failure, summary
from runbook_lib.model.times import parse_rfc3339, rfc3339
from runbook_lib.record.chain import REMOTE
from runbook_lib.record.folder import JOURNAL, PARTIAL
from runbook_lib.record.record import Record
from runbook_lib.record.recover import recover
from runbook_lib.record.status import Status

# The record of a killed runner is free when its kernel is gone too, which its watcher sees to.
_RECOVER_SECONDS = 15.0
# Two machines need not agree on the time to the second.
_CLOCKS_DIFFER_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Orphan:
    """What a vanished run left behind.

    Args:
        result: what the page over all targets shows of it.
        repeatable: whether it is known that it had made no intent, so that it may be done again.
    """

    result: Mapping[str, Any]
    repeatable: bool


def put_in_order(archive: Path, target: Target, began: str, told: str, words: str) -> Orphan:
    """Find the record that a run left behind and seal it as recovery does.

    Args:
        archive: folder of the archive; of a bucket, its working folder on this machine.
        target: what the run was about.
        began: when it was started, RFC 3339.
        told: folder of its record, where it had told one; empty where it had not.
        words: how its process ended.
    """
    place = here(archive, told) if told else _search(archive, target, began)
    if place is None:
        # A bucket gets a record when it is sealed; before that another machine's cannot be seen.
        unseen = (archive / REMOTE).is_file()
        return Orphan(
            failure(1, f"{words}; {'no record of it was told' if unseen else 'it had begun no record'}"), not unseen
        )
    limit, problem = time.monotonic() + _RECOVER_SECONDS, ""
    while True:
        try:
            return _found(_sealed(archive, place), words)
        except (RecordError, SourceError, OSError) as error:
            problem = str(error)
        if time.monotonic() > limit:
            reason = f"{words}; its record is not in order: {problem}"
            return Orphan({**failure(7, reason), "run_id": _run_id(place), "record": str(place)}, repeatable=False)
        time.sleep(0.1)


def here(archive: Path, told: str) -> Path:
    """The folder of a record in this machine's archive, from the one that a run told on whichever machine it was."""
    return archive.joinpath(*Path(told).parts[-4:])


def fetch(archive: Path, folder: Path) -> None:
    """Copy a record that another machine has put into the bucket.

    Args:
        archive: the bucket's working folder on this machine; nothing is done for another archive.
        folder: of the record, in that working folder.

    Raises:
        SourceError: the bucket cannot be read.
    """
    if (archive / REMOTE).is_file() and not (folder / JOURNAL).is_file():
        from runbook_lib.record.remote import Remote

        Remote(archive).whole(folder)


def _run_id(place: Path) -> str:
    return place.name.removesuffix(PARTIAL)


def _sealed(archive: Path, place: Path) -> Path:
    """Seal the record where that is left to do; its runner may have done it in its last moments."""
    final = place.with_name(_run_id(place))
    partial = final.with_name(final.name + PARTIAL)
    if partial.is_dir() and not final.is_dir():
        return recover(partial).path
    fetch(archive, final)
    return final


def _found(folder: Path, words: str) -> Orphan:
    record = Record.read(folder)
    if not record.sealed:
        raise RecordError(f"{folder}: is not sealed")
    reason = f"{words}; {record.reason}" if record.reason else words
    told = {**summary(record.to_json()), "exit_code": 1, "reason": reason, "record": str(folder)}
    return Orphan(told, repeatable=not record.all("action.intent"))


def _search(archive: Path, target: Target, began: str) -> Path | None:
    """The newest record since then with the parameters of this target, unsealed or interrupted."""
    since = parse_rfc3339(began).timestamp() - _CLOCKS_DIFFER_SECONDS
    for journal in sorted(archive.glob(f"[0-9]*/[0-9]*/[0-9]*/*/{JOURNAL}"), key=lambda one: one.parent, reverse=True):
        with suppress(RecordError, LookupError, ValueError):
            if journal.stat().st_mtime < since:
                continue
            record = Record.read(journal.parent)
            fits = record.run.get("parameters") == dict(target.values)
            fits = fits and (not record.sealed or record.status is Status.INTERRUPTED)
            if fits and record.started is not None and rfc3339(record.started) >= began:
                return journal.parent
    return None
