"""What the service says of its own health, asked as a user would."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runbook_lib.analysis.claims import found, ruled_out, untold
from runbook_lib.analysis.dependency import kind_of
from runbook_lib.model import Evidence, Finding, Gap, Severity

_QUESTION = "whether the service calls itself healthy"
_GOOD = ("ok", "healthy", "up", "pass", "passing", "true")
_CAUSES = {"database": "db.unreachable", "cache": "redis.unreachable", "other": "dependency.slow"}


def health(probe: Evidence | Gap) -> tuple[Finding, ...]:
    """Read the answer of the service's health endpoint.

    Args:
        probe: some answers as a document: ``status`` of the last, how many were ``asked`` for and are ``healthy``, and
            where the service has them ``checks``, name to ``{said, failing, answers}``.

    Returns:
        One finding for each check that fails: ``db.unreachable``, ``redis.unreachable`` or ``dependency.slow``,
        critical when half of the answers are unhealthy, else a warning; for an unhealthy answer without a failing
        check ``app.errors``; else ruled out. A check says what one process saw at one moment, so any finding that
        explains it comes before it.
    """
    if isinstance(probe, Gap):
        return (untold(_QUESTION, probe),)
    status = str(probe.document.get("status") or "")
    asked, healthy = _count(probe, "asked"), _count(probe, "healthy")
    counted = asked > 0 and healthy >= 0
    checks = _checks(probe.document.get("checks"))
    failing = {name: check for name, check in checks.items() if check["failing"]}
    if failing:
        half = healthy * 2 <= asked if counted else status.casefold() not in _GOOD
        severity = Severity.CRITICAL if half else Severity.WARNING
        return tuple(_failing(probe, severity, name, check) for name, check in failing.items())
    if not status and not counted:
        return (untold(_QUESTION, probe, "the answer names no status"),)
    answers = f", {healthy} of {asked} answers are healthy" if counted else ""
    title = f"the service calls itself {status or 'nothing'}{_checked(checks)}{answers}"
    if healthy == asked if counted else status.casefold() in _GOOD:
        return (ruled_out("app.errors", title, probe),)
    return (found("app.errors", Severity.CRITICAL, title, probe, confidence=0.5, subject={"status": status}),)


def _count(probe: Evidence, name: str) -> int:
    number = probe.document.get(name)
    return number if isinstance(number, int) else -1


def _checks(given: Any) -> dict[str, Mapping[str, Any]]:
    """The checks that are counted, by name."""
    told = given.items() if isinstance(given, Mapping) else ()
    return {
        str(name): check
        for name, check in sorted(told, key=str)
        if isinstance(check, Mapping) and all(isinstance(check.get(key), int) for key in ("failing", "answers"))
    }


def _failing(probe: Evidence, severity: Severity, name: str, check: Mapping[str, Any]) -> Finding:
    said = str(check.get("said", ""))
    return found(
        _CAUSES[kind_of(name)],
        severity,
        f"the service's own check of its {name} fails in {check['failing']} of {check['answers']} answers: {said}",
        probe,
        confidence=0.55,
        subject={"dependency": name, "check": said},
    )


def _checked(checks: Mapping[str, Any]) -> str:
    return f" and finds {', '.join(checks)} well" if checks else ""
