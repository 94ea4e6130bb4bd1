"""Checks as findings: what was checked takes part in the verdict of a run."""

from __future__ import annotations

from collections.abc import Iterator

from runbook_lib.model import Checks, CheckStatus, Finding, Role, Severity


def findings_of(checks: Checks) -> Iterator[Finding]:
    """One finding for each needed check that did not pass, and one that counts those that did."""
    needed = [check for check in checks if check.needed]
    passed = sum(check.status is CheckStatus.PASSED for check in needed)
    if passed:
        yield Finding("none", Severity.NOTE, f"{passed} of {len(needed)} needed checks passed", role=Role.RULED_OUT)
    for check in needed:
        if check.status is not CheckStatus.PASSED:
            severity = Severity.CRITICAL if check.status is CheckStatus.FAILED else Severity.UNKNOWN
            told = f"{check.group} {check.name}: {check.observed}, required {check.required or 'to pass'}"
            yield Finding("unknown", severity, f"{told}; {check.fix}" if check.fix else told, role=Role.SYMPTOM)
