"""From findings and gaps to the verdict; what could not be read is never counted as healthy."""

from __future__ import annotations

from collections.abc import Iterable

from runbook_lib.model import Finding, Gap, Role, Severity, Verdict


def conclude(findings: Iterable[Finding], gaps: Iterable[Gap]) -> Verdict:
    """The conclusion that findings and gaps allow.

    Returns:
        ``failing`` when anything critical was seen; ``degraded`` when users are seen to suffer less than that, or a
        cause was found and nothing that a verdict needs is missing; ``unknown`` when something needed is missing;
        ``healthy`` only when all that a verdict needs was read and nothing was found; without any finding, not even
        a cause ruled out, nothing was asked and the verdict is ``unknown``.
    """
    said = list(findings)
    seen = [one for one in said if one.role is not Role.RULED_OUT]
    if any(one.severity is Severity.CRITICAL for one in seen):
        return Verdict.FAILING
    if any(one.role is Role.SYMPTOM and one.severity is Severity.WARNING for one in seen):
        return Verdict.DEGRADED
    if not said or any(gap.needed for gap in gaps) or any(one.severity is Severity.UNKNOWN for one in seen):
        return Verdict.UNKNOWN
    if any(one.severity is Severity.WARNING for one in seen):
        return Verdict.DEGRADED
    return Verdict.HEALTHY
