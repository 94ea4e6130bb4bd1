"""Whether there is a backup that may be relied on before data is lost: its age, its size, and a restore on trial."""

from __future__ import annotations

from runbook_lib.model import Check, Checks, CheckStatus, Evidence, Gap
from runbook_lib.model.units import format_value

GROUP = "backup"
#: A dump that is less than half of the one before it probably ended early.
_LEAST_OF_PREVIOUS = 0.5


def backup_ready(newest: Evidence | Gap, trial: Evidence | Gap, *, max_age_hours: float = 24.0) -> Checks:
    """A line each for age, size and restorability; what is not known does not pass.

    Args:
        newest: the newest backup.
        trial: how its restore went.
        max_age_hours: the oldest that counts as a restore point, hours.
    """
    if isinstance(newest, Gap) or not newest.document["found"]:
        told = newest.reason if isinstance(newest, Gap) else "the folder holds no dump"
        status = CheckStatus.UNKNOWN if isinstance(newest, Gap) else CheckStatus.FAILED
        return Checks((_check("a backup exists", status, told, "a dump", "make one: pg_dump --format=custom"),))
    return Checks((_age(newest, max_age_hours), _size(newest), _restored(newest, trial)))


def _age(newest: Evidence, max_age_hours: float) -> Check:
    age_seconds = newest.read_at.timestamp() - float(newest.document["taken_at"])
    told = f"{newest.document['name']} is {format_value(age_seconds, 's')} old"
    status = CheckStatus.PASSED if age_seconds <= max_age_hours * 3600 else CheckStatus.FAILED
    return _check("young enough", status, told, f"at most {max_age_hours:g} hours", "make a new one")


def _size(newest: Evidence) -> Check:
    size, previous = int(newest.document["size_bytes"]), int(newest.document["previous_size_bytes"])
    told = f"{format_value(size, 'B')}, {newest.document['tables']} tables"
    told += f", the one before {format_value(previous, 'B')}" if previous else ", none before it"
    whole = size >= _LEAST_OF_PREVIOUS * previous and int(newest.document["tables"]) > 0
    status = CheckStatus.PASSED if whole else CheckStatus.FAILED
    return _check("whole", status, told, "tables, and at least half of the one before", "look why it shrank")


def _restored(newest: Evidence, trial: Evidence | Gap) -> Check:
    required, fix = "every table of the dump restored into a server of its own", "restore it by hand, elsewhere"
    if isinstance(trial, Gap):
        return _check("restored on trial", CheckStatus.UNKNOWN, trial.reason, required, fix)
    wanted, document = int(newest.document["tables"]), trial.document
    whole = document["name"] == newest.document["name"] and document["restored"] and int(document["tables"]) >= wanted
    told = document["reason"] or f"{document['tables']} of {wanted} tables with {document['rows']} rows"
    return _check("restored on trial", CheckStatus.PASSED if whole else CheckStatus.FAILED, str(told), required, fix)


def _check(name: str, status: CheckStatus, observed: str, required: str, fix: str) -> Check:
    return Check(GROUP, name, status, observed, required, "" if status is CheckStatus.PASSED else fix)
