"""Conditions under which one finding explains another, each with its words for the documentation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from runbook_lib.analysis.claims import has_no_room
from runbook_lib.analysis.dependency import kind_of
from runbook_lib.analysis.thresholds import THRESHOLDS
from runbook_lib.model import Finding, Gap

_UNREACHABLE = ("unreachable", "timeout")
#: Rates look back a minute and are sampled in steps: times closer than this are not told apart.
_SLACK = timedelta(seconds=90)


@dataclass(frozen=True, slots=True)
class Scene:
    """All that is known when one finding is held against another.

    Args:
        causes: every finding that claims a cause.
        gaps: what could not be read.
        answered: systems that answered some other question.
    """

    causes: Sequence[Finding]
    gaps: Sequence[Gap]
    answered: frozenset[str] = frozenset()

    def silent(self, source: str) -> bool:
        """Whether ``source`` could not be reached by ourselves either, with any question."""
        silent = [gap for gap in self.gaps if gap.source == source and gap.kind in _UNREACHABLE]
        return source not in self.answered and any(not has_no_room(gap) for gap in silent)

    def has(self, *causes: str) -> bool:
        """Whether any of ``causes`` is claimed."""
        return any(one.cause in causes for one in self.causes)


Test = Callable[[Finding, Finding, Scene], bool]


@dataclass(frozen=True, slots=True)
class Condition:
    """When a root explains a victim.

    Args:
        words: for the documentation; empty when it always holds.
        holds: decides on root, victim and all that is known.
    """

    words: str
    holds: Test

    def __and__(self, other: Condition) -> Condition:
        """Both conditions."""
        words = "; ".join(one for one in (self.words, other.words) if one)
        return Condition(words, lambda r, v, s: self.holds(r, v, s) and other.holds(r, v, s))


def _same_session(root: Finding, victim: Finding, _scene: Scene) -> bool:
    return victim.subject.get("pid") in {root.subject.get("pid"), *root.subject.get("victims", ())}


def _not_idle(_root: Finding, victim: Finding, _scene: Scene) -> bool:
    return victim.subject.get("scope") == "pool" or victim.subject.get("idle_share", 1.0) < 0.5


def _kind(victim: Finding) -> str:
    return kind_of(str(victim.subject.get("dependency", "")))


def _not_later(root: Finding, victim: Finding, _scene: Scene) -> bool:
    return root.since is None or victim.since is None or root.since <= victim.since + _SLACK


def _same_work(_root: Finding, victim: Finding, scene: Scene) -> bool:
    cpu = next((one for one in scene.causes if one.cause == "app.cpu_bound"), victim)
    return float(cpu.subject.get("work_factor", 1.0)) < THRESHOLDS["work_factor"].value


ALWAYS = Condition("", lambda _r, _v, _s: True)
SAME_SESSION = Condition("the same session, or one that it blocks", _same_session)
POOL = Condition("it is the service's pool", lambda _r, v, _s: v.subject.get("scope") == "pool")
NOT_IDLE = Condition("it is the service's pool, or a server whose sessions are not idle", _not_idle)
SERVER = Condition("it is the server that is full", lambda r, _v, _s: r.subject.get("scope") == "server")
DATABASE = Condition("it is the database", lambda _r, v, _s: _kind(v) == "database")
STORE = Condition("it is the database or the cache", lambda _r, v, _s: _kind(v) in {"database", "cache"})
FOREIGN = Condition("it is neither the database nor the cache", lambda r, _v, _s: _kind(r) == "other")
DATABASE_ANSWERS = Condition("the database answers us", lambda _r, _v, s: not s.silent("postgres"))
DATABASE_SILENT = Condition("the database is silent to us, too", lambda _r, _v, s: s.silent("postgres"))
CACHE_ANSWERS = Condition("the cache answers us", lambda _r, _v, s: not s.silent("redis"))
CACHE_SILENT = Condition("the cache is silent to us, too", lambda _r, _v, s: s.silent("redis"))
NOT_LATER = Condition("it began no later", _not_later)
PROMPT = Condition("it showed when the release began to serve", lambda r, _v, _s: bool(r.subject.get("prompt", True)))
SAME_WORK = Condition("a request costs the processor what it did", _same_work)
OUTSIDE = Condition(
    "neither processor time nor errors of the service's own changed",
    lambda _r, _v, s: not s.has("app.cpu_bound", "app.errors", "app.crash_loop"),
)
OWN = Condition("the session is the service's own", lambda _r, v, _s: bool(v.subject.get("own", False)))
OTHERS = Condition("the session is not the service's own", lambda r, _v, _s: not r.subject.get("own", False))
UNREADY = Condition("the pods run, but are not ready", lambda _r, v, _s: bool(v.subject.get("unready", False)))
ABSENT = Condition("the pods are not there", lambda r, _v, _s: not r.subject.get("unready", False))
