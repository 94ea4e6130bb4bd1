"""The words of the house as frozen data: standard library only, no input or output."""

from runbook_lib.model.action import Approval, GuardResult, NoPlan, Outcome, OutcomeStatus, Plan, Verification
from runbook_lib.model.check import Check, Checks, CheckStatus
from runbook_lib.model.evidence import Evidence, Gap, Series, Table
from runbook_lib.model.finding import CAUSES, Finding, Findings, Role, Severity, Verdict
from runbook_lib.model.service import Endpoint, Environment, Objective, Service
from runbook_lib.model.units import Quantity
from runbook_lib.model.window import Window

__all__ = [
    "CAUSES",
    "Approval",
    "Check",
    "CheckStatus",
    "Checks",
    "Endpoint",
    "Environment",
    "Evidence",
    "Finding",
    "Findings",
    "Gap",
    "GuardResult",
    "NoPlan",
    "Objective",
    "Outcome",
    "OutcomeStatus",
    "Plan",
    "Quantity",
    "Role",
    "Series",
    "Service",
    "Severity",
    "Table",
    "Verdict",
    "Verification",
    "Window",
]
