"""The rules by which one cause explains another: data, one reason each.

``docs/diagnosis.md`` shows this table and a test holds the two together.
"""

from __future__ import annotations

from dataclasses import dataclass

from runbook_lib.analysis.conditions import (
    ABSENT,
    ALWAYS,
    CACHE_ANSWERS,
    CACHE_SILENT,
    DATABASE,
    DATABASE_ANSWERS,
    DATABASE_SILENT,
    FOREIGN,
    NOT_IDLE,
    NOT_LATER,
    OTHERS,
    OUTSIDE,
    OWN,
    POOL,
    PROMPT,
    SAME_SESSION,
    SAME_WORK,
    SERVER,
    STORE,
    UNREADY,
    Condition,
    Scene,
)
from runbook_lib.model import Finding


@dataclass(frozen=True, slots=True)
class Rule:
    """Some causes explain others.

    Args:
        roots: cause ids that explain.
        victims: cause ids that they explain.
        when: condition on root, victim and everything else.
        because: the reason.
    """

    roots: tuple[str, ...]
    victims: tuple[str, ...]
    when: Condition
    because: str

    def explains(self, root: Finding, victim: Finding, scene: Scene) -> bool:
        """Whether ``root`` accounts for ``victim``."""
        return root.cause in self.roots and victim.cause in self.victims and self.when.holds(root, victim, scene)


_IDLE, _LOCK, _LONG, _SLOW = "db.idle_in_transaction", "db.lock_contention", "db.long_query", "db.slow_query"
_FULL, _NO_DATABASE, _NO_CACHE = "db.connections_saturated", "db.unreachable", "redis.unreachable"
_ERRORS, _MISSING, _LOOP, _CPU = "app.errors", "app.replicas_missing", "app.crash_loop", "app.cpu_bound"
_RELEASE, _SURGE, _DEPENDENCY = "app.bad_release", "traffic.surge", "dependency.slow"
_STATEMENTS = (_IDLE, _LOCK, _LONG, _SLOW)
_CACHE = ("redis.slow", "redis.evicting", "redis.saturated")

RULES: tuple[Rule, ...] = (
    # Within the database: the root of a chain of waits before those who wait.
    Rule((_IDLE,), (_LOCK, _LONG), SAME_SESSION, "the session that does nothing holds what the others wait for"),
    Rule((_LOCK,), (_LONG,), SAME_SESSION, "a statement that holds or awaits a lock is long because of it"),
    Rule((_IDLE, _LOCK), (_SLOW,), ALWAYS, "statements that wait are slow"),
    Rule((_LONG,), (_SLOW,), ALWAYS, "statements that compete with it for the processor are slow"),
    Rule(_STATEMENTS, (_FULL,), NOT_IDLE, "Little's law: connections held longer are more connections held"),
    # From the database to the service.
    Rule(_STATEMENTS, (_DEPENDENCY,), DATABASE, "the service sees its database as slow"),
    Rule(_STATEMENTS, (_NO_DATABASE,), DATABASE_ANSWERS, "statements and checks time out"),
    Rule(_STATEMENTS, (_ERRORS,), ALWAYS, "requests time out"),
    Rule(_STATEMENTS, (_MISSING,), UNREADY, "pods that wait for the database turn unready"),
    Rule((_IDLE, _LOCK, _LONG), (_RELEASE,), OTHERS & OUTSIDE, "a session is at fault; the release only coincides"),
    Rule((_FULL,), (_FULL,), SERVER & POOL, "the server gives the pool no connection"),
    Rule((_FULL,), (_LOOP,), SERVER, "a pod that gets no connection does not start"),
    Rule((_FULL,), (_DEPENDENCY,), SERVER & DATABASE, "calls wait for a connection"),
    Rule((_FULL,), (_RELEASE,), SERVER & OUTSIDE, "others hold the connections; the release only coincides"),
    Rule((_FULL,), (_ERRORS,), ALWAYS, "requests time out waiting for a connection"),
    Rule((_FULL,), (_MISSING,), UNREADY, "pods without a connection turn unready"),
    Rule((_NO_DATABASE,), (_ERRORS, _LOOP), ALWAYS, "requests and starts that need the database fail"),
    Rule((_NO_DATABASE,), (_MISSING,), UNREADY, "pods without their database turn unready"),
    Rule((_NO_DATABASE,), (_FULL,), POOL & DATABASE_SILENT, "requests wait for connections that cannot be made"),
    Rule((_NO_DATABASE,), (_DEPENDENCY,), DATABASE, "calls wait for a database that is gone"),
    Rule((_NO_DATABASE,), (_RELEASE,), DATABASE_SILENT, "the database is down; the release only coincides"),
    # From the cache to the service.
    Rule((_NO_CACHE,), _CACHE, CACHE_SILENT, "a cache that is gone is not slow"),
    Rule((_NO_CACHE,), (_ERRORS, _LOOP), ALWAYS, "requests and starts that need the cache fail"),
    Rule((_NO_CACHE,), (_CPU,), CACHE_SILENT, "without its cache the service does all work itself"),
    Rule((_NO_CACHE,), (_RELEASE,), CACHE_SILENT, "the cache is down; the release only coincides"),
    Rule(("redis.slow",), ("redis.saturated",), ALWAYS, "slow commands take the main thread's time"),
    Rule(_CACHE, (_NO_CACHE,), CACHE_ANSWERS, "calls and checks time out"),
    Rule(_CACHE, (_ERRORS,), ALWAYS, "calls time out"),
    Rule(_CACHE, (_RELEASE,), OUTSIDE, "the cache is at fault; the release only coincides"),
    Rule((_NO_CACHE, *_CACHE), (_DEPENDENCY,), STORE, "calls wait for the cache, or go to the database instead"),
    Rule((_NO_CACHE,), (_FULL,), CACHE_SILENT & POOL, "reads that the cache served go to the database"),
    Rule(_CACHE, (_FULL,), POOL, "requests hold their connection while they wait"),
    Rule((_NO_CACHE, *_CACHE), (_MISSING,), UNREADY, "pods that wait for their cache turn unready"),
    # From other dependencies.
    Rule((_DEPENDENCY,), (_ERRORS,), ALWAYS, "calls time out"),
    Rule((_DEPENDENCY,), (_MISSING,), UNREADY, "pods that wait turn unready"),
    Rule((_DEPENDENCY,), (_FULL,), POOL, "requests hold their connection while they wait"),
    Rule((_DEPENDENCY,), (_RELEASE,), FOREIGN & OUTSIDE, "the dependency is slow; the release only coincides"),
    Rule((_DEPENDENCY,), (_NO_DATABASE,), FOREIGN & DATABASE_ANSWERS, "requests wait so long that checks time out"),
    Rule((_DEPENDENCY,), (_NO_CACHE,), FOREIGN & CACHE_ANSWERS, "requests wait so long that checks time out"),
    # From releases, traffic and capacity.
    Rule((_LOOP,), (_RELEASE, _MISSING, _ERRORS, _CPU), ALWAYS, "pods that die do not serve, the rest carry the load"),
    Rule((_RELEASE,), (_CPU, _ERRORS, _MISSING), PROMPT & NOT_LATER, "the new release needs more, or fails"),
    Rule((_RELEASE,), (_IDLE, _LOCK, _LONG), OWN & PROMPT, "the new release holds transactions open or asks too much"),
    Rule((_RELEASE,), (_FULL,), POOL & PROMPT & NOT_LATER, "the new release loses or holds connections"),
    Rule((_RELEASE,), (_DEPENDENCY,), STORE & PROMPT & NOT_LATER, "the new release asks more of its stores"),
    Rule((_RELEASE,), (_NO_DATABASE,), DATABASE_ANSWERS & PROMPT, "the new release asks at the wrong address"),
    Rule((_RELEASE,), (_NO_CACHE,), CACHE_ANSWERS & PROMPT, "the new release asks at the wrong address"),
    Rule((_SURGE,), (_CPU,), SAME_WORK & NOT_LATER, "more requests need more processor time"),
    Rule((_SURGE,), (_RELEASE,), SAME_WORK, "more requests suffice; the release only coincides"),
    Rule((_SURGE,), (_FULL,), POOL & NOT_LATER, "more requests need more connections"),
    Rule((_SURGE,), ("redis.saturated", _ERRORS), NOT_LATER, "more requests need more of everything"),
    Rule((_SURGE,), (_MISSING,), UNREADY & NOT_LATER, "overloaded pods turn unready"),
    Rule((_MISSING,), (_CPU, _ERRORS), ABSENT, "the pods that are left carry the load of all"),
    Rule((_MISSING,), (_FULL,), ABSENT & POOL, "the pods that are left carry the load of all"),
    Rule((_MISSING,), (_DEPENDENCY,), ABSENT & STORE, "overloaded pods are slow to read answers"),
    Rule((_MISSING,), (_NO_DATABASE,), ABSENT & DATABASE_ANSWERS, "checks of overloaded pods time out"),
    Rule((_MISSING,), (_NO_CACHE,), ABSENT & CACHE_ANSWERS, "checks of overloaded pods time out"),
    Rule((_CPU,), (_FULL,), POOL, "a starved process holds its connections longer"),
    Rule((_CPU,), (_ERRORS,), ALWAYS, "requests time out"),
    Rule((_CPU,), (_MISSING,), UNREADY, "starved pods answer their probes too late"),
    Rule((_SURGE, _CPU), (_DEPENDENCY,), STORE, "overloaded pods are slow to read answers"),
    Rule((_FULL, _SURGE, _CPU), (_NO_DATABASE,), DATABASE_ANSWERS, "checks time out"),
    Rule((_FULL, _SURGE, _CPU), (_NO_CACHE,), CACHE_ANSWERS, "checks time out"),
)
