"""The data-safety guard: whether a release still runs on the schema that the data has by now."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runbook_lib.actions.release import of_repository
from runbook_lib.analysis.migrations import declared, fits
from runbook_lib.model import CheckStatus, Evidence, Gap, GuardResult

if TYPE_CHECKING:
    from runbook_lib.actions.propose import Systems

NAME = "the schema fits the release"
_NEXT = "read first: runbook run database_rollback"


def schema_fits(run: Systems, revision: int) -> GuardResult:
    """Whether the release of a revision runs on the live schema; what cannot be told does not pass.

    Args:
        run: the run with its systems.
        revision: the revision to return to.
    """
    preview = run.helm.preview(revision=revision)
    if isinstance(preview, Gap):
        return GuardResult(NAME, False, f"cannot be told: {preview.reason}; {_NEXT}")
    history = run.helm.history()
    rows = history.table.records() if isinstance(history, Evidence) else []
    # What was first asked after the next revision came is not of this one, and need not fit.
    since = {float(row["revision"] or 0): float(row["updated_at"] or 0) for row in rows}
    own = since.get(revision, 0.0)
    later = [at for number, at in since.items() if number > revision and at > own]
    return image_fits(run, of_repository(run, preview.document["images"]), until=min(later, default=None))


def image_fits(run: Systems, image: str, *, until: float | None = None) -> GuardResult:
    """Whether the release of an image runs on the live schema; what cannot be told does not pass.

    The catalogue declares the newest migrations on which each image tag runs: ``workload.schema``, tag to a list of
    versions, its own one first. Where the schema is ahead of that, the statements that the service ran must also still
    be accepted by the server's parser.

    Args:
        run: the run with its systems.
        image: the image, with its tag.
        until: when a later release took over from it, epoch seconds; None when none did.
    """
    if "postgres" not in run.environment.endpoints:
        return GuardResult(NAME, True, "the environment has no database")
    migrations = run.postgres.migrations()
    if isinstance(migrations, Evidence) and not migrations.document["tools"]:
        return GuardResult(NAME, True, "no migration tool has a table in the database")
    accepts, tag = run.service.workload.get("schema", {}), image.rpartition(":")[2]
    known = declared(accepts, tag)
    check = fits(migrations, prepared=run.postgres.prepares(), until=until, **known)
    if check.status is CheckStatus.PASSED:
        return GuardResult(NAME, True, f"{tag}: {check.observed}")
    told = f"workload.schema says nothing about {tag or 'the image'}" if known["known"] is None else check.observed
    told = f"cannot be told: {told}" if check.status is CheckStatus.UNKNOWN else f"{tag}: {told}"
    return GuardResult(NAME, False, f"{told}; {_NEXT}")
