"""From evidence to findings: pure functions, one small module per question.

Every function takes what the clients answered (``Evidence`` or ``Gap``), never raises because data is missing or odd,
and says with numbers what it finds, what it rules out and what it cannot tell. ``weigh`` orders all of it, root
causes first; ``conclude`` gives the verdict. Rules and thresholds: docs/diagnosis.md.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runbook_lib.analysis.after_fix import fixed
    from runbook_lib.analysis.backup import backup_ready
    from runbook_lib.analysis.buckets import quantile
    from runbook_lib.analysis.cache_state import cache
    from runbook_lib.analysis.cpu import saturated
    from runbook_lib.analysis.database_state import database
    from runbook_lib.analysis.dependency import dependencies
    from runbook_lib.analysis.downtime import compared, lost_requests
    from runbook_lib.analysis.error_ratio import errors
    from runbook_lib.analysis.frames import frame
    from runbook_lib.analysis.linting import migration_lint
    from runbook_lib.analysis.migrations import releases_that_fit
    from runbook_lib.analysis.objective import objective_breached
    from runbook_lib.analysis.pool_use import pool
    from runbook_lib.analysis.probe import health
    from runbook_lib.analysis.release import shifted_after
    from runbook_lib.analysis.release_gate import (
        objectives_hold,
        release_built,
        release_commit,
        release_ready,
        release_tag,
    )
    from runbook_lib.analysis.rollout import rolled_out
    from runbook_lib.analysis.slo import spending
    from runbook_lib.analysis.steps import agrees, answered, below, by_hand, expected, planned
    from runbook_lib.analysis.traffic import driven_by
    from runbook_lib.analysis.verdict import conclude
    from runbook_lib.analysis.weighing import weigh
    from runbook_lib.analysis.workload import replicas

__all__ = [
    "agrees",
    "answered",
    "backup_ready",
    "below",
    "by_hand",
    "cache",
    "compared",
    "conclude",
    "database",
    "dependencies",
    "driven_by",
    "errors",
    "expected",
    "fixed",
    "frame",
    "health",
    "lost_requests",
    "migration_lint",
    "objective_breached",
    "objectives_hold",
    "planned",
    "pool",
    "quantile",
    "release_built",
    "release_commit",
    "release_ready",
    "release_tag",
    "releases_that_fit",
    "replicas",
    "rolled_out",
    "saturated",
    "shifted_after",
    "spending",
    "weigh",
]

# A module must not carry the name of a public function: importing it would hide the function.
_HOMES = {
    "agrees": "steps",
    "answered": "steps",
    "backup_ready": "backup",
    "below": "steps",
    "by_hand": "steps",
    "cache": "cache_state",
    "compared": "downtime",
    "conclude": "verdict",
    "database": "database_state",
    "dependencies": "dependency",
    "driven_by": "traffic",
    "errors": "error_ratio",
    "expected": "steps",
    "fixed": "after_fix",
    "frame": "frames",
    "health": "probe",
    "lost_requests": "downtime",
    "migration_lint": "linting",
    "objective_breached": "objective",
    "objectives_hold": "release_gate",
    "planned": "steps",
    "pool": "pool_use",
    "quantile": "buckets",
    "release_built": "release_gate",
    "release_commit": "release_gate",
    "release_ready": "release_gate",
    "release_tag": "release_gate",
    "releases_that_fit": "migrations",
    "replicas": "workload",
    "rolled_out": "rollout",
    "saturated": "cpu",
    "shifted_after": "release",
    "spending": "slo",
    "weigh": "weighing",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
