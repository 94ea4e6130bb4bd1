"""The data-safety guard of a rollback: whether an older release still runs on the schema that the data has by now."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from runbook_lib.actions.release import of_repository
from runbook_lib.model import Gap, GuardResult

if TYPE_CHECKING:
    from runbook_lib.actions.propose import Systems

NAME = "the schema fits the older release"
_NEXT = "read first: runbook run database_rollback"


def schema_fits(run: Systems, revision: int) -> GuardResult:
    """Whether the release of a revision accepts the live schema; what cannot be told does not pass.

    The catalogue says which newest migrations each image tag accepts: ``workload.schema``, tag to a list of versions.

    Args:
        run: the run with its systems.
        revision: the revision to return to.
    """
    migrations, preview = run.postgres.migrations(), run.helm.preview(revision=revision)
    for one in (migrations, preview):
        if isinstance(one, Gap):
            return _no(f"cannot be told: {one.reason}")
    tools = [(name, tool) for name, tool in _tools(migrations.document)]
    stuck = [name for name, tool in tools if tool.get("dirty") or tool.get("locked")]
    if stuck:
        return _no(f"a migration of {', '.join(stuck)} stopped half-way or holds its lock")
    if not tools:
        return GuardResult(NAME, True, "no migration tool has a table in the database")
    tag = of_repository(run, preview.document["images"]).rpartition(":")[2]
    accepts = run.service.workload.get("schema", {}).get(tag)
    if accepts is None:
        return _no(f"cannot be told: workload.schema says nothing about {tag or 'the image'}")
    known = {str(one) for one in accepts}
    for name, tool in tools:
        if (live := _newest(tool)) not in known:
            return _no(f"{name} is at {live}; {tag} accepts {', '.join(sorted(known))}")
    return GuardResult(NAME, True, f"{tag} accepts {', '.join(f'{name} {_newest(tool)}' for name, tool in tools)}")


def _tools(document: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    return [(str(tool["tool"]), tool) for tool in document.get("tools", ())]


def _newest(tool: Mapping[str, Any]) -> str:
    return str(tool.get("newest") or "nothing")


def _no(reason: str) -> GuardResult:
    return GuardResult(NAME, False, f"{reason}; {_NEXT}")
