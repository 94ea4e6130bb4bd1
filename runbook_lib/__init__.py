"""Executable runbooks: what a notebook imports.

Run         one execution: reads, notes, plans, applies, verifies, and writes all of it down
actions     scale, end_backend, propose: plans that pass the one guarded path
analysis    evidence -> findings
charts      evidence -> a picture that stays visible in a saved file

Everything is imported when it is first used: ``import runbook_lib`` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runbook_lib import actions, analysis, charts
    from runbook_lib.run import Run

__all__ = ["Run", "actions", "analysis", "charts"]


def __getattr__(name: str) -> Any:
    if name == "Run":
        return importlib.import_module("runbook_lib.run").Run
    if name in __all__:
        return importlib.import_module(f"runbook_lib.{name}")
    raise AttributeError(f"runbook_lib has no {name!r}; it has {', '.join(__all__)}")
