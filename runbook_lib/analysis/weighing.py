"""Which findings are root causes, and which are only what those causes do: from many findings to an answer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from runbook_lib.analysis.conditions import Scene
from runbook_lib.analysis.rules import RULES
from runbook_lib.model import Finding, Gap, Role, Severity

_SEVERITIES = (Severity.CRITICAL, Severity.WARNING, Severity.UNKNOWN, Severity.NOTE)
#: Causes that are claimed because they coincide with the symptom; without a symptom they are no cause of anything.
COINCIDENT = ("traffic.surge", "app.cpu_bound")
#: Trouble of its own, even where latency keeps its objective.
OWN_TROUBLE = (
    "app.errors",
    "app.bad_release",
    "app.crash_loop",
    "app.replicas_missing",
    "db.unreachable",
    "redis.unreachable",
)
#: Key of a finding's subject: the root that accounts for it.
EXPLAINED_BY = "explained_by"
#: Which system's silence makes a failing dependency an outage.
_SILENT = {"db.unreachable": "postgres", "redis.unreachable": "redis"}


def weigh(findings: Iterable[Finding], gaps: Iterable[Gap] = ()) -> tuple[Finding, ...]:
    """Put root causes first and say of the rest what explains it.

    Args:
        findings: whatever the analyses said, in any order.
        gaps: what could not be read.

    Returns:
        The same claims: root causes, the symptom (now with the first root's cause, or ``unknown``), what cannot be
        told, context, and what is ruled out; strongest first within each. The order given does not matter, and
        weighing twice changes nothing.
    """
    known, silences = sorted(_unique(findings), key=_key), tuple(gaps)
    claims = [_calmed(one, known) for one in known if _is_claim(one)]
    told = [one for one in known if EXPLAINED_BY in one.subject]
    answered = frozenset(cited.partition(".")[0] for one in known for cited in one.evidence if "#" in cited)
    scene = Scene([*(one for one in claims if one.role is Role.CAUSE), *told], silences, answered)
    claims = [_confirmed(one, scene) for one in claims]
    roots, explained = _explain(claims, scene)
    top = min(roots, key=_key, default=None)
    claimed = {one.cause for one in claims if one.role is Role.CAUSE}
    rest = [_caused(one, top) for one in known if not _is_claim(one) and not _contradicted(one, claimed)]
    return tuple(sorted([*roots, *explained, *rest], key=_key))


def _unique(findings: Iterable[Finding]) -> list[Finding]:
    """Each claim once: a notebook may note the same finding twice."""
    unique: list[Finding] = []
    for one in findings:
        if one not in unique:
            unique.append(one)
    return unique


def _contradicted(one: Finding, claimed: set[str]) -> bool:
    """One look rules a cause out and another look finds it: then it is not ruled out."""
    return one.role is Role.RULED_OUT and one.cause in claimed


def _is_claim(one: Finding) -> bool:
    return one.role is Role.CAUSE and one.cause != "unknown"


def _calmed(claim: Finding, known: list[Finding]) -> Finding:
    """A claim beside a service that keeps its objective: a coincidence is context, a mechanism a warning."""
    kept = any(one.cause == "none" for one in known) and not any(one.role is Role.SYMPTOM for one in known)
    if not kept:
        return claim
    if _coincides(claim):
        fails = any(one.cause in OWN_TROUBLE and one.role is Role.CAUSE and not _coincides(one) for one in known)
        return claim if fails else replace(claim, role=Role.CONTEXT, severity=Severity.NOTE)
    if claim.cause in OWN_TROUBLE or claim.severity is not Severity.CRITICAL:
        return claim
    return replace(claim, severity=Severity.WARNING)


def _coincides(claim: Finding) -> bool:
    """Whether the claim rests on time or load alone, and means nothing where nobody suffers."""
    return claim.cause in COINCIDENT or bool(claim.subject.get("coincides") or claim.subject.get("scaled_down"))


def _confirmed(claim: Finding, scene: Scene) -> Finding:
    """Calls that fail, to a system that does not answer us either: an outage, surely."""
    source = _SILENT.get(claim.cause)
    return replace(claim, confidence=0.95) if source and scene.silent(source) else claim


def _explain(claims: list[Finding], scene: Scene) -> tuple[list[Finding], list[Finding]]:
    """Roots, and what they explain as context; a circle of explanations keeps its strongest member as root."""
    causes = sorted((one for one in claims if one.role is Role.CAUSE), key=_key)
    context = [one for one in claims if one.role is not Role.CAUSE]
    explained = {i: _explainer(i, one, causes, scene) for i, one in enumerate(causes)}
    if causes and all(explained.values()):
        explained[0] = None
    for i, one in enumerate(causes):
        by = explained[i]
        if by:
            title, subject = f"{one.title} (explained by {by.cause})", {**one.subject, EXPLAINED_BY: by.cause}
            context.append(replace(one, role=Role.CONTEXT, title=title, subject=subject))
    return [one for i, one in enumerate(causes) if not explained[i]], context


def _explainer(index: int, one: Finding, causes: list[Finding], scene: Scene) -> Finding | None:
    """The strongest finding that accounts for ``one``: by a rule, or the same claim made from a stronger look."""
    for i, other in enumerate(causes):
        if other is one:
            continue
        if (i < index and _same_claim(other, one)) or any(rule.explains(other, one, scene) for rule in RULES):
            return other
    return None


def _same_claim(stronger: Finding, weaker: Finding) -> bool:
    names = [one.subject.get("dependency") for one in (stronger, weaker)]
    return stronger.cause == weaker.cause and (names[0] == names[1] or weaker.cause != "dependency.slow")


def _caused(one: Finding, top: Finding | None) -> Finding:
    if one.role is not Role.SYMPTOM:
        return one
    return replace(one, cause=top.cause if top else "unknown")


def _rank(one: Finding) -> int:
    """Root causes, then the symptom; what cannot be told is no claim and comes after both."""
    if one.role is Role.CAUSE:
        return 0 if one.cause != "unknown" else 2
    return {Role.SYMPTOM: 1, Role.CONTEXT: 3, Role.RULED_OUT: 4}[one.role]


def _key(one: Finding) -> tuple[int, int, float, str, str, str]:
    return (
        _rank(one),
        _SEVERITIES.index(one.severity),
        -one.confidence,
        one.cause,
        one.title,
        # Only so that the order given never matters.
        f"{one.since} {sorted(one.subject.items(), key=str)} {one.evidence}",
    )
