"""Whether a release is as Helm left it, or a person holds fields that the next revision would fight over.

After ``kubectl scale`` the replicas belong to another field manager: Helm 3 sets them back without a word, Helm 4 fails
with a conflict. Both come when a release goes out or has to go back, so drift tells it before.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from runbook_lib.model import Check, CheckStatus, Evidence, Gap
from runbook_lib.run.systems import Systems

#: Kinds of action that make a revision.
KINDS = ("deploy", "rollback", "unlock_release")
_GROUP = "release"


def held_fields(systems: Systems) -> Iterator[Check]:
    """One line for each field that somebody else holds with another value than the live revision's; nothing is changed.

    Args:
        systems: the service in its environment; Helm and the cluster are asked.
    """
    helm = systems.client("helm")
    history = helm.history()
    if isinstance(history, Gap):
        yield _unknown(history)
        return
    live = [int(row["revision"]) for row in history.table.records() if row["status"] == "deployed"]
    if not live:
        fix = "runbook run rollback"
        yield Check(_GROUP, "revision", CheckStatus.FAILED, "no revision is deployed", "one is deployed", fix)
        return
    revision = max(live)
    preview, version = helm.preview(revision=revision), helm.server()
    required = f"as revision {revision} set it"
    if isinstance(preview, Gap):
        yield _unknown(preview)
        return
    held = preview.document["conflicts"]
    if not held:
        yield Check(_GROUP, "held fields", CheckStatus.PASSED, "nobody else holds any", required)
    for one in held:
        observed = f"held by {one['manager']}: {one['live']} now, {one['wanted']} in the release; {_next(version)}"
        yield Check(_GROUP, f"{one['object']} {one['field']}", CheckStatus.FAILED, observed, required, _fix(one))


def _next(version: Evidence | Gap) -> str:
    if isinstance(version, Gap):
        return "the next revision sets it back (Helm 3) or fails (Helm 4)"
    if str(version.document["version"]).startswith("v3"):
        return "the next revision sets it back without a word (Helm 3)"
    return "the next revision fails with a conflict (Helm 4)"


def _fix(one: Mapping[str, Any]) -> str:
    value = f"put {one['live']} into the chart's values, or " if one["field"] == ".spec.replicas" else ""
    return f"{value}runbook run deploy: it keeps a scaled count, and gives other fields back with on_conflict=take_back"


def _unknown(gap: Gap) -> Check:
    return Check(_GROUP, "held fields", CheckStatus.UNKNOWN, gap.reason, "can be read")
