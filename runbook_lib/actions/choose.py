"""Several plans of one runbook, of which a run carries out at most one."""

from __future__ import annotations

from runbook_lib.errors import UnknownNameError
from runbook_lib.model import NoPlan, Plan


def choose(change: str, **plans: Plan | NoPlan) -> Plan | NoPlan:
    """The plan that the person asked for.

    Args:
        change: its name; empty for none.
        plans: name to plan.

    Raises:
        UnknownNameError: there is no plan of that name; carries the nearest one.
    """
    if not change:
        told = ", ".join(plans)
        return NoPlan("no change was asked for", (f"Ask for one with -p change=NAME: {told}.",))
    if change not in plans:
        raise UnknownNameError("change", change, plans)
    return plans[change]
