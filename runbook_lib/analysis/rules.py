"""The rules by which one cause explains another: data, one reason each.

``docs/diagnosis.md`` shows this table and a test holds the two together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from runbook_lib.analysis.dependency import kind_of
from runbook_lib.model import Finding, Gap

_UNREACHABLE = ("unreachable", "timeout")
#: Rates look back a minute and are sampled in steps: times closer than this are not told apart.
_SLACK = timedelta(seconds=90)
#: Work for each request that grew by this much is no matter of more requests.
_WORK_FACTOR = 1.5


@dataclass(frozen=True, slots=True)
class Scene:
    """All that is known when one finding is held against another.

    Args:
        causes: every finding that claims a cause.
        gaps: what could not be read.
    """

    causes: Sequence[Finding]
    gaps: Sequence[Gap]

    def silent(self, source: str) -> bool:
        """Whether ``source`` could not be reached by ourselves either."""
        return any(gap.source == source and gap.kind in _UNREACHABLE for gap in self.gaps)

    def has(self, *causes: str) -> bool:
        """Whether any of ``causes`` is claimed."""
        return any(one.cause in causes for one in self.causes)


Condition = Callable[[Finding, Finding, Scene], bool]


@dataclass(frozen=True, slots=True)
class Rule:
    """One cause explains others.

    Args:
        root: cause id that explains.
        victims: cause ids that it explains.
        because: the reason.
        when: condition on root, victim and everything else; empty text in ``condition`` when there is none.
        condition: the condition in words.
    """

    root: str
    victims: tuple[str, ...]
    because: str
    condition: str = ""
    when: Condition = lambda _root, _victim, _scene: True

    def explains(self, root: Finding, victim: Finding, scene: Scene) -> bool:
        """Whether ``root`` accounts for ``victim``."""
        return root.cause == self.root and victim.cause in self.victims and self.when(root, victim, scene)


def _same_session(root: Finding, victim: Finding, _scene: Scene) -> bool:
    """The victim's session is the root's, or one that the root blocks."""
    pids = {root.subject.get("pid"), *root.subject.get("victims", ())}
    return victim.subject.get("pid") in pids


def _pool(_root: Finding, victim: Finding, _scene: Scene) -> bool:
    return victim.subject.get("scope") == "pool"


def _pool_or_working(_root: Finding, victim: Finding, _scene: Scene) -> bool:
    """The service's pool, or a server whose sessions work or wait rather than sit idle."""
    return victim.subject.get("scope") == "pool" or victim.subject.get("idle_share", 1.0) < 0.5


def _on_database(_root: Finding, victim: Finding, _scene: Scene) -> bool:
    return kind_of(str(victim.subject.get("dependency", ""))) == "database"


def _on_cache(_root: Finding, victim: Finding, _scene: Scene) -> bool:
    return kind_of(str(victim.subject.get("dependency", ""))) == "cache"


def _on_store(root: Finding, victim: Finding, scene: Scene) -> bool:
    return _on_database(root, victim, scene) or _on_cache(root, victim, scene)


def _server(root: Finding, _victim: Finding, _scene: Scene) -> bool:
    return root.subject.get("scope") == "server"


def _server_on_database(root: Finding, victim: Finding, scene: Scene) -> bool:
    return _server(root, victim, scene) and (victim.subject.get("scope") == "pool" or _on_database(root, victim, scene))


def _database_answers(_root: Finding, _victim: Finding, scene: Scene) -> bool:
    """We reach the database ourselves, so calls that fail are the service's or the statements', not an outage."""
    return not scene.silent("postgres")


def _cache_answers(_root: Finding, _victim: Finding, scene: Scene) -> bool:
    return not scene.silent("redis")


def _not_later(root: Finding, victim: Finding, _scene: Scene) -> bool:
    """The root did not begin after its victim, as far as both times are known."""
    return root.since is None or victim.since is None or root.since <= victim.since + _SLACK


def _same_work(_root: Finding, victim: Finding, scene: Scene) -> bool:
    """A request costs the processor what it did before, so more requests are enough to explain it."""
    cpu = next((one for one in scene.causes if one.cause == "app.cpu_bound"), victim)
    return float(cpu.subject.get("work_factor", 1.0)) < _WORK_FACTOR


def _outside(_root: Finding, _victim: Finding, scene: Scene) -> bool:
    """Nothing inside the service changed: neither its processor time nor errors of its own."""
    return not scene.has("app.cpu_bound", "app.errors", "app.crash_loop")


def _of_others(root: Finding, victim: Finding, scene: Scene) -> bool:
    return not root.subject.get("own", False) and _outside(root, victim, scene)


def _not_on_purpose(_root: Finding, victim: Finding, _scene: Scene) -> bool:
    """Pods are missing though they were asked for; a smaller number asked for is a decision, not an effect."""
    return not victim.subject.get("scaled_down", False)


_DATABASE_EFFECTS = "statements that wait or crawl hold the pool's connections, time out, and turn pods unready"

RULES: tuple[Rule, ...] = (
    Rule(
        "db.idle_in_transaction",
        ("db.lock_contention", "db.long_query"),
        "the session that does nothing holds the locks the others wait for",
        "same session",
        _same_session,
    ),
    Rule(
        "db.lock_contention",
        ("db.long_query",),
        "a statement that holds or waits for the lock is long because of it",
        "same session",
        _same_session,
    ),
    *(
        rule
        for root in ("db.idle_in_transaction", "db.lock_contention", "db.long_query", "db.slow_query")
        for rule in (
            Rule(
                root,
                ("db.connections_saturated",),
                "Little's law: connections held longer are more connections held",
                "the pool, or a server whose sessions are not idle",
                _pool_or_working,
            ),
            Rule(root, ("dependency.slow",), "the service sees the database as slow", "the database", _on_database),
            Rule(root, ("db.unreachable",), "statements time out", "the database answers us", _database_answers),
            Rule(
                root, ("app.errors", "app.replicas_missing"), _DATABASE_EFFECTS, "pods still asked for", _not_on_purpose
            ),
        )
    ),
    *(
        Rule(root, ("db.slow_query",), "statements that wait or compete are slow", "", lambda _r, _v, _s: True)
        for root in ("db.idle_in_transaction", "db.lock_contention")
    ),
    *(
        Rule(
            root,
            ("app.bad_release",),
            "the release only coincides: its sessions are not the service's",
            "another application's sessions, and nothing changed inside the service",
            _of_others,
        )
        for root in ("db.idle_in_transaction", "db.lock_contention", "db.long_query")
    ),
    Rule(
        "db.connections_saturated",
        ("db.connections_saturated", "dependency.slow"),
        "the server gives the pool no connection",
        "server against pool or database calls",
        _server_on_database,
    ),
    Rule(
        "db.connections_saturated",
        ("db.unreachable", "app.errors", "app.crash_loop"),
        "new connections are refused",
        "the server's connections",
        _server,
    ),
    Rule(
        "db.connections_saturated",
        ("app.replicas_missing",),
        "pods without a connection turn unready",
        "pods still asked for",
        _not_on_purpose,
    ),
    Rule("db.connections_saturated", ("app.errors",), "requests time out waiting for a connection"),
    Rule(
        "db.connections_saturated",
        ("app.bad_release",),
        "the release only coincides",
        "the server's connections, and nothing changed inside the service",
        lambda r, v, s: _server(r, v, s) and _of_others(r, v, s),
    ),
    *(
        Rule(root, (victim,), "its own checks time out", condition, answers)
        for root in (
            "db.connections_saturated",
            "dependency.slow",
            "app.replicas_missing",
            "traffic.surge",
            "app.cpu_bound",
        )
        for victim, condition, answers in (
            ("db.unreachable", "the database answers us", _database_answers),
            ("redis.unreachable", "the cache answers us", _cache_answers),
        )
    ),
    Rule("db.unreachable", ("app.errors", "app.crash_loop"), "every request and start that needs the database fails"),
    Rule(
        "db.unreachable",
        ("app.replicas_missing",),
        "pods without their database turn unready",
        "pods still asked for",
        _not_on_purpose,
    ),
    Rule(
        "db.unreachable",
        ("db.connections_saturated",),
        "connections that cannot be made are waited for",
        "the pool",
        _pool,
    ),
    Rule("db.unreachable", ("dependency.slow",), "the service waits for connections", "the database", _on_database),
    Rule(
        "db.unreachable",
        ("app.bad_release",),
        "the release only coincides",
        "the database is silent to us too",
        lambda _r, _v, scene: scene.silent("postgres"),
    ),
    Rule(
        "redis.unreachable",
        ("app.errors", "app.cpu_bound", "app.crash_loop"),
        "without its cache the service does all work itself",
    ),
    Rule(
        "redis.unreachable",
        ("app.replicas_missing",),
        "pods without their cache turn unready",
        "pods still asked for",
        _not_on_purpose,
    ),
    Rule(
        "redis.unreachable",
        ("db.connections_saturated",),
        "reads that the cache served go to the database",
        "the pool",
        _pool,
    ),
    Rule(
        "redis.unreachable",
        ("dependency.slow",),
        "calls wait for the cache, or go to the database instead",
        "the cache or the database",
        _on_store,
    ),
    Rule("redis.unreachable", ("redis.slow", "redis.saturated", "redis.evicting"), "a cache that is gone is not slow"),
    Rule(
        "redis.unreachable",
        ("app.bad_release",),
        "the release only coincides",
        "the cache is silent to us too",
        lambda _r, _v, scene: scene.silent("redis"),
    ),
    *(
        rule
        for root in ("redis.slow", "redis.evicting", "redis.saturated")
        for rule in (
            Rule(
                root,
                ("dependency.slow",),
                "calls wait for the cache, or miss it and go to the database",
                "the cache or the database",
                _on_store,
            ),
            Rule(root, ("redis.unreachable",), "calls time out", "the cache answers us", _cache_answers),
            Rule(
                root, ("db.connections_saturated",), "requests hold their connection while they wait", "the pool", _pool
            ),
            Rule(root, ("app.errors",), "calls time out"),
            Rule(
                root, ("app.bad_release",), "the release only coincides", "nothing changed inside the service", _outside
            ),
        )
    ),
    Rule("redis.slow", ("redis.saturated",), "slow commands take the main thread's time"),
    Rule(
        "dependency.slow",
        ("app.errors", "app.replicas_missing"),
        "calls time out",
        "pods still asked for",
        _not_on_purpose,
    ),
    Rule(
        "dependency.slow",
        ("db.connections_saturated",),
        "requests hold their connection while they wait",
        "the pool",
        _pool,
    ),
    Rule(
        "dependency.slow",
        ("app.bad_release",),
        "the release only coincides",
        "a dependency of its own kind, and nothing changed inside the service",
        lambda r, v, s: not _on_store(v, r, s) and _outside(r, v, s),
    ),
    Rule(
        "app.crash_loop",
        ("app.bad_release", "app.replicas_missing", "app.errors", "app.cpu_bound"),
        "pods that die do not serve, and the rest carry their load",
    ),
    Rule(
        "app.bad_release",
        ("app.cpu_bound", "app.errors", "app.replicas_missing"),
        "the new release needs more or fails",
        "it began no later",
        _not_later,
    ),
    Rule(
        "app.bad_release",
        ("db.connections_saturated",),
        "the new release loses or holds connections",
        "the pool, and it began no later",
        lambda r, v, s: _pool(r, v, s) and _not_later(r, v, s),
    ),
    Rule(
        "app.bad_release",
        ("db.unreachable", "redis.unreachable"),
        "the new release asks at the wrong address",
        "both answer us, and it began no later",
        lambda r, v, s: not s.silent("postgres") and not s.silent("redis") and _not_later(r, v, s),
    ),
    Rule(
        "app.bad_release",
        ("dependency.slow",),
        "the new release asks more of its stores",
        "the database or the cache, and it began no later",
        lambda r, v, s: _on_store(r, v, s) and _not_later(r, v, s),
    ),
    Rule(
        "traffic.surge",
        ("app.cpu_bound",),
        "more requests need more processor time",
        "a request costs what it did, and it began no later",
        lambda r, v, s: _same_work(r, v, s) and _not_later(r, v, s),
    ),
    Rule(
        "traffic.surge", ("app.bad_release",), "the release only coincides", "a request costs what it did", _same_work
    ),
    Rule(
        "traffic.surge",
        ("db.connections_saturated", "redis.saturated", "app.errors", "app.replicas_missing"),
        "more requests need more of everything",
        "it began no later",
        lambda r, v, s: _not_later(r, v, s) and _not_on_purpose(r, v, s) and v.subject.get("scope") != "server",
    ),
    Rule(
        "traffic.surge",
        ("dependency.slow",),
        "more requests ask more of the stores",
        "the database or the cache",
        _on_store,
    ),
    Rule("app.replicas_missing", ("app.cpu_bound",), "the pods that are left carry the load of all"),
    Rule(
        "app.replicas_missing",
        ("db.connections_saturated",),
        "the pods that are left carry the load of all",
        "the pool",
        _pool,
    ),
    Rule("app.replicas_missing", ("app.errors",), "requests find no pod, or one that is overloaded"),
    Rule(
        "app.replicas_missing",
        ("dependency.slow",),
        "overloaded pods are slow to read answers",
        "the database or the cache",
        _on_store,
    ),
    Rule(
        "app.cpu_bound",
        ("db.connections_saturated",),
        "a starved process holds its connections longer",
        "the pool",
        _pool,
    ),
    Rule(
        "app.cpu_bound",
        ("dependency.slow",),
        "a starved process is slow to read answers",
        "the database or the cache",
        _on_store,
    ),
    Rule("app.cpu_bound", ("app.errors",), "requests time out"),
)
