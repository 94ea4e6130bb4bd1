"""Preflight: can this runbook work here? Every system, tool, permission and metric, each failing line with its fix."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from runbook_lib.errors import UnknownNameError
from runbook_lib.model import Check, Checks, CheckStatus, Evidence, Gap, rights

if TYPE_CHECKING:
    from runbook_lib.run import Run

Answer = Evidence | Gap
#: Metrics without which the high-latency runbook cannot judge; each is a named query.
METRICS = ("latency_seconds", "requests_per_second", "error_ratio", "cpu_of_limit", "dependency_latency_seconds")
_FIXES = {
    "unreachable": "check that it runs and that {key} in runbook.toml names it{place}",
    "timeout": "check the network path to it and its load",
    "denied": "check the credentials and the role behind {key} in runbook.toml",
    "answer": "check that {key} in runbook.toml names this kind of system and a version that is supported",
    "empty": "check that it collects data of this service",
}


def preflight(run: Run, *groups: str) -> Checks:
    """Check what a run of this service in this environment needs.

    Args:
        run: a run; nothing is changed.
        groups: keys of ``GROUPS``; all of them when none is given.

    Returns:
        One line a check, in the order of the groups.

    Raises:
        UnknownNameError: a group that nobody knows.
    """
    for group in groups:
        if group not in GROUPS:
            raise UnknownNameError("group of checks", group, GROUPS)
    return Checks(tuple(check for group in groups or GROUPS for check in GROUPS[group](run)))


def _systems(run: Run) -> Iterator[Check]:
    first = run.first_questions()
    for source, answer in zip(first, run.gather(*first.values()), strict=True):
        needed = source in {"prometheus", "kubernetes", "postgres", "redis", "service"}
        if isinstance(answer, Gap):
            yield _gap("systems", source, answer, run, required="answers", needed=needed)
        else:
            yield Check("systems", source, CheckStatus.PASSED, _identity(answer), "answers", needed=needed)


def _identity(answer: Evidence) -> str:
    for name in ("version", "server_version", "status", "role"):
        if answer.document.get(name):
            return f"{name.replace('_', ' ')} {answer.document[name]}"
    return "answers"


def _service(run: Run) -> Iterator[Check]:
    answer = run.service_probe.health()
    if isinstance(answer, Gap):
        yield _gap("service", "health", answer, run, required="healthy")
        return
    status = str(answer.document.get("status", "no status"))
    passed = status == "healthy"
    fix = "" if passed else "run: runbook run high_latency"
    checks: Mapping[str, Any] = answer.document.get("checks") or {}
    failing = [f"{name}: {check['said']}" for name, check in checks.items() if check["failing"]]
    yield Check("service", "health", _status(passed), "; ".join((status, *failing)), "healthy", fix)


def _permissions(run: Run) -> Iterator[Check]:
    """Every right of the table; the lock among machines is advice, for the archive has a lock of its own."""
    changing = any(kind in rights.CHANGING for kind in run.environment.actions)
    wanted = {**rights.needed(run.environment.actions), **dict.fromkeys(rights.LOCK if changing else (), ("lock",))}
    answers = run.gather(*(partial(run.kubernetes.may, right) for right in wanted))
    for (right, kinds), answer in zip(wanted.items(), answers, strict=True):
        needed = kinds != ("lock",)
        if isinstance(answer, Gap):
            yield _gap("permissions", str(right), answer, run, required="allowed", needed=needed)
            continue
        allowed = bool(answer.document.get("allowed"))
        observed = "allowed" if allowed else str(answer.document.get("reason") or "denied")
        yield Check(
            "permissions",
            str(right),
            _status(allowed),
            observed,
            "allowed",
            "" if allowed else _grant(right, kinds),
            needed,
        )


def _grant(right: rights.Right, kinds: Sequence[str]) -> str:
    role = next(role for role in rights.ROLES if right in rights.granted(role))
    told = f"grant {right} in the namespace, or apply: runbook roles {role}"
    if kinds == ("lock",):
        return f"{told}; without it only runs of one archive keep out of each other's way"
    return f"{told}; {' and '.join(kinds)} and the way back need it" if kinds else told


def _database(run: Run) -> Iterator[Check]:
    if "postgres" not in run.environment.endpoints:
        told = f"not configured in environment {run.environment.name}"
        fix = f"name it in environments.{run.environment.name}.postgres where the service has a database"
        yield Check("permissions", "postgres", CheckStatus.SKIPPED, told, "configured", fix, needed=False)
        return
    yield from _role(run.postgres.permissions(), "reading role sees all sessions", "pg_monitor", run)
    if "end_backend" in run.environment.actions:
        yield from _role(run.postgres.act_permissions(), "acting role may end sessions", "pg_signal_backend", run)
    if "migrate_down" in run.environment.actions:
        yield migrating_role(run.postgres.migrate_permissions(), run)


def _rights(run: Run) -> Iterator[Check]:
    yield from _permissions(run)
    yield from _database(run)


def _role(answer: Answer, name: str, membership: str, run: Run) -> Iterator[Check]:
    if isinstance(answer, Gap):
        yield _gap("permissions", name, answer, run, required=membership)
        return
    has, role = bool(answer.document.get(membership)), answer.document.get("role", "")
    fix = "" if has else f"GRANT {membership} TO {role}"
    yield Check("permissions", name, _status(has), f"{role} {'has' if has else 'lacks'} {membership}", membership, fix)


def migrating_role(answer: Answer, run: Run) -> Check:
    """Whether migrations can be undone, and made again by their owner, who is the way back.

    Args:
        answer: what ``postgres.migrate_permissions`` gave.
        run: the run, for the key to mend.
    """
    name, required = "migrating role may change the schema, for the do and the undo", "owns every table"
    if isinstance(answer, Gap):
        return _gap("permissions", name, answer, run, required=required)
    told = answer.document
    role, owner = told.get("role", ""), told.get("owner", "")
    problems = [
        (not told.get("exists"), f"there is no role {owner}", "name the tables' owner as migrate_role"),
        (not told.get("may_become_owner"), f"{role} may not become {owner}", f"GRANT {owner} TO {role}"),
        (
            told.get("not_owned"),
            f"{owner} does not own {_listed(told, 'not_owned')}",
            f"ALTER TABLE ... OWNER TO {owner}",
        ),
        (
            told.get("no_create"),
            f"{owner} may not create in {_listed(told, 'no_create')}",
            f"GRANT CREATE ON SCHEMA ... TO {owner}",
        ),
    ]
    found = next(((observed, fix) for wrong, observed, fix in problems if wrong), None)
    observed, fix = found or (f"{role} becomes {owner}, who owns every table", "")
    return Check("permissions", name, _status(not found), observed, required, fix)


def _listed(told: Mapping[str, Any], name: str) -> str:
    return ", ".join(str(one) for one in told[name])


def _metrics(run: Run) -> Iterator[Check]:
    for name, answer in zip(METRICS, run.gather(*(partial(run.metrics.query, name) for name in METRICS)), strict=True):
        if isinstance(answer, Gap):
            yield _gap("metrics", name, answer, run, required="has samples")
            continue
        has = answer.latest.value is not None
        fix = "" if has else f"map its metric names in services.{run.service.name}.workload.metrics, or collect them"
        status = CheckStatus.PASSED if has else CheckStatus.UNKNOWN
        yield Check("metrics", name, status, f"now {answer.latest}", "has samples", fix)


def _tools(run: Run) -> Iterator[Check]:
    wanted = run.service.tools
    answers = run.gather(*(partial(run.tools.version, name) for name in wanted))
    for (name, least), answer in zip(wanted.items(), answers, strict=True):
        required = f"{least} or newer"
        fix = f"install {name} {least} or newer; the runbooks work without it, a person following them may not"
        # No runbook calls these commands: they are for the person, so a missing one is advice.
        if isinstance(answer, Gap):
            status = CheckStatus.SKIPPED if answer.kind == "empty" else CheckStatus.UNKNOWN
            yield Check("tools", name, status, answer.reason, required, fix, needed=False)
            continue
        version = str(answer.document["version"])
        passed = _parts(version) >= _parts(least)
        yield Check("tools", name, _status(passed), version, required, "" if passed else fix, needed=False)


def _gap(group: str, name: str, gap: Gap, run: Run, *, required: str, needed: bool = True) -> Check:
    key = f"environments.{run.environment.name}.{gap.source}"
    endpoint = run.environment.endpoints.get(gap.source)
    settings = endpoint.settings if endpoint else {}
    named = next((str(settings[word]) for word in ("url", "host", "kubeconfig") if settings.get(word)), "")
    fix = _FIXES.get(gap.kind, _FIXES["answer"]).format(key=key, place=f" ({named})" if named else "")
    return Check(group, name, CheckStatus.UNKNOWN, gap.reason, required, fix, needed)


def _status(passed: Any) -> CheckStatus:
    return CheckStatus.PASSED if passed else CheckStatus.FAILED


def _parts(version: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in version.split("."))
    except ValueError as error:
        raise UnknownNameError("version", version, ("1.28", "24"), "services.*.tools") from error


#: Group of checks to what makes them.
GROUPS: Mapping[str, Callable[[Run], Iterator[Check]]] = {
    "systems": _systems,
    "service": _service,
    "permissions": _rights,
    "metrics": _metrics,
    "tools": _tools,
}
