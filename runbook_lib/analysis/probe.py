"""What the service says of its own health, asked as a user would."""

from __future__ import annotations

from collections.abc import Mapping

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
            ``checks`` by name where the service has them.

    Returns:
        One finding for each check that fails: ``db.unreachable``, ``redis.unreachable`` or ``dependency.slow``; for
        an unhealthy answer without a failing check ``app.errors``; else ruled out.
    """
    if isinstance(probe, Gap):
        return (untold(_QUESTION, probe),)
    status = str(probe.document.get("status") or "")
    checks = probe.document.get("checks")
    named = {str(k): str(v) for k, v in checks.items()} if isinstance(checks, Mapping) else {}
    failing = {name: said for name, said in sorted(named.items()) if said.casefold() not in _GOOD}
    if failing:
        return tuple(_failing(probe, name, said) for name, said in failing.items())
    asked, healthy = (probe.document.get(name) for name in ("asked", "healthy"))
    counted = isinstance(asked, int) and isinstance(healthy, int) and asked > 0
    if not status and not counted:
        return (untold(_QUESTION, probe, "the answer names no status"),)
    answers = f", {healthy} of {asked} answers are healthy" if counted else ""
    title = f"the service calls itself {status or 'nothing'}{_checked(named)}{answers}"
    if healthy == asked if counted else status.casefold() in _GOOD:
        return (ruled_out("app.errors", title, probe),)
    return (found("app.errors", Severity.CRITICAL, title, probe, confidence=0.5, subject={"status": status}),)


def _failing(probe: Evidence, name: str, said: str) -> Finding:
    return found(
        _CAUSES[kind_of(name)],
        Severity.CRITICAL,
        f"the service's own check of its {name} fails: {said}",
        probe,
        confidence=0.55,
        subject={"dependency": name, "check": said},
    )


def _checked(named: Mapping[str, str]) -> str:
    return f" and finds {', '.join(sorted(named))} well" if named else ""
